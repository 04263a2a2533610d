//! More clients than descriptors.
//!
//! What cannot be accepted stays in the queue and keeps the listener readable: who only tries
//! again spins, and who sleeps for it keeps those waiting who come when there is room.

use std::time::Duration;

use tokio::time::Instant;

use crate::pair::{End, is_timeout};
use crate::rig::Rig;
use crate::stage::{Knock, Outcome, Setup, Stage, pause};
use crate::verdict::{Failure, held, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let setup = Setup { descriptors: Some(DESCRIPTORS), ..Setup::default() };
    let stage = Stage::start(rig, setup)?;
    stage.process()?;
    let first = stage.pair()?;
    let herd = come(&stage);
    pause(SETTLE);
    let cpu = stage.cpu_during(Duration::from_secs(1))?;
    let first = first.ping().map_err(|failure| failure.at("who was there before them"))?;
    for knock in herd {
        stage.abandon(knock);
    }

    let after = served_again(&stage)?;
    held(
        cpu < rig.effort.limit(IDLE) && after < rig.effort.limit(SOON),
        format!(
            "{cpu:.1?} of CPU in a second without descriptors, a ping in {first:.1?}; a client \
             served {after:.1?} after they were free",
        ),
    )
}

/// How long it took until a client was served. One that comes before the proxy has closed what the
/// others left may still be refused.
fn served_again(stage: &Stage) -> Result<Duration, Failure> {
    let begun = Instant::now();
    loop {
        let outcome = match stage.knock() {
            Ok(knock) => stage.outcome(knock, SERVED_AT_LAST),
            Err(error) if is_timeout(&error) => {
                return Err(met("a client after them could not connect")(error));
            }
            Err(_told) => Outcome::Ended(End::Reset),
        };
        match outcome {
            Outcome::Served(_) => return Ok(begun.elapsed()),
            Outcome::Ended(End::Fin | End::Reset) if begun.elapsed() < SERVED_AT_LAST => {
                pause(AGAIN);
            }
            Outcome::Ended(end) => return Err(format!("a client after them saw {end}").into()),
        }
    }
}

/// As many clients as there is room for in the listener's queue. One that is refused or reset was
/// told, which is right too.
fn come(stage: &Stage) -> Vec<Knock> {
    let mut herd = Vec::new();
    for _ in 0..CLIENTS {
        match stage.knock_within(QUEUED) {
            Ok(knock) => herd.push(knock),
            Err(error) if is_timeout(&error) => break,
            Err(_told) => (),
        }
    }
    herd
}

const DESCRIPTORS: u32 = 64;

const CLIENTS: usize = 200;

/// So that those who can be served are.
const SETTLE: Duration = Duration::from_millis(300);

/// A handshake on loopback that takes longer finds the queue full.
const QUEUED: Duration = Duration::from_millis(500);

/// 5 %.
const IDLE: Duration = Duration::from_millis(50);

/// The 100 ms that an accept may pause, and half as much for the dead clients in the queue.
const SOON: Duration = Duration::from_millis(150);

const AGAIN: Duration = Duration::from_millis(5);

const SERVED_AT_LAST: Duration = Duration::from_secs(5);
