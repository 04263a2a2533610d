//! An open loop: requests are due by the clock, and how long one took counts from when it was due,
//! so that who is slow is not asked less.

use std::os::fd::OwnedFd;
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
    let mut free: Vec<usize> = (0..connections.len()).collect();
    let mut meter = Meter::new(&load.order)?;
    let (timer, mut due) = timer(interval).doing(|| "make a timer")?;
    reactor.add(&timer, TIMER, EventFlags::IN)?;
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

/// A timer, and when it rings first. It never rings before the moment that it is said to: a request
/// that is due a little after each ring would wait for the next.
fn timer(interval: Duration) -> std::io::Result<(OwnedFd, Instant)> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let pause = Timespec::try_from(interval).map_err(std::io::Error::other)?;
    let times = Itimerspec { it_interval: pause, it_value: pause };
    let first = Instant::now() + interval;
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    Ok((timer, first))
}

const TIMER: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_at_a_ring_is_due_by_then() {
        let (timer, first) = timer(Duration::from_micros(200)).unwrap();
        for ring in 0..5 {
            rustix::io::read(&timer, &mut [0; 8][..]).unwrap();
            assert!(Instant::now() >= first + Duration::from_micros(200) * ring);
        }
    }
}
