//! Any program, for proxies that are written for a test or a bench.

use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use crate::kind::Site;

/// A program that is run as `PROGRAM ARGUMENTS... LISTEN BACKEND...`.
#[derive(Clone, Debug)]
pub struct Given {
    /// What it is called in a matrix.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its first arguments.
    pub arguments: Vec<String>,
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Given {
    pub(crate) fn command(&self, site: &Site<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).arg(site.listen.to_string());
        command.args(site.backends.iter().map(ToString::to_string));
        command
    }
}
