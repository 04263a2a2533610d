//! Connections with one request each: closed at once, or held.

use std::rc::Rc;

use tokio::time::Instant;

use super::exchange::{Exchange, Message};
use super::meter::{Meter, Phase};
use super::{GLANCE, Load, Pace, SCRATCH};
use crate::order::{Seen, Span};
use crate::reactor::Reactor;
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::{count, length};

/// Connects, asks, closes, and again, in as many lanes as connections may be open at once.
pub(super) fn close(
    load: &Load,
    request: u64,
    answer: u64,
    pace: &mut dyn Pace,
) -> Result<Seen, Failed> {
    let mut lanes = Lanes::new(load, request, answer)?;
    pace.ready()?;
    let total = match load.order.span {
        Span::Timed { .. } => usize::MAX,
        Span::Counted(total) => length(total),
    };
    let mut meter = Meter::new(&load.order)?;
    for index in 0..load.order.connections.min(total) {
        lanes.open(index, &mut meter)?;
    }
    while lanes.done < total && meter.phase(Instant::now())? != Phase::Over {
        lanes.turn(&mut meter, |lanes, index| {
            // Closed before the next one connects.
            lanes.all.get_mut(index).map(Option::take);
            (lanes.opened < total).then_some(index)
        })?;
    }
    let seen = meter.seen()?;
    pace.seen(&seen)?;
    Ok(seen)
}

/// Connects and asks until `total` connections are open.
pub(super) fn hold(
    load: &Load,
    request: u64,
    answer: u64,
    total: usize,
    pace: &mut dyn Pace,
) -> Result<Seen, Failed> {
    let mut lanes = Lanes::new(load, request, answer)?;
    pace.ready()?;
    let mut meter = Meter::new(&load.order)?;
    for index in 0..load.order.connections.min(total) {
        lanes.open(index, &mut meter)?;
    }
    while lanes.done < total && meter.phase(Instant::now())? != Phase::Over {
        lanes.turn(&mut meter, |lanes, _index| (lanes.opened < total).then_some(lanes.opened))?;
    }
    let seen = meter.seen()?;
    pace.seen(&seen)?;
    Ok(seen)
}

struct Lanes<'a> {
    load: &'a Load,
    message: Rc<Message>,
    reactor: Reactor,
    scratch: Vec<u8>,
    all: Vec<Option<Exchange>>,
    opened: usize,
    done: usize,
}

impl<'a> Lanes<'a> {
    fn new(load: &'a Load, request: u64, answer: u64) -> Result<Self, Failed> {
        Ok(Self {
            load,
            message: Message::new(request, answer),
            reactor: Reactor::new()?,
            scratch: vec![0; SCRATCH],
            all: Vec::new(),
            opened: 0,
            done: 0,
        })
    }

    /// Opens a connection in a lane. One that breaks at once is taken for done.
    fn open(&mut self, index: usize, meter: &mut Meter) -> Result<(), Failed> {
        let (to, trust) = (self.load.order.to, self.load.trust.as_ref());
        self.opened += 1;
        let at = (&self.reactor, index);
        let lane = match Exchange::open(to, trust, &self.message, at, Instant::now()) {
            Ok(connection) => Some(connection),
            Err(error) => {
                self.done += 1;
                broke(meter, error)?;
                None
            }
        };
        match self.all.get_mut(index) {
            Some(old) => *old = lane,
            None => self.all.push(lane),
        }
        Ok(())
    }

    /// Takes what has happened; `next` names the lane to open where a connection is done.
    fn turn(
        &mut self,
        meter: &mut Meter,
        mut next: impl FnMut(&mut Self, usize) -> Option<usize>,
    ) -> Result<(), Failed> {
        let mut over = Vec::new();
        let Self { reactor, all, scratch, done, .. } = self;
        reactor.wait(GLANCE, |reactor, index, flags| {
            let Some(lane) = all.get_mut(index) else { return Ok(()) };
            let Some(connection) = lane else { return Ok(()) };
            match connection.go_on(flags, scratch) {
                Ok(true) => meter.took(connection.began, Instant::now()),
                Ok(false) => return connection.watch(reactor, index),
                Err(error) => {
                    *lane = None;
                    broke(meter, error)?;
                }
            }
            *done += 1;
            over.push(index);
            Ok(())
        })?;
        for index in over {
            if let Some(index) = next(self, index) {
                self.open(index, meter)?;
            }
        }
        Ok(())
    }
}

/// Counts a connection that broke; too many are no load any more.
fn broke(meter: &mut Meter, error: std::io::Error) -> Result<(), Failed> {
    meter.broke();
    if meter.broken() > count(TOO_MANY) {
        return Err(error).doing(|| format!("connect and ask; {TOO_MANY} times"));
    }
    Ok(())
}

const TOO_MANY: usize = 500;
