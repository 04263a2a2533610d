//! The longest silence between two good signs, the last one up to now included.

use std::time::Duration;

use tokio::time::Instant;

/// Silence counts from the first good sign on.
#[derive(Debug, Default)]
pub(super) struct Gap {
    last: Option<Instant>,
    longest: Duration,
}

impl Gap {
    /// Notes a good sign; answers whether it is the first.
    pub(super) fn good(&mut self, now: Instant) -> bool {
        let first = self.last.is_none();
        self.longest = self.longest_until(now);
        self.last = Some(now);
        first
    }

    /// The longest, if there is no further good sign before `now`.
    pub(super) fn longest_until(&self, now: Instant) -> Duration {
        self.last.map_or(self.longest, |last| self.longest.max(now.duration_since(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn who_is_silent_at_the_end_was_silent_until_the_end() {
        let begun = Instant::now();
        let mut gap = Gap::default();
        assert!(gap.good(begun));
        assert!(!gap.good(begun + SECOND));
        assert_eq!(gap.longest_until(begun + 9 * SECOND), 8 * SECOND);
    }

    #[test]
    fn what_precedes_the_first_good_sign_is_no_silence() {
        let gap = Gap::default();
        assert_eq!(gap.longest_until(Instant::now() + SECOND), Duration::ZERO);
    }
}
