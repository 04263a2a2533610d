//! Single bytes after bulk.
//!
//! Who splices them and says that more will follow (`SPLICE_F_MORE`, `MSG_MORE`) has the kernel
//! wait for it, 200 ms long.

use std::time::Duration;

use crate::pair::Direction;
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::trap::BULK;
use crate::verdict::{Failure, held};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let pair = stage.pair()?;
    for direction in Direction::BOTH {
        pair.transfer(direction, &Pattern::new(3), BULK)?;
    }
    let (rounds, limit) = (rig.effort.rounds(300, 2000), rig.effort.limit(LIMIT));
    let (mut took, mut late) = (Vec::new(), 0);
    // With more late ones than that the percentile is known.
    while took.len() < rounds && late <= rounds / 100 {
        let ping = pair.ping()?;
        late += usize::from(ping >= limit);
        took.push(ping);
    }
    let p99 = percentile(&mut took, 99);
    held(p99 < limit, format!("{} bytes there and back, p99 {p99:.1?}", took.len()))
}

/// The percentile; sorts.
pub(super) fn percentile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort_unstable();
    took.get(took.len() * percent / 100).or_else(|| took.last()).copied().unwrap_or_default()
}

const LIMIT: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_hundred_the_largest_is_the_99th_percentile() {
        let mut took: Vec<_> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut took, 99), Duration::from_millis(100));
        assert_eq!(percentile(&mut took, 50), Duration::from_millis(51));
    }
}
