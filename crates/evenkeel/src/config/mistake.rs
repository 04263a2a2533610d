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
        let (line, last) = lines(&before).enumerate().last().unwrap_or_default();
        Self { line: line + 1, column: last.chars().count() + 1, length: 1 }
    }
}

/// One thing that is wrong, with where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    pub(crate) place: Place,
    pub(crate) message: String,
}

/// Longer than any message of ours whose quotes from the file are of sensible length.
const LONGEST: usize = 400;

impl Mistake {
    /// A mistake whose message fits a line: what it quotes of the file may be anything.
    pub(crate) fn new(place: Place, message: impl AsRef<str>) -> Self {
        let mut message: String = message.as_ref().chars().map(shown).collect();
        let count = message.chars().count();
        if count > LONGEST {
            let start: String = message.chars().take(LONGEST / 4).collect();
            let end: String = message.chars().skip(count - LONGEST * 3 / 4).collect();
            message = format!("{start} [...] {end}");
        }
        Self { place, message }
    }
}

/// The lines of a YAML text, which a carriage return alone ends, too. At least one.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some((line, after)) = text.split_once(['\n', '\r']) else { return rest.take() };
        let pair = text.get(line.len()..).is_some_and(|end| end.starts_with("\r\n"));
        rest = if pair { after.get(1..) } else { Some(after) };
        Some(line)
    })
}

/// The character as it may be shown: what would move the cursor or turn the direction of what
/// follows is a blank or `�`.
fn shown(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => ' ',
        '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '�',
        c if c.is_control() => '�',
        c => c,
    }
}

/// More mistakes than anyone mends in one go.
pub(crate) const MOST: usize = 50;

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mistakes {
    file: String,
    text: String,
    pub(super) found: Vec<Mistake>,
    /// Whether there are others.
    more: bool,
}

impl Mistakes {
    pub(crate) fn new(file: &str, text: &str, mut found: Vec<Mistake>) -> Self {
        found.sort_by_key(|mistake| mistake.place);
        found.dedup();
        let more = found.len() > MOST;
        found.truncate(MOST);
        Self { file: file.to_owned(), text: text.to_owned(), found, more }
    }
}

impl std::error::Error for Mistakes {}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mistake in &self.found {
            show(f, "error", &self.file, &self.text, mistake)?;
        }
        match self.found.len() {
            _ if self.more => {
                write!(f, "{}: more than {MOST} mistakes, of which {MOST} are shown", self.file)
            }
            1 => write!(f, "{}: 1 mistake", self.file),
            count => write!(f, "{}: {count} mistakes", self.file),
        }
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
    let Some(source) = lines(text).nth(line.saturating_sub(1)) else {
        return writeln!(f);
    };
    let (source, column) = window(source, column);
    let width = source.chars().count().saturating_sub(column - 1);
    let marks = "^".repeat(length.clamp(1, width.max(1)));
    writeln!(f, "{gutter} |")?;
    writeln!(f, "{}", format!("{line} | {source}").trim_end())?;
    writeln!(f, "{gutter} | {}{marks}", " ".repeat(column - 1))?;
    writeln!(f)
}

/// The part of a line around the column that fits a terminal, and the column in it.
fn window(source: &str, column: usize) -> (String, usize) {
    const WIDTH: usize = 100;
    let column = column.max(1);
    let skip = if column > WIDTH * 3 / 4 { column - WIDTH / 2 } else { 0 };
    (source.chars().skip(skip).take(WIDTH).map(shown).collect(), column - skip)
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
    fn a_line_ends_as_it_does_in_yaml() {
        assert_eq!(lines("a\nb\r\nc\rd").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(lines("\r\n\n").collect::<Vec<_>>(), ["", "", ""]);
        assert_eq!(lines("").collect::<Vec<_>>(), [""]);
        let place = Place::of_offset(b"a\rbc\r\nde\n", 7);
        assert_eq!(place, Place { line: 3, column: 2, length: 1 });
    }

    #[test]
    fn what_is_quoted_of_a_file_cannot_write_on_the_terminal() {
        let mistake = Mistake::new(Place::START, "`a\u{1b}[31m\u{202e}b\n` is no name");
        assert_eq!(mistake.message, "`a�[31m�b ` is no name");
        let mistake = Mistake::new(Place::START, format!("`{}` is no name", "x".repeat(9000)));
        assert!(mistake.message.len() < 500 && mistake.message.ends_with("x` is no name"));
    }

    #[test]
    fn no_more_mistakes_are_shown_than_anyone_reads() {
        let found = (1..=MOST + 1).map(|line| {
            Mistake::new(Place { line, column: 1, length: 1 }, format!("mistake {line}"))
        });
        let shown = Mistakes::new("f", "", found.collect()).to_string();
        assert!(shown.contains("mistake 50") && !shown.contains("mistake 51"));
        assert!(shown.ends_with("f: more than 50 mistakes, of which 50 are shown"));
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
