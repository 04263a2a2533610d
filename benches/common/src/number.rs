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

/// Seconds to a tenth of a millisecond, which is what a clock of clients on a busy machine is worth.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e4).round() / 1e4
}
