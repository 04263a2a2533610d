//! What one attempt to probe an endpoint saw, phase by phase.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
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
    fn stage(self) -> Stage {
        match self {
            Self::Connect => Stage::Connecting,
            Self::Tls => Stage::Shaking,
            Self::Answer => Stage::Open,
        }
    }
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

/// How far an attempt has come, as far as it tells whether the endpoint lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its connect is not answered.
    Connecting,
    /// Its TLS handshake is not answered.
    Shaking,
    /// It was answered, and the rest says how the endpoint is, not whether it lives.
    Open,
}

impl Stage {
    /// What it is if nothing more comes.
    pub(crate) fn silence(self) -> Option<Class> {
        match self {
            Self::Connecting => Some(Class::ConnectTimeout),
            Self::Shaking => Some(Class::TlsTimeout),
            Self::Open => None,
        }
    }
}

/// How far an attempt has come, for whoever waits for it. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Mutex<(Stage, Instant)>>);

impl Progress {
    /// An attempt that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new((Stage::Connecting, now))))
    }

    /// The stage, and when it began.
    pub(crate) fn get(&self) -> (Stage, Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stage: Stage, now: Instant) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (stage, now);
    }
}

/// Takes down the phases of an attempt in progress.
#[derive(Debug, Default)]
pub(crate) struct Record {
    phases: Vec<Phase>,
    pub(crate) steps: Vec<Step>,
    progress: Option<Progress>,
}

impl Record {
    /// Takes them down where `progress` shows them.
    pub(crate) fn shown_by(progress: Progress) -> Self {
        Self { progress: Some(progress), ..Self::default() }
    }

    /// Runs a phase and takes down how it went; `tell` words its success.
    pub(crate) async fn phase<T>(
        &mut self,
        name: PhaseName,
        work: impl Future<Output = Result<T, Seen>>,
        tell: impl FnOnce(&T) -> String,
    ) -> Result<T, Seen> {
        let started = Instant::now();
        if let Some(progress) = &self.progress {
            progress.set(name.stage(), started);
        }
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
