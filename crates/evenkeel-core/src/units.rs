//! Durations as they are written in the config: `500ms`, `2s`, `1m`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A duration that reads and writes itself as `500ms`, `2s`, `1m` or `1h30m`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(Duration);

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// A bare number: the unit is part of the value, never of the key.
    #[error("`{0}` has no unit: write {0}ms, {0}s or {0}m")]
    NoUnit(String),
    /// No number, or a unit that is none of ours.
    #[error("`{0}` is not a duration: write 500ms, 2s, 1m or 1h30m")]
    NotADuration(String),
    /// More than a year.
    #[error("`{0}` is longer than a year")]
    TooLong(String),
}

const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

impl Span {
    /// A span of whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// The length of time.
    pub const fn duration(self) -> Duration {
        self.0
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let not = || SpanError::NotADuration(text.to_owned());
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(SpanError::NoUnit(text.to_owned()));
        }
        let mut rest = text;
        let mut total = Duration::ZERO;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(not)?;
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
            let (unit, after) = after.split_at(letters);
            let number: u64 = match number.parse() {
                Ok(number) => number,
                Err(_) if number.is_empty() => return Err(not()),
                Err(_) => return Err(SpanError::TooLong(text.to_owned())),
            };
            let milliseconds = match unit {
                "ms" => 1,
                "s" => 1000,
                "m" => 60_000,
                "h" => 3_600_000,
                _ => return Err(not()),
            };
            // `30m1h` and `1s1s` are more likely slips than meant.
            if milliseconds >= smallest {
                return Err(not());
            }
            smallest = milliseconds;
            let part = number.checked_mul(milliseconds).map(Duration::from_millis);
            total = part
                .and_then(|part| total.checked_add(part))
                .filter(|total| *total <= LONGEST)
                .ok_or_else(|| SpanError::TooLong(text.to_owned()))?;
            rest = after;
        }
        if smallest == u64::MAX { Err(not()) } else { Ok(Self(total)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, milliseconds) in [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
            if rest >= milliseconds {
                write!(f, "{}{unit}", rest / milliseconds)?;
                rest %= milliseconds;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Span {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A duration with its unit: 500ms, 2s, 1m or 1h30m.",
            "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "minLength": 2,
            "examples": ["500ms", "2s", "1m"],
        })
    }
}

/// A garde rule: the span is within `least` and `most`, both included.
///
/// # Errors
/// Says which bound is broken, and what it is.
pub fn between(least: Span, most: Span) -> impl FnOnce(&Span, &()) -> garde::Result {
    move |span, ()| {
        if *span < least {
            Err(garde::Error::new(format!("{span} is shorter than {least}")))
        } else if *span > most {
            Err(garde::Error::new(format!("{span} is longer than {most}")))
        } else {
            Ok(())
        }
    }
}

/// A garde rule: a name as people give it to a service or an address.
///
/// # Errors
/// Says what is wrong with it.
pub fn is_name(name: &str, (): &()) -> garde::Result {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 {
        return Err(garde::Error::new("a name has 1 to 63 characters"));
    }
    if !name.chars().all(legal) || name.starts_with('-') || name.ends_with('-') {
        return Err(garde::Error::new(format!(
            "`{name}` is no name: lower-case letters, digits and `-` in between"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_number_without_a_unit_is_told_so() {
        assert_eq!(
            "5".parse::<Span>().unwrap_err().to_string(),
            "`5` has no unit: write 5ms, 5s or 5m"
        );
    }

    #[test]
    fn units_go_from_large_to_small() {
        assert_eq!("1h30m".parse::<Span>().unwrap(), Span::from_secs(5400));
        assert_eq!("1m500ms".parse::<Span>().unwrap(), Span::from_millis(60_500));
        for text in ["", "s", "30m1h", "1s1s", "1.5s", "-1s", "1 s", "1S", "5x", "1d", "٣s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_too_long_and_no_panic() {
        for text in ["9000h", "99999999999999999999h", "18446744073709551615h"] {
            assert!(matches!(text.parse::<Span>(), Err(SpanError::TooLong(_))), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(milliseconds in 0..31_000_000_000u64) {
            let span = Span::from_millis(milliseconds);
            prop_assert_eq!(span.to_string().parse::<Span>().unwrap(), span);
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,12}") {
            drop(text.parse::<Span>());
        }
    }
}
