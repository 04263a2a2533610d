//! Ends that come in one burst with the bytes before them.
//!
//! Who takes a short read as the sign that there is nothing more waits for an event that was
//! told already.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

use crate::pair::{Direction, End, LIMIT, end, finish, read, read_exact, reset};
use crate::rig::Rig;
use crate::stage::{Knock, Outcome, Setup, Stage};
use crate::verdict::{Failure, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let rounds = rig.effort.rounds(1000, 10_000);
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        let direction = Direction::BOTH[round % 2];
        let took = match round / 2 % 3 {
            0 => bytes_and_fin(rig, &stage, direction),
            1 => bytes_and_reset(rig, &stage, direction),
            _first => all_at_once(rig, &stage),
        };
        longest = longest.max(took.map_err(|failure| failure.at(format!("round {round}")))?);
    }
    Ok(format!("{rounds} bursts, all ended within {longest:.1?}"))
}

fn bytes_and_fin(rig: &Rig, stage: &Stage, direction: Direction) -> Result<Duration, Failure> {
    let pair = stage.pair()?;
    let (mut from, to) = pair.ends(direction);
    let begun = Instant::now();
    from.write_all(BYTES).map_err(met("the bytes were not sent"))?;
    finish(from)?;
    let soon = rig.effort.limit(SOON);
    whole(to, soon, direction)?;
    finish(to)?;
    let last = end(from, soon)?;
    let observed = || format!("{last} where the other direction ended, after bytes {direction}");
    if last == End::Fin { Ok(begun.elapsed()) } else { Err(observed().into()) }
}

/// The bytes may be lost with a reset, the end may not.
fn bytes_and_reset(rig: &Rig, stage: &Stage, direction: Direction) -> Result<Duration, Failure> {
    let (mut from, to) = stage.pair()?.into_ends(direction);
    let begun = Instant::now();
    from.write_all(BYTES).map_err(met("the bytes were not sent"))?;
    reset(from)?;
    let mut buffer = [0; 64];
    loop {
        match read(&to, &mut buffer, rig.effort.limit(SOON)) {
            Ok(_) => (),
            Err(End::Silence) => {
                return Err(format!("silence after bytes and a reset {direction}").into());
            }
            Err(End::Fin | End::Reset | End::Error(_)) => return Ok(begun.elapsed()),
        }
    }
}

/// A client that says everything before it has a backend.
fn all_at_once(rig: &Rig, stage: &Stage) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let client = TcpStream::connect_timeout(&stage.listen(), LIMIT);
    let client = client.map_err(met("a client could not connect"))?;
    let knock = Knock::say(client, BYTES).map_err(met("the bytes were not sent"))?;
    finish(&knock.client)?;
    let soon = rig.effort.limit(SOON);
    match stage.outcome(knock, soon) {
        Outcome::Served(pair) => {
            whole(&pair.backend, soon, Direction::ToBackend)?;
            Ok(begun.elapsed())
        }
        Outcome::Ended(end) => Err(format!("{end} for a client that ended early").into()),
    }
}

fn whole(to: &TcpStream, soon: Duration, direction: Direction) -> Result<(), Failure> {
    let mut arrived = vec![0; BYTES.len()];
    let filled = read_exact(to, &mut arrived, soon);
    filled.map_err(|end| format!("{end} instead of the bytes {direction}"))?;
    if arrived != BYTES {
        return Err(format!("other bytes arrived {direction}").into());
    }
    let last = end(to, soon)?;
    if last == End::Fin { Ok(()) } else { Err(format!("{last} instead of FIN {direction}").into()) }
}

const BYTES: &[u8] = b"the bytes before the end";

const SOON: Duration = Duration::from_secs(1);
