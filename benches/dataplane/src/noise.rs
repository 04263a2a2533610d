//! What to make of samples on a machine that others use too.
//!
//! A sample during which others kept more than [`QUIET`] of a core busy is taken again when they are
//! quiet, a few times, and the quietest is kept. One above [`LIMIT`] is not reported at all.

use std::time::Duration;

/// Cores that others may use without a sample being taken again.
pub(crate) const QUIET: f64 = 0.08;

/// Cores from which on a sample is worth nothing.
pub(crate) const LIMIT: f64 = 0.15;

/// How long to look whether it is quiet.
pub(crate) const PAUSE: Duration = Duration::from_millis(300);

/// Whether a sample is worth something.
pub(crate) fn is_usable(foreign_cores: f64) -> bool {
    foreign_cores < LIMIT
}

/// The quietest of up to `attempts` samples, the first that is quiet enough being the last.
///
/// `foreign` says how many cores others used during a sample.
pub(crate) fn quietest<T, E>(
    attempts: u32,
    foreign: impl Fn(&T) -> f64,
    mut sample: impl FnMut(Turn) -> Result<T, E>,
) -> Result<T, E> {
    let mut best = sample(Turn::First)?;
    for _ in 1..attempts {
        if foreign(&best) <= QUIET {
            break;
        }
        let next = sample(Turn::Again)?;
        if foreign(&next) < foreign(&best) {
            best = next;
        }
    }
    Ok(best)
}

/// Whether a sample is taken for the first time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// It is.
    First,
    /// The one before was noisy: wait for quiet.
    Again,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attempts: u32, noise: &[f64]) -> (f64, u32) {
        let mut samples = noise.iter();
        let mut pauses = 0;
        let best = quietest(
            attempts,
            |sample| *sample,
            |turn| {
                pauses += u32::from(turn == Turn::Again);
                samples.next().copied().ok_or("taken too often")
            },
        );
        (best.unwrap(), pauses)
    }

    #[test]
    fn a_quiet_sample_is_the_last() {
        assert_eq!(of(6, &[0.01]), (0.01, 0));
        assert_eq!(of(6, &[0.5, 0.3, 0.08]), (0.08, 2));
    }

    #[test]
    fn on_a_noisy_machine_the_quietest_is_kept() {
        assert_eq!(of(4, &[0.5, 0.2, 0.9, 0.3]), (0.2, 3));
        assert!(!is_usable(0.2) && is_usable(0.1));
    }

    #[test]
    fn a_failure_is_not_tried_again() {
        assert_eq!(quietest(3, |_: &f64| 1.0, |_| Err("broken")), Err("broken"));
    }
}
