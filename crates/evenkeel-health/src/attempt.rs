//! What one attempt to probe an endpoint saw, phase by phase.

use std::fmt;
use std::time::Duration;

use evenkeel_core::health::{Class, Outcome, printable};
use tokio::time::Instant;

/// One attempt: its outcome, and how it came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What it amounts to.
    pub outcome: Outcome,
    /// The phases, in order; after one that did not pass there is no other.
    pub phases: Vec<Phase>,
    /// The questions that were asked over HTTP, in order.
    pub steps: Vec<Step>,
}

/// A phase of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Which one.
    pub name: PhaseName,
    /// Whether the attempt could go on; for the answer, whether there was one.
    pub passed: bool,
    /// How long it took.
    pub took: Duration,
    /// One printable line for people.
    pub detail: String,
}

/// The phases that an attempt can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseName {
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The request and its answer, and the questions after it.
    Answer,
}

impl PhaseName {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Answer => "answer",
        }
    }
}

impl fmt::Display for PhaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A question asked over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The path with its query.
    pub path: String,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
}

/// What was seen, in as much as an [`Outcome`] says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) class: Class,
    pub(crate) detail: String,
}

impl Seen {
    pub(crate) fn new(class: Class, detail: impl Into<String>) -> Self {
        Self { class, detail: detail.into() }
    }
}

/// Takes down the phases of an attempt in progress.
#[derive(Debug, Default)]
pub(crate) struct Record {
    phases: Vec<Phase>,
    pub(crate) steps: Vec<Step>,
}

impl Record {
    /// Runs a phase and takes down how it went; `tell` words its success.
    pub(crate) async fn phase<T>(
        &mut self,
        name: PhaseName,
        work: impl Future<Output = Result<T, Seen>>,
        tell: impl FnOnce(&T) -> String,
    ) -> Result<T, Seen> {
        let started = Instant::now();
        let result = work.await;
        let (passed, detail) = match &result {
            Ok(value) => (true, tell(value)),
            Err(seen) => (false, seen.detail.clone()),
        };
        let took = started.elapsed();
        self.phases.push(Phase { name, passed, took, detail: printable(&detail) });
        result
    }

    /// Ends the attempt. What it took is what its phases took: closing the connection in good
    /// order is no part of it.
    pub(crate) fn end(self, seen: &Seen) -> Attempt {
        let took = self.phases.iter().map(|phase| phase.took).sum();
        let outcome = Outcome { class: seen.class, detail: printable(&seen.detail), took };
        Attempt { outcome, phases: self.phases, steps: self.steps }
    }
}
