//! The good signs of one client, and the silences between them.

use std::time::Duration;

use tokio::time::Instant;

/// When a client had its good signs, answers or events, and until when it was listened to.
///
/// Silence counts from the first good sign on, and up to the end.
#[derive(Clone, Debug)]
pub struct Signs {
    good: Vec<Instant>,
    until: Instant,
}

impl Signs {
    /// Signs in the order in which they came, of a client that stopped at `until`.
    pub fn new(good: Vec<Instant>, until: Instant) -> Self {
        Self { good, until }
    }

    /// The longest silence.
    pub fn longest_gap(&self) -> Duration {
        self.gaps().map(|(length, _end)| length).max().unwrap_or_default()
    }

    /// The longest silence of those that ended at `instant` or later.
    pub fn longest_gap_after(&self, instant: Instant) -> Duration {
        let later = self.gaps().filter(|(_length, end)| *end >= instant);
        later.map(|(length, _end)| length).max().unwrap_or_default()
    }

    /// The silence at the end, which the client might have gone on with.
    pub fn last_gap(&self) -> Duration {
        self.good.last().map(|last| self.until.duration_since(*last)).unwrap_or_default()
    }

    /// Every silence with its end.
    fn gaps(&self) -> impl Iterator<Item = (Duration, Instant)> {
        let ends = self.good.iter().skip(1).chain([&self.until]);
        self.good.iter().zip(ends).map(|(from, to)| (to.duration_since(*from), *to))
    }
}

/// Notes the good signs of a running client.
#[derive(Debug, Default)]
pub(super) struct Gap {
    good: Vec<Instant>,
}

impl Gap {
    /// Notes a good sign; answers whether it is the first.
    pub(super) fn good(&mut self, now: Instant) -> bool {
        self.good.push(now);
        self.good.len() == 1
    }

    /// All of them, of a client that stops now.
    pub(super) fn end(self, now: Instant) -> Signs {
        Signs::new(self.good, now)
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
        let signs = gap.end(begun + 9 * SECOND);
        assert_eq!((signs.longest_gap(), signs.last_gap()), (8 * SECOND, 8 * SECOND));
    }

    #[test]
    fn what_precedes_the_first_good_sign_is_no_silence() {
        let signs = Gap::default().end(Instant::now() + SECOND);
        assert_eq!((signs.longest_gap(), signs.last_gap()), (Duration::ZERO, Duration::ZERO));
    }

    #[test]
    fn a_silence_that_was_over_before_does_not_count_after() {
        let begun = Instant::now();
        let at = |seconds| begun + seconds * SECOND;
        let signs = Signs::new([0, 5, 6, 8].map(at).to_vec(), at(9));
        assert_eq!(signs.longest_gap(), 5 * SECOND);
        assert_eq!(signs.longest_gap_after(at(6)), 2 * SECOND);
        assert_eq!(signs.longest_gap_after(at(7)), 2 * SECOND, "it ended later");
        assert_eq!(signs.last_gap(), SECOND);
    }
}
