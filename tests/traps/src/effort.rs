//! How much a check does, and how long it waits.

use std::time::Duration;

/// How many rounds a check goes, and by how much its limits of time are stretched.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    thorough: bool,
    patience: u32,
}

impl Effort {
    /// Few rounds, and limits for a debug build beside other tests.
    pub fn gate() -> Self {
        Self { thorough: false, patience: 5 }
    }

    /// All rounds, and the limits as they are meant: for a release build on a quiet machine.
    pub fn bench() -> Self {
        Self { thorough: true, patience: 1 }
    }

    /// The same with limits of time that are `patience` times as long. At least 1.
    #[must_use]
    pub fn patience(self, patience: u32) -> Self {
        Self { patience: patience.max(1), ..self }
    }

    /// The same with few rounds.
    #[must_use]
    pub fn few_rounds(self) -> Self {
        Self { thorough: false, ..self }
    }

    pub(crate) fn rounds(self, few: usize, all: usize) -> usize {
        if self.thorough { all } else { few }
    }

    /// A limit that is part of what must hold, stretched.
    pub(crate) fn limit(self, limit: Duration) -> Duration {
        limit * self.patience
    }
}
