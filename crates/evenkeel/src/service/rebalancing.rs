//! Which backend has too many connections, and how many it sheds.
//!
//! After a rolling restart the server that came last has none, and connections to an API server
//! live for hours. We pass TLS through, so no client can be asked to leave: an idle connection is
//! ended, and its client comes back to whoever has fewest. A few a second, until the skew is small.

use evenkeel_core::backend::FULL_SHARE;
use evenkeel_core::pool::Snapshot;
use tokio::time::Instant;

/// Fewer than this above the others are not worth a connection.
const LEAST: usize = 2;

/// The backend that has most, and by how much that is too many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Skew {
    /// Its place among those that are served.
    pub(super) place: usize,
    /// How many more it has than it should, in percent of what each should have.
    pub(super) percent: f64,
    /// How many it would have to shed, to have as many as each should.
    pub(super) excess: usize,
}

/// How unevenly the connections of those that are served are spread. `None` where there is nothing
/// to spread: one backend, no connections, or one that takes it slowly on purpose.
pub(super) fn skew(pool: &Snapshot, now: Instant) -> Option<Skew> {
    let serving = pool.serving();
    if serving.iter().any(|backend| backend.share(now) < FULL_SHARE) {
        return None;
    }
    skew_of(&serving.iter().map(|backend| backend.active()).collect::<Vec<_>>())
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn skew_of(active: &[usize]) -> Option<Skew> {
    let total: usize = active.iter().sum();
    if active.len() < 2 || total == 0 {
        return None;
    }
    let (place, most) = active.iter().copied().enumerate().max_by_key(|(_, active)| *active)?;
    let each = total.div_ceil(active.len());
    let mean = total as f64 / active.len() as f64;
    let percent = (most as f64 / mean - 1.0) * 100.0;
    Some(Skew { place, percent, excess: most.saturating_sub(each) })
}

impl Skew {
    /// How many it sheds now: none within `max_skew` percent, and `rate` at most.
    pub(super) fn sheds(&self, max_skew: u32, rate: u32) -> u32 {
        if self.percent <= f64::from(max_skew) || self.excess < LEAST {
            return 0;
        }
        u32::try_from(self.excess).unwrap_or(u32::MAX).min(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rolling_restart_is_evened_out_step_by_step() {
        let mut active = [150, 150, 0];
        let mut steps = 0;
        loop {
            let skew = skew_of(&active).unwrap();
            let sheds = usize::try_from(skew.sheds(20, 5)).unwrap();
            if sheds == 0 {
                break;
            }
            active[skew.place] -= sheds;
            // Who is shed comes back to the one with fewest.
            let fewest = active.iter_mut().min().unwrap();
            *fewest += sheds;
            steps += 1;
            assert!(steps < 100, "{active:?}");
        }
        assert!(active.iter().all(|active| *active <= 120), "{active:?}");
        assert!(steps >= 12, "no more than the rate at once: {steps}");
    }

    #[test]
    fn what_is_even_or_small_is_left_alone() {
        for active in [&[10, 10, 10][..], &[11, 10, 9], &[2, 1, 0]] {
            assert_eq!(skew_of(active).unwrap().sheds(20, 5), 0, "{active:?}");
        }
        assert_eq!(skew_of(&[7]), None);
        assert_eq!(skew_of(&[0, 0]), None);
        assert_eq!(skew_of(&[30, 0, 0]).unwrap().sheds(20, 5), 5);
    }
}
