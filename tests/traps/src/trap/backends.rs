//! Backends that refuse, are silent, or are late.
//!
//! They become so after the proxy has started, and its probes, if it has any, are far apart: it is
//! a client's connection that finds out. A failed connect may be told in any order of events
//! (`EPOLLHUP` before success is one), so only the socket's own error decides.

use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::pair::{Direction, End};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Outcome, Setup, Stage, pause};
use crate::trap::BULK;
use crate::verdict::{Failure, held, met};

pub(super) fn refused(rig: &Rig) -> Result<String, Failure> {
    let mut stage = two(rig)?;
    stage.backends[0].refuse();
    all_served(rig, &stage, AT_ONCE)
}

pub(super) fn silent(rig: &Rig) -> Result<String, Failure> {
    let stage = two(rig)?;
    let _queue = stage.backends[0].fall_silent().map_err(met("no backend fell silent"))?;
    all_served(rig, &stage, ONE_TRY)
}

pub(super) fn none(rig: &Rig) -> Result<String, Failure> {
    let mut stage = Stage::start(rig, Setup::default())?;
    stage.backends[0].refuse();
    let begun = Instant::now();
    // A proxy that is none refuses itself.
    let end = match stage.knock() {
        Err(_refused) => End::Reset,
        Ok(knock) => match stage.outcome(knock, rig.effort.limit(AT_ONCE).max(TOLD_AT_LAST)) {
            Outcome::Served(_) => return Err("served by nobody".to_owned().into()),
            Outcome::Ended(end) => end,
        },
    };
    let took = begun.elapsed();
    held(end != End::Silence && took < rig.effort.limit(AT_ONCE), format!("{end} after {took:.1?}"))
}

pub(super) fn late(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let backend = &stage.backends[0];
    let queue = backend.fall_silent().map_err(met("no backend fell silent"))?;
    let begun = Instant::now();
    let pair = thread::scope(|scope| {
        scope.spawn(|| {
            pause(LATE);
            drop(queue);
            // Where it is not heard of, the client sees silence.
            drop(backend.hear_again());
        });
        stage.pair()
    })?;
    let took = begun.elapsed();
    for direction in Direction::BOTH {
        pair.transfer(direction, &Pattern::new(9), BULK)?;
    }
    Ok(format!("served after {took:.1?}, and every byte arrived"))
}

fn two(rig: &Rig) -> Result<Stage, Failure> {
    let stage = Stage::start(rig, Setup { backends: 2, ..Setup::default() })?;
    stage.process()?;
    Ok(stage)
}

/// Enough clients that each backend had its turn.
fn all_served(rig: &Rig, stage: &Stage, limit: Duration) -> Result<String, Failure> {
    let mut longest = Duration::ZERO;
    for client in 0..CLIENTS {
        let begun = Instant::now();
        let pair = stage.pair().map_err(|failure| failure.at(format!("client {client}")))?;
        longest = longest.max(begun.elapsed());
        pair.ping()?;
    }
    held(
        longest < rig.effort.limit(limit),
        format!("{CLIENTS} clients served, the slowest after {longest:.1?}"),
    )
}

const CLIENTS: usize = 4;

const AT_ONCE: Duration = Duration::from_secs(1);

/// The two seconds of every kind's config, and one more.
const ONE_TRY: Duration = Duration::from_secs(3);

/// For how long it is looked when a client is told, if not at once.
const TOLD_AT_LAST: Duration = Duration::from_secs(4);

const LATE: Duration = Duration::from_millis(300);
