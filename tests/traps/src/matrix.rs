//! Kinds of proxies beside each other.

use std::fmt;

use crate::effort::Effort;
use crate::kind::Kind;
use crate::rig::Rig;
use crate::trap::Trap;
use crate::verdict::{NotChecked, Verdict};

/// What one check said of one kind.
#[derive(Debug)]
pub struct Cell {
    /// What was checked.
    pub trap: Trap,
    /// The name of the kind.
    pub kind: String,
    /// What was found.
    pub found: Result<Verdict, NotChecked>,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}: ", self.trap, self.kind)?;
        match &self.found {
            Ok(verdict) => verdict.fmt(f),
            Err(why) => write!(f, "not checked: {}", why.reason()),
        }
    }
}

/// All traps for some kinds: a row a trap, a column a kind. Printed, it is a table.
#[derive(Debug)]
pub struct Matrix {
    /// The names of the kinds.
    pub kinds: Vec<String>,
    /// The cells of each trap, in the order of the kinds.
    pub rows: Vec<Vec<Cell>>,
}

/// Checks each of `kinds` for each of `traps`, and tells of each cell when it is there.
///
/// One after the other, trap by trap: what is measured shall have the machine for itself.
pub fn matrix(
    kinds: &[Kind],
    traps: &[Trap],
    effort: Effort,
    mut tell: impl FnMut(&Cell),
) -> Matrix {
    let mut cell = |trap: Trap, kind: &Kind| {
        let found = trap.check(&Rig::new(kind.clone(), effort));
        let cell = Cell { trap, kind: kind.to_string(), found };
        tell(&cell);
        cell
    };
    let mut row = |trap: &Trap| kinds.iter().map(|kind| cell(*trap, kind)).collect();
    Matrix {
        kinds: kinds.iter().map(ToString::to_string).collect(),
        rows: traps.iter().map(&mut row).collect(),
    }
}

impl fmt::Display for Matrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| trap |")?;
        self.kinds.iter().try_for_each(|kind| write!(f, " {kind} |"))?;
        write!(f, "\n|---|")?;
        self.kinds.iter().try_for_each(|_| write!(f, "---|"))?;
        for row in &self.rows {
            let Some(first) = row.first() else { continue };
            write!(f, "\n| {} |", first.trap)?;
            row.iter().try_for_each(|cell| write!(f, " {} |", word(cell)))?;
        }
        Ok(())
    }
}

fn word(cell: &Cell) -> &'static str {
    match &cell.found {
        Ok(Verdict { held: true, observed: _ }) => "holds",
        Ok(Verdict { held: false, observed: _ }) => "**does not**",
        Err(_) => "-",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_a_row_a_trap_and_a_column_a_kind() {
        let cell = |kind: &str, found| Cell { trap: Trap::Mixing, kind: kind.to_owned(), found };
        let verdict = |held| Ok(Verdict { held, observed: String::new() });
        let row = vec![
            cell("one", verdict(true)),
            cell("two", verdict(false)),
            cell("three", Err(NotChecked::NotFor("it is not there"))),
        ];
        let kinds = row.iter().map(|cell| cell.kind.clone()).collect();
        let table = Matrix { kinds, rows: vec![row] }.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines,
            [
                "| trap | one | two | three |",
                "|---|---|---|---|",
                "| mixing | holds | **does not** | - |"
            ]
        );
    }
}
