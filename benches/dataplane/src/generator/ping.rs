//! A closed loop: each connection sends its next request when the last one was answered.

use tokio::time::Instant;

use super::exchange::{Exchange, Message};
use super::meter::{Meter, Phase};
use super::{GLANCE, Load, Pace, SCRATCH};
use crate::order::{Seen, Span};
use crate::reactor::Reactor;
use evenkeel_bench::failed::{Doing, Failed};

pub(super) fn run(
    load: &Load,
    request: u64,
    answer: u64,
    pace: &mut dyn Pace,
) -> Result<Seen, Failed> {
    let mut reactor = Reactor::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut connections = stand(load, request, answer, &mut reactor, &mut scratch)?;
    pace.ready()?;

    let mut left = match load.order.span {
        Span::Timed { .. } => None,
        Span::Counted(each) => Some(vec![each; connections.len()]),
    };
    let mut running = connections.len();
    let mut meter = Meter::new(&load.order)?;
    for (index, connection) in connections.iter_mut().enumerate() {
        connection.next(Instant::now()).doing(|| "send")?;
        connection.watch(&reactor, index)?;
    }
    while running > 0 && meter.phase(Instant::now())? != Phase::Over {
        reactor.wait(GLANCE, |reactor, index, flags| {
            let Some(connection) = connections.get_mut(index) else { return Ok(()) };
            if connection.go_on(flags, &mut scratch).doing(|| "get an answer")? {
                let now = Instant::now();
                meter.took(connection.began, now);
                let left = left.as_mut().and_then(|left| left.get_mut(index));
                if let Some(left) = left {
                    *left -= 1;
                    if *left == 0 {
                        running -= 1;
                        return Ok(());
                    }
                }
                connection.next(now).doing(|| "send")?;
            }
            connection.watch(reactor, index)
        })?;
    }
    let seen = meter.seen()?;
    pace.seen(&seen)?;
    Ok(seen)
}

/// Opens all connections, with one exchange over each, a few at a time.
pub(super) fn stand(
    load: &Load,
    request: u64,
    answer: u64,
    reactor: &mut Reactor,
    scratch: &mut [u8],
) -> Result<Vec<Exchange>, Failed> {
    let message = Message::new(request, answer);
    let (to, trust) = (load.order.to, load.trust.as_ref());
    let mut connections = Vec::new();
    let mut answered = 0;
    // Its clock tells when nothing moves any more; what it counts is thrown away.
    let mut meter = Meter::new(&load.order)?;
    while answered < load.order.connections {
        while connections.len() < load.order.connections && connections.len() < answered + AT_ONCE {
            let at = (&*reactor, connections.len());
            let connection = Exchange::open(to, trust, &message, at, Instant::now());
            let connection = connection.doing(|| format!("connect to {to}"))?;
            connection.set_nodelay().doing(|| "set TCP_NODELAY")?;
            connections.push(connection);
        }
        reactor.wait(GLANCE, |reactor, index, flags| {
            let Some(connection) = connections.get_mut(index) else { return Ok(()) };
            if connection.go_on(flags, scratch).doing(|| "get a first answer")? {
                answered += 1;
                meter.did(1, Instant::now());
            }
            connection.watch(reactor, index)
        })?;
        meter.phase(Instant::now())?;
    }
    Ok(connections)
}

const AT_ONCE: usize = 64;
