//! The kinds of proxies, each with the config that it gets for a check.
//!
//! To add one: a file in `kind/` with its `command`, then the `mod` line, the variant and the
//! `match` arms here. All get the same terms where they have a key for it: two seconds for a
//! connect, an hour for idle connections, the next backend on failure.

mod envoy;
mod evenkeel;
mod given;
mod haproxy;
mod nginx;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

pub use envoy::Envoy;
pub use evenkeel::Evenkeel;
pub use given::Given;
pub use haproxy::Haproxy;
pub use nginx::Nginx;

/// A kind of proxy.
#[derive(Clone, Debug)]
pub enum Kind {
    /// None: the client connects to the backend. Shows what is the kernel's doing.
    Direct,
    /// Ours.
    Evenkeel(Evenkeel),
    /// `HAProxy`.
    Haproxy(Haproxy),
    /// nginx with its module stream.
    Nginx(Nginx),
    /// Envoy.
    Envoy(Envoy),
    /// Any program that takes its addresses as arguments.
    Given(Given),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Evenkeel(_) => f.write_str("evenkeel"),
            Self::Haproxy(haproxy) => haproxy.fmt(f),
            Self::Nginx(nginx) => nginx.fmt(f),
            Self::Envoy(_) => f.write_str("Envoy"),
            Self::Given(given) => given.fmt(f),
        }
    }
}

/// Where a proxy runs and what it is told.
#[derive(Debug)]
pub(crate) struct Site<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) listen: SocketAddr,
    pub(crate) backends: &'a [SocketAddr],
    /// How many threads; by default as many as the kind likes.
    pub(crate) threads: Option<usize>,
    /// Whether it gets fewer descriptors than a config would ask for.
    pub(crate) few_descriptors: bool,
}

impl Site<'_> {
    /// Writes a config, with `{listen}` in it replaced; its path.
    fn write(&self, name: &str, config: &str) -> io::Result<PathBuf> {
        let path = self.directory.join(name);
        std::fs::write(&path, config.replace("{listen}", &self.listen.to_string()))?;
        Ok(path)
    }
}

impl Kind {
    /// What runs it there; none if there is nothing to run.
    pub(crate) fn command(&self, site: &Site<'_>) -> io::Result<Option<Command>> {
        match self {
            Self::Direct => Ok(None),
            Self::Evenkeel(evenkeel) => evenkeel.command(site).map(Some),
            Self::Haproxy(haproxy) => haproxy.command(site).map(Some),
            Self::Nginx(nginx) => nginx.command(site).map(Some),
            Self::Envoy(envoy) => envoy.command(site).map(Some),
            Self::Given(given) => Ok(Some(given.command(site))),
        }
    }

    /// Its program, if that is a file that perhaps only this user may reach.
    pub(crate) fn program(&self) -> Option<&Path> {
        match self {
            Self::Direct | Self::Haproxy(_) | Self::Nginx(_) => None,
            Self::Evenkeel(evenkeel) => Some(&evenkeel.binary),
            Self::Envoy(envoy) => Some(&envoy.binary),
            Self::Given(given) => Some(&given.program),
        }
    }

    /// The same kind with its program elsewhere.
    pub(crate) fn moved(&self, program: PathBuf) -> Self {
        match self {
            Self::Direct | Self::Haproxy(_) | Self::Nginx(_) => self.clone(),
            Self::Evenkeel(_) => Self::Evenkeel(Evenkeel { binary: program }),
            Self::Envoy(_) => Self::Envoy(Envoy { binary: program }),
            Self::Given(given) => Self::Given(Given { program, ..given.clone() }),
        }
    }

    /// The signal that asks it to let open connections finish.
    pub(crate) fn graceful(&self) -> Signal {
        match self {
            Self::Haproxy(_) => Signal::USR1,
            Self::Nginx(_) => Signal::QUIT,
            Self::Direct | Self::Evenkeel(_) | Self::Envoy(_) | Self::Given(_) => Signal::TERM,
        }
    }
}
