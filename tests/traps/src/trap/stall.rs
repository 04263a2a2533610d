//! A receiver that takes nothing for a while.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use tokio::time::Instant;

use crate::pair::{Direction, End, end, finish, is_timeout, receive};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::trap::BULK;
use crate::verdict::{Failure, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    // What every connection may use is there before it is measured.
    let warm = Pattern::new(0);
    for direction in Direction::BOTH {
        for _ in 0..4 {
            stage.pair()?.transfer(direction, &warm, BULK)?;
        }
    }
    let seen = Direction::BOTH
        .into_iter()
        .map(|direction| one(rig, &stage, direction).map_err(|failure| failure.at(direction)))
        .collect::<Result<Vec<_>, Failure>>()?;
    Ok(seen.join("; "))
}

fn one(rig: &Rig, stage: &Stage, direction: Direction) -> Result<String, Failure> {
    let pattern = Pattern::new(2);
    let pair = stage.pair()?;
    pair.transfer(direction, &pattern, BULK)?;
    let before = stage.user_memory()?;
    let (from, to) = pair.ends(direction);
    let queued = fill(from, &pattern, BULK)?;
    let stalled = Duration::from_secs(u64::try_from(rig.effort.rounds(1, 5)).unwrap_or(1));
    let cpu = stage.cpu_during(stalled)?;
    let grown = stage.user_memory()?.saturating_sub(before);

    finish(from)?;
    receive(to, &pattern, BULK, queued)?;
    let last = end(to, rig.effort.limit(Duration::from_secs(1)))?;
    let observed = format!(
        "{queued} bytes queued, {cpu:.1?} of CPU in {stalled:?}, {} KiB of user memory, then all \
         bytes and {last}",
        grown / 1024,
    );
    let idle = rig.effort.limit(IDLE) * u32::try_from(stalled.as_secs()).unwrap_or(1);
    crate::verdict::held(cpu < idle && grown < MEMORY && last == End::Fin, observed)
}

/// Sends the pattern from `offset` on until nothing more is taken: how many bytes were.
pub(super) fn fill(
    mut from: &TcpStream,
    pattern: &Pattern,
    offset: usize,
) -> Result<usize, Failure> {
    from.set_write_timeout(Some(FULL)).map_err(met("no timeout was set"))?;
    let mut sent = 0;
    let begun = Instant::now();
    loop {
        match from.write(pattern.from(offset + sent, usize::MAX)) {
            Ok(written) => sent += written,
            Err(error) if is_timeout(&error) => return Ok(sent),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(format!("after {sent} bytes filling met: {error}").into()),
        }
        if sent > ENDLESS || begun.elapsed() > TOO_LONG {
            return Err(format!("it took {sent} bytes that nobody reads, and takes more").into());
        }
    }
}

/// Every buffer of the kernel between two that do not read.
const ENDLESS: usize = 256 << 20;

const TOO_LONG: Duration = Duration::from_secs(20);

/// A sender that waits so long for room finds none.
const FULL: Duration = Duration::from_millis(500);

const IDLE: Duration = Duration::from_millis(10);

const MEMORY: u64 = 1 << 20;
