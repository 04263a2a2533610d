//! A distribution of durations in bounded memory.

use std::time::Duration;

/// Counts durations in buckets that are at most 1/16 wide, from a microsecond to an hour.
#[derive(Clone, Debug)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Latencies {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, longest: Duration::ZERO }
    }

    pub(super) fn add(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get_mut(bucket_of(micros)) {
            *bucket += 1;
        }
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    pub(super) fn longest(&self) -> Duration {
        self.longest
    }

    /// The duration that `percent` of all were not longer than, up to a sixteenth too long; zero
    /// without any.
    pub(super) fn percentile(&self, percent: u64) -> Duration {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= rank {
                return Duration::from_micros(upper_bound(place)).min(self.longest);
            }
        }
        self.longest
    }
}

/// Below 16 each value has its bucket; above, each power of two has 16.
fn bucket_of(micros: u64) -> usize {
    let doublings = micros.max(1).ilog2().saturating_sub(STEPS.ilog2());
    let within = micros >> doublings;
    let place = u64::from(doublings) * STEPS + within;
    usize::try_from(place).unwrap_or(BUCKETS).min(BUCKETS - 1)
}

fn upper_bound(place: usize) -> u64 {
    let place = place as u64;
    if place < 2 * STEPS {
        return place;
    }
    let doublings = place / STEPS - 1;
    let within = place - doublings * STEPS;
    ((within + 1) << doublings) - 1
}

const STEPS: u64 = 16;
/// Up to 2^32 microseconds, which is more than an hour.
const BUCKETS: usize = 16 * 29;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_its_bound_says() {
        for micros in (0..5000).chain([99_999, 1_000_000, 3_600_000_000]) {
            let place = bucket_of(micros);
            assert!(micros <= upper_bound(place), "{micros}");
            assert!(place == 0 || micros > upper_bound(place - 1), "{micros}");
        }
    }

    #[test]
    fn percentiles_are_near_and_never_beyond_the_longest() {
        let mut latencies = Latencies::new();
        assert_eq!(latencies.percentile(99), Duration::ZERO);
        for ms in 1..=100 {
            latencies.add(Duration::from_millis(ms));
        }
        let median = latencies.percentile(50).as_millis();
        assert!((50..=53).contains(&median), "{median}");
        assert_eq!(latencies.percentile(100), Duration::from_millis(100));
    }
}
