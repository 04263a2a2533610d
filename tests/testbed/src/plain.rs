//! Plain TCP: servers that say who they are, and clients that come anew or stay.

mod greeter;
mod knocks;
mod stays;

use std::io;

pub use self::greeter::Greeter;
pub use self::knocks::{Knock, Knocks};
pub use self::stays::Stays;
use crate::host::EnterError;

/// Why a server or clients do not run, or what they saw is not known.
#[derive(Debug, thiserror::Error)]
pub enum PlainError {
    /// The host could not be entered.
    #[error("could not enter the host")]
    Enter(#[from] EnterError),
    /// The port is taken.
    #[error("could not listen on port {port}")]
    Listen {
        /// Which.
        port: u16,
        /// Why not.
        source: io::Error,
    },
    /// Some clients were not answered in time.
    #[error("{waiting} of {all} clients got no answer: {last}")]
    NotAnswered {
        /// How many.
        waiting: usize,
        /// Of how many.
        all: usize,
        /// What the last of them was told.
        last: String,
    },
    /// Adverts cannot be heard.
    #[error("could not listen for adverts")]
    Hear(#[source] io::Error),
    /// Their thread panicked.
    #[error("a thread of the testbed panicked")]
    Panicked,
}
