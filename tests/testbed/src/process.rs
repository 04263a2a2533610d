//! A process that ends with its test, and whose log is shown when the test fails.

mod spawner;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tempfile::TempDir;

/// Why a process was not started, told or awaited.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Its log could not be opened.
    #[error("could not open the log {path}")]
    Log {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was not started.
    #[error("could not start {name}")]
    Start {
        /// Which process.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It could not be sent a signal, for example because it has ended.
    #[error("could not send {name} the signal {signal:?}")]
    Signal {
        /// Which process.
        name: String,
        /// Which signal.
        signal: Signal,
        /// Why not.
        source: io::Error,
    },
    /// Its end could not be awaited.
    #[error("could not wait for {name}")]
    Wait {
        /// Which process.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It still runs.
    #[error("{name} did not exit within {after:?}")]
    Timeout {
        /// Which process.
        name: String,
        /// How long it was waited for.
        after: Duration,
    },
}

/// A child process. Dropped, it is killed; if the test panics, the tail of its log is printed.
///
/// It is spawned by a thread that lives as long as this process, because the kernel sends the
/// signal of `setpriv --pdeathsig` when the *thread* that spawned it ends: spawned by the thread
/// of a test, or a worker of its runtime, it would be killed with that.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    // Signals go through it: a pid may already be another process's.
    handle: OwnedFd,
    // The log is in there.
    _directory: Arc<TempDir>,
}

impl Process {
    pub(crate) fn spawn(
        name: &str,
        mut command: Command,
        directory: Arc<TempDir>,
    ) -> Result<Self, ProcessError> {
        let log = directory.path().join(format!("{name}.log"));
        let open = || {
            // A process that is started again goes on in the same log.
            let output = File::options().create(true).append(true).open(&log)?;
            Ok((output.try_clone()?, output))
        };
        let (stdout, stderr) =
            open().map_err(|source| ProcessError::Log { path: log.clone(), source })?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);

        let failed = |source| ProcessError::Start { name: name.to_owned(), source };
        let child = spawner::spawn(command).map_err(failed)?;
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())
            .map_err(|error| failed(error.into()))?;
        Ok(Self { name: name.to_owned(), log, child, handle, _directory: directory })
    }

    /// Its name: that of its host, `-`, and that of its program.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its pid, also in its namespace.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file with what it wrote to standard output and standard error.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log, at most 4 KiB.
    pub fn log_tail(&self) -> String {
        tail(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Kills it (`SIGKILL`) and waits until it is gone. Already gone is no error.
    ///
    /// # Errors
    /// If the kernel refuses to say.
    pub fn kill(&mut self) -> Result<ExitStatus, ProcessError> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map_err(|source| ProcessError::Wait { name: self.name.clone(), source })
    }

    /// Stops it where it is (`SIGSTOP`): its kernel goes on to accept and to acknowledge.
    ///
    /// # Errors
    /// If it has ended.
    pub fn freeze(&self) -> Result<(), ProcessError> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Process::freeze`] (`SIGCONT`).
    ///
    /// # Errors
    /// If it has ended.
    pub fn thaw(&self) -> Result<(), ProcessError> {
        self.signal(Signal::CONT)
    }

    /// Asks it to end (`SIGTERM`) and does not wait: see [`Process::wait_exit`].
    ///
    /// # Errors
    /// If it has ended.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.signal(Signal::TERM)
    }

    /// Sends it any signal.
    ///
    /// # Errors
    /// If it has ended.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        pidfd_send_signal(&self.handle, signal).map_err(|error| ProcessError::Signal {
            name: self.name.clone(),
            signal,
            source: error.into(),
        })
    }

    /// Waits at most `timeout` until it has ended.
    ///
    /// # Errors
    /// [`ProcessError::Timeout`] if it still runs.
    pub fn wait_exit(&mut self, timeout: Duration) -> Result<ExitStatus, ProcessError> {
        let failed = |source| ProcessError::Wait { name: self.name.clone(), source };
        if !self.exits_within(timeout).map_err(failed)? {
            return Err(ProcessError::Timeout { name: self.name.clone(), after: timeout });
        }
        let failed = |source| ProcessError::Wait { name: self.name.clone(), source };
        self.child.wait().map_err(failed)
    }

    /// Whether it has not ended. A frozen process runs.
    pub fn is_running(&self) -> bool {
        !self.exits_within(Duration::ZERO).unwrap_or(false)
    }

    /// A pidfd becomes readable when its process ends.
    fn exits_within(&self, timeout: Duration) -> io::Result<bool> {
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        let handle = self.handle.as_fd();
        Ok(poll(&mut [PollFd::from_borrowed_fd(handle, PollFlags::IN)], Some(&timeout))? > 0)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let ended = if self.is_running() { "killed now" } else { "had ended by itself" };
        // Nothing can be done about it here; it dies with this process at the latest.
        drop(self.kill());
        if std::thread::panicking() {
            self.show_log(ended);
        }
    }
}

impl Process {
    #[expect(clippy::print_stderr, reason = "it is for who reads the output of the failed test")]
    fn show_log(&self, ended: &str) {
        eprintln!("--- {} ({ended}), the end of its log:\n{}", self.name, self.log_tail());
    }
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const TAIL: u64 = 4 * 1024;
