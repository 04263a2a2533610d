//! The load generator: one thread, one epoll, started anew for every sample.

mod blocking;
mod bulk;
mod connect;
mod exchange;
mod meter;
mod open;
mod ping;

use std::io::{self, BufRead, Write};
use std::num::NonZeroU64;
use std::time::Duration;

use crate::order::{Order, READY, Seen, Work};
use crate::wire::Trust;
use evenkeel_bench::failed::{Doing, Failed};

/// Does what is ordered.
pub(crate) fn run(order: Order, pace: &mut dyn Pace) -> Result<Seen, Failed> {
    let trust = order.certificate.clone().map(Trust::new).transpose();
    let trust = trust.doing(|| "trust the backend's certificate")?;
    // Else a timer may be late by 50 us.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).doing(|| "set the timer slack")?;
    let load = Load { order, trust };
    match load.order.work {
        Work::Down { from_memory } => bulk::down(&load, from_memory, pace),
        Work::Up => bulk::up(&load, pace),
        Work::Ping { request, answer } => ping::run(&load, request, answer, pace),
        Work::Open { request, answer, rate } => open::run(&load, request, answer, rate, pace),
        Work::Connect { request, answer } => connect::close(&load, request, answer, pace),
        Work::Hold { request, answer, total } => connect::hold(&load, request, answer, total, pace),
    }
}

/// An order, and what it takes to connect.
struct Load {
    order: Order,
    trust: Option<Trust>,
}

/// When to go on, and who learns what was seen.
pub(crate) trait Pace {
    /// All connections stand; what follows is measured.
    fn ready(&mut self) -> Result<(), Failed>;
    /// What was measured is over; what follows is closing the connections.
    fn seen(&mut self, seen: &Seen) -> Result<(), Failed>;
}

/// Goes on when a line of standard input says so.
#[derive(Debug)]
pub(crate) struct Lines {
    /// Whether to wait at all.
    pub(crate) waits: bool,
}

impl Lines {
    fn wait(&self) -> Result<(), Failed> {
        if self.waits {
            io::stdin().lock().read_line(&mut String::new()).doing(|| "wait to be told")?;
        }
        Ok(())
    }
}

impl Pace for Lines {
    fn ready(&mut self) -> Result<(), Failed> {
        if self.waits {
            say(READY)?;
        }
        self.wait()
    }

    fn seen(&mut self, seen: &Seen) -> Result<(), Failed> {
        let line = serde_json::to_string(seen).doing(|| "write down what was seen")?;
        say(&line)?;
        self.wait()
    }
}

fn say(line: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).doing(|| "answer")
}

/// Nothing has happened for so long that nothing will.
const STALLED: Duration = Duration::from_secs(15);

/// How often the clock is looked at when nothing happens.
const GLANCE: Duration = Duration::from_millis(10);

const SCRATCH: usize = 1 << 20;

#[cfg(test)]
mod tests;
