//! What is wrong with a config, shown where it is.

use std::fmt;

/// A stretch of one line of the file. Lines and columns count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// In characters; at least 1 is shown.
    pub(crate) length: usize,
}

impl Place {
    /// The beginning of the file.
    pub(crate) const START: Self = Self { line: 1, column: 1, length: 1 };

    /// The place of the byte `offset` of `text`.
    pub(crate) fn of_offset(text: &[u8], offset: usize) -> Self {
        let before = String::from_utf8_lossy(text.get(..offset).unwrap_or(text));
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { line, column, length: 1 }
    }
}

/// One thing that is wrong, with where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) place: Place,
    pub(crate) message: String,
}

impl Mistake {
    pub(crate) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistakes {
    file: String,
    text: String,
    found: Vec<Mistake>,
}

impl Mistakes {
    pub(crate) fn new(file: &str, text: &str, mut found: Vec<Mistake>) -> Self {
        found.sort_by_key(|mistake| mistake.place);
        found.dedup();
        Self { file: file.to_owned(), text: text.to_owned(), found }
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.found {
            show(f, "error", &self.file, &self.text, mistake)?;
        }
        let count = self.found.len();
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{}: {count} mistake{plural}", self.file)
    }
}

/// Shows one finding with the line it is about:
///
/// ```text
/// error: `5x` is not a duration: write 500ms, 2s, 1m or 1h30m
///  --> evenkeel.yaml:7:13
///   |
/// 7 |   interval: 5x
///   |             ^^
/// ```
pub(crate) fn show(
    f: &mut impl fmt::Write,
    severity: &str,
    file: &str,
    text: &str,
    Mistake { place, message }: &Mistake,
) -> fmt::Result {
    let Place { line, column, length } = *place;
    writeln!(f, "{severity}: {message}")?;
    let gutter = " ".repeat(line.to_string().len());
    writeln!(f, "{gutter}--> {file}:{line}:{column}")?;
    let Some(source) = text.lines().nth(line.saturating_sub(1)) else {
        return writeln!(f);
    };
    let (source, column) = window(source, column);
    let width = source.chars().count().saturating_sub(column - 1);
    let marks = "^".repeat(length.clamp(1, width.max(1)));
    writeln!(f, "{gutter} |")?;
    writeln!(f, "{line} | {source}")?;
    writeln!(f, "{gutter} | {}{marks}", " ".repeat(column - 1))?;
    writeln!(f)
}

/// The part of a line around the column that fits a terminal, and the column in it. What could
/// move the cursor is shown as a blank (a tab) or as `�`.
fn window(source: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 100;
    let column = column.max(1);
    let skip = if column > WIDTH * 3 / 4 { column - WIDTH / 2 } else { 0 };
    let shown = source
        .chars()
        .skip(skip)
        .take(WIDTH)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '�',
            c => c,
        })
        .collect();
    (shown, column - skip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_shown_under_its_line() {
        let place = Place { line: 2, column: 13, length: 2 };
        let mistakes = Mistakes::new(
            "evenkeel.yaml",
            "health:\n  interval: 5x\n",
            vec![Mistake::new(place, "`5x` is not a duration")],
        );
        assert_eq!(
            mistakes.to_string(),
            "error: `5x` is not a duration\n --> evenkeel.yaml:2:13\n  |\n2 |   interval: 5x\n  |             ^^\n\nevenkeel.yaml: 1 mistake"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_mistake() {
        let text = format!("{}oops{}", "a".repeat(5000), "b".repeat(5000));
        let place = Place { line: 1, column: 5001, length: 4 };
        let shown = Mistakes::new("f", &text, vec![Mistake::new(place, "no")]).to_string();
        assert!(shown.len() < 500, "{shown}");
        assert!(shown.contains("oops"));
    }

    #[test]
    fn a_place_beyond_the_text_is_no_panic() {
        for place in [
            Place { line: 0, column: 0, length: 0 },
            Place { line: 9, column: 9, length: 9 },
            Place { line: 1, column: 400, length: 9 },
        ] {
            let shown = Mistakes::new("f", "x", vec![Mistake::new(place, "no")]).to_string();
            assert!(shown.contains("no"));
        }
    }
}
