//! Runs the program `ip`.
//!
//! The program and not netlink: a test that fails is retraced by typing the same words.

use std::io;
use std::process::Command;

/// Why `ip` did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum IpError {
    /// It could not be started.
    #[error("could not run `ip {arguments}`")]
    Run {
        /// What it was told.
        arguments: String,
        /// Why it did not start.
        source: io::Error,
    },
    /// It refused.
    #[error("`ip {arguments}`: {answer}")]
    Refused {
        /// What it was told.
        arguments: String,
        /// What it wrote to standard error.
        answer: String,
    },
}

/// Runs `ip` with the words of `line`, and answers what it wrote to standard output.
pub(crate) fn ip(line: &str) -> Result<String, IpError> {
    let output = Command::new("ip")
        .args(line.split_whitespace())
        .output()
        .map_err(|source| IpError::Run { arguments: line.to_owned(), source })?;
    if !output.status.success() {
        let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(IpError::Refused { arguments: line.to_owned(), answer });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
