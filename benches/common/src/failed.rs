//! The one error of the bench. Nobody tells its cases apart: a bench that cannot go on says what it
//! was doing, why that did not work, and ends.

use std::error::Error;
use std::fmt;

/// Why the bench could not go on.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing}")]
pub struct Failed {
    doing: String,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Failed {
    /// Something whose cause is told by no other error.
    pub fn because(doing: impl fmt::Display, cause: impl Into<String>) -> Self {
        Self { doing: doing.to_string(), source: cause.into().into() }
    }
}

/// Says what was being done.
pub trait Doing<T> {
    /// `doing` completes the sentence "could not ...".
    ///
    /// # Errors
    /// If there was one.
    fn doing<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, Failed>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> Doing<T> for Result<T, E> {
    fn doing<D: fmt::Display>(self, doing: impl FnOnce() -> D) -> Result<T, Failed> {
        self.map_err(|error| Failed { doing: doing().to_string(), source: error.into() })
    }
}

/// An error with its causes, in one line.
pub fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
