//! Clients that are there, and that come, while the proxy shuts down gracefully.
//!
//! A listener that closes loses who waits in its queue; whoever was accepted is owed an end.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::pair::{Direction, End, LIMIT, Pair, read_exact};
use crate::rig::Rig;
use crate::stage::{Outcome, Setup, Stage, pause};
use crate::verdict::{Failure, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let mut stage = Stage::start(rig, Setup::default())?;
    let signal = stage.kind.graceful();
    stage.process()?;
    let pairs = (0..THERE).map(|_| stage.pair()).collect::<Result<Vec<_>, Failure>>()?;
    let over = AtomicBool::new(false);
    let (mut there, mut come) = (Counts::default(), Counts::default());
    thread::scope(|scope| {
        let herd: Vec<_> = (0..HERD).map(|_| scope.spawn(|| come_and_go(&stage, &over))).collect();
        pause(BEFORE);
        let signalled = stage.process().map_err(Failure::from).and_then(|process| {
            process.signal(signal).map_err(met("it was gone before it was told"))
        });
        for pair in &pairs[..THERE / 2] {
            there.count(ping(pair));
        }
        pause(if signalled.is_ok() { AFTER } else { Duration::ZERO });
        for pair in &pairs[THERE / 2..] {
            there.count(ping(pair));
        }
        over.store(true, Ordering::Relaxed);
        for one in herd {
            come.add(&one.join().expect("it only connects"));
        }
        signalled
    })?;
    drop(pairs);
    if there.hung + come.hung > 0 {
        return Err(format!("of those there {there}; of those who came {come}").into());
    }
    let exit = stage.process_mut()?.wait_exit(ENDS);
    let Some(status) = exit.map_err(met("its end is not known"))? else {
        return Err(
            format!("it does not end: of those there {there}; of those who came {come}").into()
        );
    };
    Ok(format!("of those there {there}; of those who came {come}; then {status}"))
}

#[derive(Debug, Default)]
struct Counts {
    served: usize,
    told: usize,
    refused: usize,
    hung: usize,
}

impl Counts {
    fn count(&mut self, outcome: Result<(), End>) {
        match outcome {
            Ok(()) => self.served += 1,
            Err(End::Silence) => self.hung += 1,
            Err(End::Fin | End::Reset | End::Error(_)) => self.told += 1,
        }
    }

    fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.told += other.told;
        self.refused += other.refused;
        self.hung += other.hung;
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { served, told, refused, hung } = self;
        write!(f, "{served} served, {told} ended, {refused} refused, {hung} hung")
    }
}

/// A client after the other, until it is over.
fn come_and_go(stage: &Stage, over: &AtomicBool) -> Counts {
    let mut counts = Counts::default();
    while !over.load(Ordering::Relaxed) {
        match stage.knock() {
            Err(_refused) => counts.refused += 1,
            Ok(knock) => match stage.outcome(knock, LIMIT) {
                Outcome::Served(pair) => counts.count(ping(&pair)),
                Outcome::Ended(end) => counts.count(Err(end)),
            },
        }
        pause(BETWEEN);
    }
    counts
}

fn ping(pair: &Pair) -> Result<(), End> {
    for direction in Direction::BOTH {
        let (mut from, to) = pair.ends(direction);
        from.write_all(b"p").map_err(|error| End::Error(error.kind()))?;
        read_exact(to, &mut [0], LIMIT)?;
    }
    Ok(())
}

const THERE: usize = 40;

const HERD: usize = 4;

const BEFORE: Duration = Duration::from_millis(200);

/// Longer than evenkeel's `drainTimeout` here.
const AFTER: Duration = Duration::from_millis(4500);

/// Nobody is connected any more.
const ENDS: Duration = Duration::from_secs(5);

const BETWEEN: Duration = Duration::from_millis(2);
