//! Conversions between whole and floating numbers that `as` would do without a word.

/// A count as a float; exact up to 2^53, which no count here reaches.
#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, which no count here reaches")]
pub(crate) fn float(count: u64) -> f64 {
    count as f64
}

/// A length as a count.
pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A count as a length; as much as an address space holds.
pub(crate) fn length(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The nearest whole number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from a float saturates, and what is negative becomes zero"
)]
pub(crate) fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Nanoseconds as seconds.
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    float(nanoseconds) / 1e9
}
