//! What a check found, or why it found nothing.

use std::fmt;
use std::io;

use evenkeel_testbed::Missing;

use crate::process::StartError;

/// What a check found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether what must hold did.
    pub held: bool,
    /// What was seen, with the figures.
    pub observed: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.held { "held: " } else { "did not hold: " })?;
        f.write_str(&self.observed)
    }
}

/// Why a check says nothing about the proxy.
#[derive(Debug, thiserror::Error)]
pub enum NotChecked {
    /// The machine lacks what the check needs.
    #[error("the machine lacks something")]
    Missing(#[from] Missing),
    /// The proxy does not run under the conditions of the check.
    #[error("the proxy was not started")]
    Start(#[from] StartError),
    /// The trap is not one for this kind.
    #[error("{0}")]
    NotFor(&'static str),
    /// The conditions of the check could not be made.
    #[error("could not {what}")]
    Conditions {
        /// What was to be made.
        what: &'static str,
        /// Why it was not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl NotChecked {
    pub(crate) fn conditions(
        what: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> Self {
        move |source| Self::Conditions { what, source }
    }

    /// It with its causes, in one line.
    pub fn reason(&self) -> String {
        let mut reason = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        reason
    }
}

/// Why a check ended without that what must hold held.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The proxy was seen doing this.
    Observed(String),
    /// Nothing was seen of it.
    NotChecked(NotChecked),
}

impl Failure {
    /// The same, with where it was seen before it.
    pub(crate) fn at(self, place: impl fmt::Display) -> Self {
        match self {
            Self::Observed(what) => Self::Observed(format!("{place}: {what}")),
            Self::NotChecked(why) => Self::NotChecked(why),
        }
    }
}

impl From<String> for Failure {
    fn from(observed: String) -> Self {
        Self::Observed(observed)
    }
}

impl From<NotChecked> for Failure {
    fn from(why: NotChecked) -> Self {
        Self::NotChecked(why)
    }
}

impl From<StartError> for Failure {
    fn from(why: StartError) -> Self {
        Self::NotChecked(why.into())
    }
}

/// What a call on a socket of the check met is the proxy's doing.
pub(crate) fn met(what: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Observed(format!("{what}: {error}"))
}

/// Held if `true`, with what was observed either way.
pub(crate) fn held(holds: bool, observed: String) -> Result<String, Failure> {
    if holds { Ok(observed) } else { Err(Failure::Observed(observed)) }
}
