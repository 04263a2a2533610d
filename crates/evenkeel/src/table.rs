//! Columns for people: as wide as they must be, two blanks apart.

use std::fmt::{self, Write as _};

/// A table that knows its widths once it is whole.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row; an empty cell is shown as `-`, so that columns can be counted by `awk`.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let dashed = |cell: String| if cell.is_empty() { "-".to_owned() } else { cell };
        self.rows.push(cells.into_iter().map(dashed).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                write!(line, "{cell:<width$}  ")?;
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// An age in its largest unit or two: `41s`, `3m12s`, `2h5m`, `12d4h`.
pub(crate) fn age(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs();
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{}m", whole / 3600, whole % 3600 / 60),
        _ => format!("{}d{}h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_blanks() {
        let mut table = Table::new(&["NAME", "READY"]);
        table.row(vec!["kube-apiserver".to_owned(), "3/3".to_owned()]);
        table.row(vec!["x".to_owned(), String::new()]);
        assert_eq!(
            table.to_string(),
            "NAME            READY\nkube-apiserver  3/3\nx               -\n"
        );
    }

    #[test]
    fn an_age_is_short() {
        let ages = [0.4, 59.9, 192.0, 7500.0, 1_051_200.0, -1.0].map(age);
        assert_eq!(ages, ["0s", "59s", "3m12s", "2h5m", "12d4h", "0s"]);
    }
}
