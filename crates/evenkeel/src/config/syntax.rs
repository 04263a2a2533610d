//! What the YAML parser says, in plain words and without its own idea of how to show it.

use serde_saphyr::Error;
use serde_saphyr::budget::BudgetBreach;

use super::mistake::{Mistake, Place, lines};
use super::tree::{DEEPEST, MOST_VALUES, place};

/// The mistake that ended the parsing of `text`.
#[expect(clippy::wildcard_enum_match_arm, reason = "the library has an error for all it can read")]
pub(super) fn mistake(text: &str, error: &Error) -> Mistake {
    let error = error.without_snippet();
    let place = error.location().map_or(Place::START, |location| place(&location));
    // The parser names a tab by its consequence, and may name the line before, whose value then
    // seems to go on.
    for (index, line) in lines(text).enumerate().skip(place.line.saturating_sub(1)).take(2) {
        let indent = line.len() - line.trim_start().len();
        if let Some(at) = line.get(..indent).and_then(|indent| indent.find('\t')) {
            let place = Place { line: index + 1, column: at + 1, length: 1 };
            return Mistake::new(place, "a tab: YAML is indented with spaces only");
        }
    }
    match error {
        // Where the alias stands, and not what it names.
        Error::AliasError { error, .. } => Mistake { place, ..mistake(text, error) },
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. }
        | Error::MultipleDocuments { .. } => {
            let second = lines(text).enumerate().skip(1).find(|(_, line)| line.starts_with("---"));
            let place =
                second.map_or(place, |(index, _)| Place { line: index + 1, column: 1, length: 3 });
            Mistake::new(place, "a second document: a config is one document")
        }
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(place),
        Error::Budget { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => Mistake::new(
            place,
            format!("more than {MOST_VALUES} values: aliases (`*name`) repeat what they name"),
        ),
        Error::RecursiveReferencesRequireWeakTypes { .. } => {
            Mistake::new(place, "an alias (`*name`) inside of what it names")
        }
        Error::UnknownAnchor { .. } => Mistake::new(
            place,
            "an alias (`*name`) that names nothing: put a text with `*` in quotes",
        ),
        Error::NullIntoString { .. } => Mistake::new(place, "a key is missing here"),
        Error::Unexpected { .. } => Mistake::new(
            place,
            "a list or a table as a key: put an address in quotes, \"[::]:6443\"",
        ),
        Error::NonFiniteFloat { value, .. } => {
            Mistake::new(place, format!("`{value}` is not a number"))
        }
        Error::InvalidScalar { .. } => Mistake::new(place, "not a value of the type that it says"),
        // The rest comes from the scanner, as a text only.
        other => match other.to_string() {
            message if message.contains("recursion limit") => too_deep(place),
            message => Mistake::new(place, in_plain_words(&message)),
        },
    }
}

fn too_deep(place: Place) -> Mistake {
    Mistake::new(place, format!("nested more than {DEEPEST} levels deep"))
}

/// The scanner's message, in words for whoever wrote the file.
fn in_plain_words(message: &str) -> String {
    // The scanner puts the place in front or behind; ours stands in the line below.
    let message = message.split(" at line ").next().unwrap_or(message);
    let message = match message.strip_prefix("line ") {
        Some(rest) => rest.split_once(": ").map_or(message, |(_, rest)| rest),
        None => message,
    };
    let known = |(said, _): &&(&str, &str)| message.contains(said);
    if let Some((_, meant)) = PLAIN.iter().find(known) {
        return (*meant).to_owned();
    }
    if let Some(bracket) = message.strip_prefix("unclosed bracket ") {
        return format!("`{}` is not closed", bracket.trim_matches('\''));
    }
    message.to_owned()
}

/// What the scanner says, and what is meant.
const PLAIN: [(&str, &str); 15] = [
    ("simple key expected ':'", "no `key: value`: the `:`, or the space behind it, is missing"),
    ("invalid trailing content", "text behind the closing quote: is a `,` missing?"),
    (
        "expected '-' indicator",
        "the indentation fits neither the keys above nor the `-` of their list",
    ),
    ("did not find expected key", "expected a key that is indented like those above"),
    ("invalid indentation", "the indentation fits nothing above"),
    ("mapping values are not allowed", "a second `:` in one value: put the text in quotes"),
    (
        "block sequence entries are not allowed",
        "a list does not start here: write it below its key, or as `[a, b]`",
    ),
    ("expected ',' or ']'", "expected `,` or `]`"),
    ("expected ',' or '}'", "expected `,` or `}`"),
    ("did not find expected node content", "expected a value"),
    ("unexpected character", "a text cannot start with this character: put it in quotes"),
    ("unclosed quote", "the quote is not closed"),
    ("unknown escape character", "in double quotes a `\\` stands for itself only as `\\\\`"),
    ("tab", "a tab: YAML is indented with spaces only"),
    ("comments must be separated", "a comment needs a space before its `#`"),
];
