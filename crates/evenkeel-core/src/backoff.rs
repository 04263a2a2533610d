//! Growing pauses with jitter, from a given seed.

use std::time::Duration;

/// Pauses that double from `first` to `longest`, each shortened by up to a half by chance, so that
/// many who failed together do not come back together.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: fastrand::Rng,
}

impl Backoff {
    /// Starts at `first` and never waits longer than `longest`.
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        let first = first.min(longest);
        Self { first, longest, next: first, random: fastrand::Rng::with_seed(seed) }
    }

    /// The next pause: between half of the nominal one and all of it.
    pub fn pause(&mut self) -> Duration {
        let nominal = self.next;
        self.next = nominal.saturating_mul(2).min(self.longest);
        nominal.mul_f64(0.5 + self.random.f64() / 2.0)
    }

    /// Starts over, after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_start_over_after_a_success() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest, 7);
        for nominal in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause().as_millis();
            assert!((nominal / 2..=nominal).contains(&pause), "{pause} of {nominal}");
        }
        backoff.reset();
        assert!(backoff.pause() <= first);
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(9), seed);
            [backoff.pause(), backoff.pause(), backoff.pause()]
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }
}
