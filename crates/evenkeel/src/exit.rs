//! The exit codes, which scripts and systemd units rely on.

use std::io::Write as _;
use std::process::ExitCode;

use crate::config::ConfigError;

/// How the process ends. A wrong command line exits with 2, by clap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, healthy, drained.
    Done = 0,
    /// Failed at run time.
    Failure = 1,
    /// The config is not valid.
    ConfigInvalid = 3,
    /// Valid with warnings, under `check --strict`.
    ConfigWarnings = 4,
    /// The daemon is not reachable.
    Unreachable = 5,
    /// `status --check`: a backend is not ready, and no further failure is tolerated.
    NoTolerance = 6,
    /// `status --check`: a service has no ready backend.
    NoReadyBackend = 7,
    /// Ended by a second TERM, undrained: 128 + SIGTERM.
    Undrained = 143,
}

impl Exit {
    /// The code for an error that reached `main`.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        if error.is::<ConfigError>() {
            Self::ConfigInvalid
        } else if error.is::<crate::admin_client::Unreachable>() {
            Self::Unreachable
        } else {
            Self::Failure
        }
    }

    /// Says on standard error why, and is the code.
    pub(crate) fn report(self, message: &str) -> ExitCode {
        self.show(&format!("evenkeel: {message}"))
    }

    /// Shows a text on standard error, and is the code.
    pub(crate) fn show(self, text: &str) -> ExitCode {
        // With standard error closed there is nobody to tell; the code still says it.
        drop(writeln!(anstream::stderr(), "{text}"));
        self.into()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
