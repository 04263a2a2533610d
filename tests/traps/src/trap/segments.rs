//! Bulk in packets as small as on a wire.
//!
//! A slot of a pipe holds a packet, so a pipe is full long before it holds as many bytes as it
//! could.

use crate::namespace;
use crate::pair::Direction;
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::verdict::Failure;

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    namespace::make_packets_small()?;
    let stage = Stage::start(rig, Setup::default())?;
    let count = rig.effort.rounds(8, 64) << 20;
    for (seed, direction) in (0..).zip(Direction::BOTH) {
        stage.pair()?.transfer(direction, &Pattern::new(seed), count)?;
    }
    Ok(format!("{count} bytes each way arrived whole"))
}
