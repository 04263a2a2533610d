//! Processes that end with the bench, whatever ends it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{self, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::cpu;
use crate::pause;
use evenkeel_bench::failed::{Doing, Failed};

/// A process that was started here.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    name: String,
    log: PathBuf,
}

impl Child {
    /// Starts a program whose output goes to `<name>.log` in `directory`.
    pub(crate) fn start(name: &str, command: Command, directory: &Path) -> Result<Self, Failed> {
        Self::spawn(name, command, directory, |command, log| {
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            Ok(())
        })
    }

    /// Starts one that is spoken with.
    pub(crate) fn converse(
        name: &str,
        command: Command,
        directory: &Path,
    ) -> Result<(Self, Speech), Failed> {
        let mut child = Self::spawn(name, command, directory, |command, log| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
            Ok(())
        })?;
        let speech = Speech {
            to: child.process.stdin.take().ok_or_else(|| Failed::because("talk", "no stdin"))?,
            from: BufReader::new(
                child.process.stdout.take().ok_or_else(|| Failed::because("talk", "no stdout"))?,
            ),
        };
        Ok((child, speech))
    }

    fn spawn(
        name: &str,
        mut command: Command,
        directory: &Path,
        wire: impl FnOnce(&mut Command, File) -> std::io::Result<()>,
    ) -> Result<Self, Failed> {
        let log = directory.join(format!("{name}.log"));
        let file = File::create(&log).doing(|| format!("write {}", log.display()))?;
        wire(&mut command, file).doing(|| format!("start {name}"))?;
        let process = command.spawn().doing(|| format!("start {name}"))?;
        Ok(Self { process, name: name.to_owned(), log })
    }

    /// Its pid.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// It and all that it started.
    pub(crate) fn pids(&self) -> Vec<u32> {
        cpu::tree(self.id())
    }

    /// Whether it has ended, which only what is broken does.
    pub(crate) fn check(&mut self) -> Result<(), Failed> {
        match self.process.try_wait().doing(|| "wait")? {
            None => Ok(()),
            Some(status) => Err(self.ended(&status.to_string())),
        }
    }

    /// Waits for its good end.
    pub(crate) fn wait(&mut self) -> Result<(), Failed> {
        let status = self.process.wait().doing(|| "wait")?;
        if status.success() { Ok(()) } else { Err(self.ended(&status.to_string())) }
    }

    /// Tells it to end, with SIGINT, and waits for that.
    pub(crate) fn interrupt(&mut self) -> Result<(), Failed> {
        send(self.id(), Signal::INT);
        self.process.wait().doing(|| format!("wait for {}", self.name)).map(drop)
    }

    /// That it failed, with the last it wrote.
    pub(crate) fn ended(&self, how: &str) -> Failed {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(8).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        Failed::because(format!("go on with {}", self.name), format!("{how}: {}", last.join(" | ")))
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let all = self.pids();
        send(self.id(), Signal::TERM);
        let ended = pause::until(PATIENCE, || self.process.try_wait().ok().flatten());
        // A master that ended has ended its workers. One that did not has to be helped.
        if ended.is_none() {
            for pid in all {
                send(pid, Signal::KILL);
            }
            drop(self.process.wait());
        }
    }
}

/// The two ends of a talk, in lines.
#[derive(Debug)]
pub(crate) struct Speech {
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Speech {
    /// Tells it to go on.
    pub(crate) fn go_on(&mut self) -> Result<(), Failed> {
        self.to.write_all(b"\n").doing(|| "tell a process to go on")
    }

    /// What it says next. None: it has ended.
    pub(crate) fn line(&mut self) -> Result<Option<String>, Failed> {
        let mut line = String::new();
        let read = self.from.read_line(&mut line).doing(|| "listen to a process")?;
        Ok((read > 0).then(|| line.trim_end().to_owned()))
    }
}

/// A command that the kernel kills when this thread ends, hence at the latest with the bench.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// This program again.
pub(crate) fn own() -> Result<Command, Failed> {
    std::env::current_exe().map(command).doing(|| "find this program")
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // An error says that it has ended by itself meanwhile.
        kill_process(pid, signal).unwrap_or_default();
    }
}

const PATIENCE: Duration = Duration::from_secs(3);
