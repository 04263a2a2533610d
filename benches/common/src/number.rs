//! Conversions that `as` would do without a word.

use std::time::Duration;

/// A count as a float; exact up to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no count here reaches")]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// A length as a count.
pub fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A count as a length; as much as an address space holds.
pub fn length(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The nearest whole number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and what is negative becomes zero"
)]
pub fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Seconds to a tenth of a millisecond, which is what a clock of clients on a busy machine is worth.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 1e4
}
