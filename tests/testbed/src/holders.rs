//! Which hosts have an address, watched on each of them.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::ifaddrs::getifaddrs;
use tokio::time::Instant;

use crate::host::{EnterError, Host};

/// Why nobody watches.
#[derive(Debug, thiserror::Error)]
pub enum HoldersError {
    /// A host could not be entered.
    #[error("could not enter the host")]
    Enter(#[from] EnterError),
    /// The addresses of a host cannot be read.
    #[error("could not read the addresses of the host")]
    Read(#[source] io::Error),
}

/// A host had the address, or had it no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it was seen, a few milliseconds after it came to be.
    pub at: Instant,
    /// The name of the host.
    pub host: String,
    /// Whether it has the address now.
    pub has: bool,
}

/// A thread on each host that looks again and again, until this is dropped.
#[derive(Debug)]
pub struct Holders {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    changes: Mutex<Vec<Held>>,
}

impl Holders {
    /// Watches an address on some hosts.
    ///
    /// # Errors
    /// If a host is gone.
    pub fn watch<'a>(
        hosts: impl IntoIterator<Item = &'a Host>,
        address: IpAddr,
    ) -> Result<Self, HoldersError> {
        let mut holders = Self { shared: Arc::default(), threads: Vec::new() };
        for host in hosts {
            let (shared, name) = (Arc::clone(&holders.shared), host.name().to_owned());
            let mut had = host.has(address)?;
            if had {
                shared.note(&name, true);
            }
            let watch = move || {
                while !shared.stop.load(Ordering::Relaxed) {
                    // Unknown is as it was.
                    let has = has(address).unwrap_or(had);
                    if std::mem::replace(&mut had, has) != has {
                        shared.note(&name, has);
                    }
                    thread::park_timeout(LOOK);
                }
            };
            holders.threads.push(host.enter(watch)?);
        }
        Ok(holders)
    }

    /// All changes so far, in their order. Who had it at first comes first.
    pub fn changes(&self) -> Vec<Held> {
        self.shared.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The names of those that have it now, in their order.
    pub fn now(&self) -> Vec<String> {
        let mut names = Vec::new();
        for change in self.changes() {
            names.retain(|name| *name != change.host);
            if change.has {
                names.push(change.host);
            }
        }
        names.sort();
        names
    }
}

impl Shared {
    fn note(&self, host: &str, has: bool) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.push(Held { at: Instant::now(), host: host.to_owned(), has });
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

impl Host {
    /// Whether one of its interfaces has an address.
    ///
    /// # Errors
    /// If the host is gone or the kernel does not say.
    pub fn has(&self, address: IpAddr) -> Result<bool, HoldersError> {
        self.within(|| has(address))?.map_err(HoldersError::Read)
    }
}

/// Whether the host of this thread has an address.
fn has(wanted: IpAddr) -> io::Result<bool> {
    let mut all = getifaddrs()?.filter_map(|interface| interface.address);
    Ok(all.any(|address| match wanted {
        IpAddr::V4(wanted) => address.as_sockaddr_in().is_some_and(|own| own.ip() == wanted),
        IpAddr::V6(wanted) => address.as_sockaddr_in6().is_some_and(|own| own.ip() == wanted),
    }))
}

/// How often to look.
const LOOK: Duration = Duration::from_millis(5);
