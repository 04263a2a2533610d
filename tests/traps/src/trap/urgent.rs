//! An urgent byte behind bulk, and ordinary bytes behind it.
//!
//! Splice stops before the urgent mark. A non-blocking one answers EAGAIN there although the
//! socket stays readable, so that a level-triggered loop spins and an edge-triggered one waits
//! for an event that does not come. Only recv goes past it.

use std::io::Write;
use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use crate::pair::{Direction, End, LIMIT, end, finish, read};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::trap::BULK;
use crate::verdict::{Failure, held, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let seen = Direction::BOTH
        .into_iter()
        .map(|direction| one(rig, &stage, direction).map_err(|failure| failure.at(direction)))
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(seen.join("; "))
}

fn one(rig: &Rig, stage: &Stage, direction: Direction) -> Result<String, Failure> {
    let pair = stage.pair()?;
    pair.transfer(direction, &Pattern::new(1), BULK)?;
    let (mut from, to) = pair.ends(direction);
    let begun = Instant::now();
    let urgent = SockRef::from(from).send_out_of_band(b"!");
    urgent.map_err(met("the urgent byte was not sent"))?;
    from.write_all(TAIL).map_err(met("the tail was not sent"))?;

    let mut heard = Vec::new();
    let mut buffer = [0; 64];
    let arrived = loop {
        // Whether the urgent byte itself arrives is not asked: most proxies drop it.
        if heard.ends_with(TAIL) {
            break Ok(begun.elapsed());
        }
        let left = rig.effort.limit(SOON).saturating_sub(begun.elapsed());
        match read(to, &mut buffer, left) {
            Ok(read) => heard.extend_from_slice(&buffer[..read]),
            Err(end) => break Err(end),
        }
    };
    let cpu = stage.cpu_during(Duration::from_secs(1))?;
    finish(from)?;
    let last = end(to, LIMIT)?;
    let tail = match arrived {
        Ok(after) => format!("the tail after {after:.1?}"),
        Err(end) => format!("{end} instead of the tail"),
    };
    held(
        arrived.is_ok() && cpu < rig.effort.limit(IDLE) && last == End::Fin,
        format!("{tail}, {cpu:.1?} of CPU in the second after it, then {last}"),
    )
}

const TAIL: &[u8] = b"the tail";

const SOON: Duration = Duration::from_millis(100);

const IDLE: Duration = Duration::from_millis(10);
