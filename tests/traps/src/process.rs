//! The process of a proxy: what it takes, and how it ends.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

/// Why a proxy does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory or its config could not be written, or its program copied.
    #[error("could not prepare {kind}")]
    Prepare {
        /// The kind of proxy.
        kind: String,
        /// Why not.
        source: io::Error,
    },
    /// It was not started, for example because its program is not there.
    #[error("could not run {kind}")]
    Run {
        /// The kind of proxy.
        kind: String,
        /// Why not.
        source: io::Error,
    },
    /// A backend could not listen.
    #[error("there is no backend")]
    Backend(#[source] io::Error),
    /// It ended before it served, or serves nobody.
    #[error("{kind} does not serve: {seen}; its log ends: {log}")]
    NotServing {
        /// The kind of proxy.
        kind: String,
        /// What a client saw last.
        seen: String,
        /// The end of what it wrote.
        log: String,
    },
}

/// A running process with its children; killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    // A pid may already be another process's, a handle not.
    handle: OwnedFd,
    directory: TempDir,
}

impl Process {
    /// Runs `command`, whose files are in `directory` and whose output goes there.
    pub(crate) fn spawn(mut command: Command, directory: TempDir) -> io::Result<Self> {
        let log = File::create(log(&directory))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        // A group of its own, so that its children end with it.
        let child = command.process_group(0).spawn()?;
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        Ok(Self { child, handle, directory })
    }

    /// The CPU that its threads have used. One that ended meanwhile takes its own with it.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut nanoseconds = 0;
        for pid in self.pids()? {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                // A thread that ends between the two calls.
                let Ok(stat) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
                let on_cpu =
                    stat.split_whitespace().next().and_then(|first| first.parse::<u64>().ok());
                nanoseconds += on_cpu.ok_or_else(|| io::Error::other("schedstat has no figure"))?;
            }
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// It and its children. No kind here has grandchildren.
    fn pids(&self) -> io::Result<Vec<u32>> {
        let own = self.child.id();
        // Only the thread that starts as the process has children, in every kind here.
        let children = fs::read_to_string(format!("/proc/{own}/task/{own}/children"))?;
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        Ok(children.chain([own]).collect())
    }

    /// Bytes of user memory: what it wrote to, and no file or socket buffer.
    pub(crate) fn user_memory(&self) -> io::Result<u64> {
        self.pids()?.into_iter().map(Self::user_memory_of).sum()
    }

    fn user_memory_of(pid: u32) -> io::Result<u64> {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = anonymous.and_then(|figure| figure.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok())
            .map(|kib| kib * 1024)
            .ok_or_else(|| io::Error::other("smaps_rollup has no figure"))
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(pidfd_send_signal(&self.handle, signal)?)
    }

    /// How it ended, if it did in time.
    pub(crate) fn wait_exit(&mut self, within: Duration) -> io::Result<Option<ExitStatus>> {
        let within = Timespec::try_from(within).map_err(io::Error::other)?;
        // A pidfd becomes readable when its process ends.
        let ended = poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], Some(&within))? > 0;
        if ended { self.child.wait().map(Some) } else { Ok(None) }
    }

    /// The end of what it wrote, in one line.
    pub(crate) fn log_tail(&self) -> String {
        let written = fs::read(log(&self.directory)).unwrap_or_default();
        let tail = &written[written.len().saturating_sub(TAIL)..];
        String::from_utf8_lossy(tail).trim().replace('\n', " | ")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself, its children not. Until it is awaited the number is its.
        kill_process_group(Pid::from_child(&self.child), Signal::KILL).unwrap_or_default();
        drop(self.child.wait());
    }
}

fn log(directory: &TempDir) -> PathBuf {
    directory.path().join("log")
}

const TAIL: usize = 1500;
