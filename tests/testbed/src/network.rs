//! A switch in a namespace of its own, and the hosts on it.
//!
//! ```text
//!   ek<pid>-<n>-br       [ bridge: cp-1  cp-2  client ]     each port is named like its host
//!                                   |     |      |
//!   ek<pid>-<n>-cp-1              eth0    |      |
//!   ek<pid>-<n>-cp-2                    eth0     |
//!   ek<pid>-<n>-client                         eth0
//! ```
//!
//! Networks cannot reach each other or the machine, so all use the same addresses.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::host::{EnterError, Host, within};
use crate::ip::{IpError, ip};
use crate::leftovers;

/// Why a network or a host was not made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// There is no directory for its files.
    #[error("could not make a directory for the testbed")]
    Directory(#[source] io::Error),
    /// A link, an address or a namespace was refused.
    #[error("could not wire {what}")]
    Ip {
        /// The host, or `the bridge`.
        what: String,
        /// What `ip` answered.
        source: IpError,
    },
    /// The new namespace could not be entered.
    #[error("could not enter the namespace of {what}")]
    Enter {
        /// The host.
        what: String,
        /// Why.
        source: EnterError,
    },
    /// A kernel setting of the new namespace was refused.
    #[error("could not set up the kernel of {what}")]
    Kernel {
        /// The host.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A name is the name of a network interface: 1 to 15 of `a-z`, `0-9` and `-`.
    #[error("{0:?} is no name for a host")]
    Name(String),
    /// Two hosts cannot share an address or a name.
    #[error("{0} is taken on this network")]
    Taken(String),
}

/// Hosts that reach each other and nothing else. Dropped, it takes everything with it.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    directory: Arc<TempDir>,
    // A lock, because hosts may be added from several threads at once; nothing hot is under it.
    hosts: Mutex<Hosts>,
}

#[derive(Debug, Default)]
struct Hosts {
    names: BTreeSet<String>,
    numbers: BTreeSet<u8>,
}

impl Network {
    /// Makes a bridge without hosts, after removing what killed test processes left.
    ///
    /// # Errors
    /// If there is no directory for its files, or `ip` refuses.
    pub fn new() -> Result<Self, NetworkError> {
        static COUNT: AtomicU32 = AtomicU32::new(1);

        leftovers::remove();
        let prefix = leftovers::prefix(COUNT.fetch_add(1, Ordering::Relaxed));
        let directory =
            tempfile::Builder::new().prefix(&prefix).tempdir().map_err(NetworkError::Directory)?;
        let network =
            Self { prefix, directory: Arc::new(directory), hosts: Mutex::new(Hosts::default()) };
        wire("the bridge", &network.bridge_lines())?;
        Ok(network)
    }

    /// Makes a host with the next free address from `10.0.0.21` and `fd00::21` on.
    ///
    /// Those from 100 on are left for VIPs.
    ///
    /// # Errors
    /// If the name is taken or not the name of an interface, or `ip` refuses.
    pub fn host(&self, name: &str) -> Result<Host, NetworkError> {
        let next = {
            let hosts = self.lock_hosts();
            (FIRST_FREE..FIRST_VIP).find(|number| !hosts.numbers.contains(number))
        };
        let number = next.ok_or_else(|| NetworkError::Taken("every address".to_owned()))?;
        self.host_at(name, number)
    }

    /// Makes a host with the addresses `10.0.0.<number>` and `fd00::<number>`.
    ///
    /// # Errors
    /// If name or number are taken, the name is not the name of an interface, or `ip` refuses.
    pub fn host_at(&self, name: &str, number: u8) -> Result<Host, NetworkError> {
        if !is_host_name(name) {
            return Err(NetworkError::Name(name.to_owned()));
        }
        {
            let mut hosts = self.lock_hosts();
            if hosts.names.contains(name) {
                return Err(NetworkError::Taken(name.to_owned()));
            }
            if !hosts.numbers.insert(number) {
                return Err(NetworkError::Taken(format!("10.0.0.{number}")));
            }
            hosts.names.insert(name.to_owned());
        }
        let host = Host::new(name, &self.prefix, number, Arc::clone(&self.directory));
        wire(name, &[format!("netns add {}", host.namespace())])?;
        silence_duplicate_detection(&host)?;
        wire(name, &[format!("-n {} link set lo up", host.namespace())])?;
        wire(name, &host.interface_lines())?;
        Ok(host)
    }

    /// The directory for the files of this network; it goes with it.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn bridge_lines(&self) -> Vec<String> {
        let bridge = self.bridge();
        vec![
            format!("netns add {bridge}"),
            // Without snooping multicast reaches every port at once, as VRRP needs it.
            format!("-n {bridge} link add br0 type bridge mcast_snooping 0"),
            format!("-n {bridge} link set br0 up"),
        ]
    }

    pub(crate) fn bridge(&self) -> String {
        format!("{}br", self.prefix)
    }

    fn lock_hosts(&self) -> MutexGuard<'_, Hosts> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = std::mem::take(&mut *self.lock_hosts());
        let bridge = self.bridge();
        let namespaces = hosts.names.iter().map(|name| format!("{}{name}", self.prefix));
        for namespace in namespaces.chain([bridge]) {
            end_processes(&namespace);
            // Nothing can be done about it here; the next network tries again.
            drop(ip(&format!("netns delete {namespace}")));
        }
    }
}

fn wire(what: &str, lines: &[String]) -> Result<(), NetworkError> {
    for line in lines {
        let wired = ip(line);
        wired.map_err(|source| NetworkError::Ip { what: what.to_owned(), source })?;
    }
    Ok(())
}

/// Ends what still runs in a namespace of ours: with it, the namespace would stay.
fn end_processes(namespace: &str) {
    let Ok(pids) = ip(&format!("netns pids {namespace}")) else { return };
    let own = std::process::id().to_string();
    for pid in pids.split_whitespace().filter(|pid| *pid != own) {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            // An error says that it has ended by itself meanwhile.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
    }
}

/// An address added later, for example a VIP, is usable at once and not a second later.
fn silence_duplicate_detection(host: &Host) -> Result<(), NetworkError> {
    let set = within(host.namespace(), || {
        for scope in ["all", "default"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        Ok(())
    });
    let what = || host.name().to_owned();
    set.map_err(|source| NetworkError::Enter { what: what(), source })?
        .map_err(|source| NetworkError::Kernel { what: what(), source })
}

fn is_host_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // `br` and `br0` are the bridge's own.
    (1..=INTERFACE_NAME).contains(&name.len()) && name.bytes().all(fits) && !name.starts_with("br")
}

/// The longest name of a network interface, without the closing zero (IFNAMSIZ - 1).
const INTERFACE_NAME: usize = 15;

const FIRST_FREE: u8 = 21;
const FIRST_VIP: u8 = 100;
