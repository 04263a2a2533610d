//! Pauses that grow, with jitter from a given seed.

use std::time::Duration;

/// Pauses from `first` on, each twice as long as the one before and none longer than `longest`; of
/// each a random part of up to a half is left out.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    random: fastrand::Rng,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, random: fastrand::Rng::with_seed(seed), next: first }
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next.min(self.longest);
        self.next = pause.saturating_mul(2);
        pause.mul_f64(1.0 - self.random.f64() / 2.0)
    }

    /// Begins with the first pause again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_lose_at_most_a_half() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(60), 7);
        let full: Vec<Duration> = [1, 2, 4, 8, 16, 32, 60, 60].map(seconds).to_vec();
        for _ in 0..2 {
            for full in &full {
                let pause = backoff.pause();
                assert!(*full / 2 <= pause && pause <= *full, "{pause:?} of {full:?}");
            }
            backoff.reset();
        }
    }
}
