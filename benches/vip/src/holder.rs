//! The closed set of what holds the address, and how each is started on a host.

mod evenkeel;
mod keepalived;

use std::path::PathBuf;
use std::time::Duration;

use evenkeel_testbed::{Host, Process};
use rustix::process::{Pid, Signal, kill_process};

use crate::row::PORT;
use crate::server;
use evenkeel_bench::failed::{Doing, Failed};

/// What holds the address, and serves what comes to it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Holder {
    /// keepalived with what it does unless it is told otherwise, before a server.
    KeepalivedDefault,
    /// keepalived as an expert would set it up, before a server.
    KeepalivedTuned,
    /// What is to be judged, with its defaults: before a backend on each host.
    Evenkeel,
}

impl Holder {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 3] =
        [Self::KeepalivedDefault, Self::KeepalivedTuned, Self::Evenkeel];

    /// What `--holders` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::KeepalivedDefault => "keepalived-default",
            Self::KeepalivedTuned => "keepalived-tuned",
            Self::Evenkeel => "evenkeel",
        }
    }

    /// What it is, for who reads the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::KeepalivedDefault => "keepalived, VRRPv2, 1 s, priorities 150/100/50",
            Self::KeepalivedTuned => {
                "keepalived, VRRPv3, 100 ms, 254/238/222, nopreempt, real-time priority"
            }
            Self::Evenkeel => "evenkeel, with its defaults",
        }
    }

    /// The holder of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|holder| holder.name() == name)
    }

    /// The program, and how it says its version.
    pub(crate) fn program(self, programs: &Programs) -> (PathBuf, &'static str) {
        match self {
            Self::KeepalivedDefault | Self::KeepalivedTuned => {
                (programs.keepalived.clone(), "--version")
            }
            Self::Evenkeel => (programs.evenkeel.clone(), "--version"),
        }
    }

    /// Starts the bench's own server on a host. It is what is served, or the backend.
    pub(crate) fn serve(self, host: &Host, all: &[Host]) -> Result<Process, Failed> {
        match self {
            Self::KeepalivedDefault | Self::KeepalivedTuned => server::start(host, PORT, &[]),
            Self::Evenkeel => server::start(host, evenkeel::BACKEND_PORT, all),
        }
    }

    /// Starts it on a host, the `place`-th of three from 0.
    pub(crate) fn start(
        self,
        host: &Host,
        place: usize,
        programs: &Programs,
    ) -> Result<Running, Failed> {
        let command = match self {
            Self::KeepalivedDefault => {
                keepalived::command(host, programs, &keepalived::DEFAULT, place)
            }
            Self::KeepalivedTuned => keepalived::command(host, programs, &keepalived::TUNED, place),
            Self::Evenkeel => evenkeel::command(host, programs),
        }?;
        let process =
            host.spawn(self.name(), command).doing(|| format!("start {}", self.name()))?;
        Ok(Running { holder: self, host: host.clone(), process })
    }

    /// Whether the server on the owner is part of it: what befalls all of it befalls the server.
    pub(crate) fn owns_server(self) -> bool {
        match self {
            Self::KeepalivedDefault | Self::KeepalivedTuned => true,
            Self::Evenkeel => false,
        }
    }
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// evenkeel.
    pub(crate) evenkeel: PathBuf,
    /// keepalived.
    pub(crate) keepalived: PathBuf,
}

/// A holder on a host. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    holder: Holder,
    host: Host,
    process: Process,
}

impl Running {
    /// That it has ended, with the end of its log. None: it runs.
    pub(crate) fn ended(&self) -> Option<String> {
        let told = || format!("{} has ended: {}", self.process.name(), self.process.log_tail());
        (!self.process.is_running()).then(told)
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        format!("--- {}:\n{}", self.process.name(), self.process.log_tail())
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) -> Result<(), Failed> {
        self.process.terminate().doing(|| format!("end {}", self.process.name()))
    }

    /// Waits for its end; whether it came in time, else it is killed.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool, Failed> {
        if self.process.wait_exit(limit).is_ok() {
            return Ok(true);
        }
        self.kill()?;
        Ok(false)
    }

    /// Kills all its processes, none of which may do a last thing for another.
    pub(crate) fn kill(&mut self) -> Result<(), Failed> {
        // keepalived's child asks the kernel to be terminated, in good order, when its parent dies;
        // and its parent starts another when the child does.
        let children = self.children();
        self.signal(Signal::STOP)?;
        for child in children {
            send(child, Signal::KILL);
        }
        self.process.kill().doing(|| format!("kill {}", self.process.name()))?;
        Ok(())
    }

    /// Sends all its processes a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Failed> {
        self.process.signal(signal).doing(|| format!("signal {}", self.process.name()))?;
        for child in self.children() {
            send(child, signal);
        }
        Ok(())
    }

    fn children(&self) -> Vec<Pid> {
        match self.holder {
            Holder::KeepalivedDefault | Holder::KeepalivedTuned => {
                keepalived::child(&self.host).into_iter().collect()
            }
            Holder::Evenkeel => Vec::new(),
        }
    }

    /// What evenkeel says of itself; nothing else is asked.
    pub(crate) fn told(&self) -> Option<serde_json::Value> {
        match self.holder {
            Holder::KeepalivedDefault | Holder::KeepalivedTuned => None,
            Holder::Evenkeel => evenkeel::told(&self.host),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing can be done about it here: what is left ends with the network.
        drop(self.kill());
    }
}

/// A child that has ended meanwhile needs none.
fn send(pid: Pid, signal: Signal) {
    kill_process(pid, signal).unwrap_or_default();
}
