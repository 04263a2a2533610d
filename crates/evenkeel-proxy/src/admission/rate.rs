//! A rate, kept as one time: no task refills it, and it fits into an atomic.
//!
//! This is the generic cell rate algorithm (ITU-T I.371). `due` is the time at which the whole
//! credit is back. Each accept moves it on by one interval, and one that would move it further
//! ahead of `now` than the credit reaches comes too early. Pure: times are nanoseconds since any
//! zero, and the caller keeps `due`, which starts as 0.

use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// Accepts a second, of which one second's worth may come at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Nanoseconds that one accept stands for. Rounded down: at a million a second it is exact,
    /// and nowhere is the rate more than a thousandth above what was asked for, never below.
    interval: u64,
    /// How far `due` may be ahead.
    credit: u64,
}

impl Rate {
    pub(super) fn per_second(accepts: u32) -> Self {
        let accepts = u64::from(accepts).clamp(1, SECOND);
        let interval = SECOND / accepts;
        Self { interval, credit: interval.saturating_mul(accepts) }
    }

    /// The next `due`, if one more may be accepted now.
    ///
    /// # Errors
    /// How long that one is too early.
    pub(super) fn accept(self, due: u64, now: u64) -> Result<u64, Duration> {
        let next = due.max(now).saturating_add(self.interval);
        let ahead = next.saturating_sub(now);
        if ahead <= self.credit {
            Ok(next)
        } else {
            Err(Duration::from_nanos(ahead.saturating_sub(self.credit)))
        }
    }

    /// The `due` as it was before an accept that came to nothing.
    pub(super) fn give_back(self, due: u64) -> u64 {
        due.saturating_sub(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What the rate promises, without any cleverness: all accepts are remembered, and since none
    /// of them may there be more than a second's worth and one an interval.
    struct Naive {
        accepts: u64,
        interval: u64,
        accepted: Vec<u64>,
    }

    impl Naive {
        fn new(accepts: u32) -> Self {
            let accepts = u64::from(accepts);
            Self { accepts, interval: SECOND / accepts, accepted: Vec::new() }
        }

        fn may_accept(&self, now: u64) -> bool {
            self.accepted
                .iter()
                .rev()
                .zip(2..)
                .all(|(since, with_this)| with_this <= self.accepts + (now - since) / self.interval)
        }
    }

    #[test]
    fn a_seconds_worth_comes_at_once_and_the_rest_one_an_interval() {
        let rate = Rate::per_second(4);
        let mut due = 0;
        for _ in 0..4 {
            due = rate.accept(due, 0).unwrap();
        }
        assert_eq!(rate.accept(due, 0), Err(Duration::from_millis(250)));
        assert_eq!(rate.accept(due, 100_000_000), Err(Duration::from_millis(150)));
        due = rate.accept(due, 250_000_000).unwrap();
        assert!(rate.accept(due, 250_000_000).is_err());
        // After a quiet second, or an hour, it is a second's worth again.
        let hour = 3600 * SECOND;
        for _ in 0..4 {
            due = rate.accept(due, hour).unwrap();
        }
        assert_eq!(rate.accept(due, hour), Err(Duration::from_millis(250)));
    }

    #[test]
    fn the_ends_of_time_and_of_the_range_are_no_panic() {
        for accepts in [0, 1, 1_000_000, u32::MAX] {
            let rate = Rate::per_second(accepts);
            let due = rate.accept(0, u64::MAX).unwrap();
            assert_eq!(due, u64::MAX);
            assert!(rate.accept(u64::MAX, 0).is_err());
            assert_eq!(rate.give_back(0), 0);
        }
    }

    proptest! {
        #[test]
        fn it_is_what_the_naive_model_says(
            accepts in prop_oneof![1..20u32, 1..=1_000_000u32],
            // Pauses in hundredths of an interval, and whether the accept is given back.
            steps in proptest::collection::vec((0..300u64, proptest::bool::weighted(0.1)), 1..200),
        ) {
            let (rate, mut naive) = (Rate::per_second(accepts), Naive::new(accepts));
            let (mut due, mut now) = (0, 0);
            for (pause, give_back) in steps {
                now += pause * naive.interval / 300;
                match rate.accept(due, now) {
                    Ok(next) => {
                        prop_assert!(naive.may_accept(now), "one too many at {}", now);
                        due = next;
                        if give_back {
                            due = rate.give_back(due);
                        } else {
                            naive.accepted.push(now);
                        }
                    }
                    Err(wait) => {
                        prop_assert!(!naive.may_accept(now), "refused at {} within the rate", now);
                        // And the wait is neither too short nor too long.
                        let wait = u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert!(naive.may_accept(now + wait));
                        prop_assert!(!naive.may_accept(now + wait - 1));
                    }
                }
            }
        }

        #[test]
        fn in_the_long_run_it_is_the_rate_that_was_asked_for(accepts in 1..=1_000_000u32) {
            let rate = Rate::per_second(accepts);
            let (mut due, mut now) = (0, 0);
            for _ in 0..3000 {
                while let Err(wait) = rate.accept(due, now) {
                    now += u64::try_from(wait.as_nanos()).unwrap();
                }
                due = rate.accept(due, now).unwrap();
            }
            let beyond_the_credit = 3000u64.saturating_sub(u64::from(accepts));
            let exact = u128::from(beyond_the_credit) * u128::from(SECOND) / u128::from(accepts);
            prop_assert!(u128::from(now) <= exact, "too slow: {} for {}", now, exact);
            prop_assert!(u128::from(now) * 1001 >= exact * 1000, "too fast: {} for {}", now, exact);
        }
    }
}
