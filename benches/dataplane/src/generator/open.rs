//! An open loop: requests are due by the clock, and how long one took counts from when it was due,
//! so that who is slow is not asked less.

use std::time::Duration;

use rustix::event::Timespec;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};
use tokio::time::Instant;

use super::meter::{Meter, Phase};
use super::ping::stand;
use super::{GLANCE, Load, Pace, SCRATCH};
use crate::order::{Seen, Span};
use crate::reactor::{EventFlags, Reactor};
use evenkeel_bench::failed::{Doing, Failed};

pub(super) fn run(
    load: &Load,
    request: u64,
    answer: u64,
    rate: u64,
    pace: &mut dyn Pace,
) -> Result<Seen, Failed> {
    if matches!(load.order.span, Span::Counted(_)) {
        return Err(Failed::because("run an open loop", "it goes by the clock, not by a count"));
    }
    let mut reactor = Reactor::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut connections = stand(load, request, answer, &mut reactor, &mut scratch)?;
    pace.ready()?;

    let interval = Duration::from_secs(1) / u32::try_from(rate).unwrap_or(u32::MAX).max(1);
    let timer = timer(interval).doing(|| "make a timer")?;
    reactor.add(&timer, TIMER, EventFlags::IN)?;
    let mut free: Vec<usize> = (0..connections.len()).collect();
    let mut meter = Meter::new(&load.order)?;
    let mut due = Instant::now() + interval;
    while meter.phase(Instant::now())? != Phase::Over {
        reactor.wait(GLANCE, |reactor, index, flags| {
            if let Some(connection) = connections.get_mut(index) {
                if connection.go_on(flags, &mut scratch).doing(|| "get an answer")? {
                    meter.took(connection.began, Instant::now());
                    free.push(index);
                }
                connection.watch(reactor, index)?;
            } else {
                // Only reading starts its next interval.
                rustix::io::read(&timer, &mut [0; 8][..]).doing(|| "read a timer")?;
            }
            while due <= Instant::now() {
                let Some(index) = free.pop() else { break };
                let Some(connection) = connections.get_mut(index) else { break };
                connection.next(due).doing(|| "send")?;
                connection.watch(reactor, index)?;
                due += interval;
            }
            Ok(())
        })?;
    }
    let seen = meter.seen()?;
    pace.seen(&seen)?;
    Ok(seen)
}

fn timer(interval: Duration) -> std::io::Result<std::os::fd::OwnedFd> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let interval = Timespec::try_from(interval).map_err(std::io::Error::other)?;
    let times = Itimerspec { it_interval: interval, it_value: interval };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok(timer)
}

const TIMER: usize = usize::MAX;
