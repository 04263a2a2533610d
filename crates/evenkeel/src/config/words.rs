//! What serde says of a value, in words for whoever wrote the file. Pure.

use serde::de;

/// What stands where something else is expected.
pub(super) fn found(unexpected: &de::Unexpected<'_>) -> String {
    match unexpected {
        de::Unexpected::Str(text) => format!("`{text}`"),
        de::Unexpected::Bool(value) => format!("`{value}`"),
        de::Unexpected::Signed(value) => format!("`{value}`"),
        de::Unexpected::Unsigned(value) => format!("`{value}`"),
        de::Unexpected::Float(value) => format!("`{value}`"),
        de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
        de::Unexpected::Seq => "a list".to_owned(),
        de::Unexpected::Map => "a table".to_owned(),
        de::Unexpected::Char(value) => format!("`{value}`"),
        de::Unexpected::Bytes(_)
        | de::Unexpected::NewtypeStruct
        | de::Unexpected::Enum
        | de::Unexpected::UnitVariant
        | de::Unexpected::NewtypeVariant
        | de::Unexpected::TupleVariant
        | de::Unexpected::StructVariant
        | de::Unexpected::Other(_) => unexpected.to_string(),
    }
}

/// What serde expects, in YAML's words.
pub(super) fn words(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list (`[a, b]`)",
        "a map" => "a table (`key: value`)",
        "a string" => "a text",
        "path string" => "a path",
        unsigned if is_unsigned(unsigned) => "a whole number",
        other => other,
    }
}

/// Whether serde expects a number that may not be negative.
pub(super) fn is_unsigned(expected: &str) -> bool {
    matches!(expected, "u16" | "u32" | "u64" | "usize")
}

/// Whether a text is a whole number, however large.
pub(super) fn is_integer(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit())
}

/// What is wrong with a number that the key's type cannot hold.
pub(super) fn out_of_range(number: &str) -> String {
    let less = number.starts_with('-');
    format!("`{number}` is {}", if less { "negative" } else { "too large" })
}

/// What may be written instead of `written`.
pub(super) fn choice(written: &str, expected: &[&str]) -> String {
    let all = list(expected);
    match (nearest(written, expected), expected) {
        (_, []) => "there are none here".to_owned(),
        (Some(name), [_]) => format!("did you mean `{name}`?"),
        (Some(name), _) => format!("did you mean `{name}`? It is one of {all}"),
        (None, [_]) => format!("expected {all}"),
        (None, _) => format!("expected one of {all}"),
    }
}

/// Names side by side.
pub(super) fn list(expected: &[&str]) -> String {
    expected.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The one of `expected` that was probably meant.
fn nearest<'a>(written: &str, expected: &[&'a str]) -> Option<&'a str> {
    expected
        .iter()
        .map(|name| (distance(&written.to_lowercase(), &name.to_lowercase()), *name))
        .min()
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .map(|(_, name)| name)
}

/// Levenshtein's distance, bounded by a name's length.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().take(64).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *above;
            left = substituted.min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_probably_meant_is_named() {
        assert_eq!(
            choice("Json", &["auto", "json"]),
            "did you mean `json`? It is one of `auto`, `json`"
        );
        assert_eq!(choice("xml", &["auto", "json"]), "expected one of `auto`, `json`");
        assert_eq!(choice("x", &["drainTimeout"]), "expected `drainTimeout`");
        assert_eq!(choice("x", &[]), "there are none here");
    }

    #[test]
    fn a_distance_counts_what_must_change() {
        for (a, b, changes) in [("", "", 0), ("", "ab", 2), ("tcp", "tp", 1), ("xy", "yx", 2)] {
            assert_eq!(distance(a, b), changes, "{a} {b}");
            assert_eq!(distance(b, a), changes, "{b} {a}");
        }
    }
}
