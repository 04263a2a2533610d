//! Which hosts have the address, watched on each of them.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_testbed::Host;
use nix::ifaddrs::getifaddrs;
use tokio::time::Instant;

use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::pause::{go_first, sleep};

/// A host had the address, or had it no more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Change {
    /// When it was seen, at most [`LOOK`] after it came to be.
    pub(crate) at: Instant,
    /// The place of the host.
    pub(crate) host: usize,
    /// Whether it has the address now.
    pub(crate) has: bool,
}

/// A thread on each host that looks each [`LOOK`].
#[derive(Debug)]
pub(crate) struct Watcher {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Vec<Change>>>,
}

#[derive(Debug)]
struct Shared {
    stop: AtomicBool,
    has: Vec<AtomicBool>,
}

impl Watcher {
    /// Watches some hosts, each by its place.
    pub(crate) fn start(hosts: &[Host], vip: IpAddr) -> Result<Self, Failed> {
        let has = hosts.iter().map(|_host| AtomicBool::new(false)).collect();
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), has });
        let mut watcher = Self { shared: Arc::clone(&shared), threads: Vec::new() };
        for (place, host) in hosts.iter().enumerate() {
            let shared = Arc::clone(&shared);
            let thread = host.enter(move || watch(&shared, place, vip));
            watcher.threads.push(thread.doing(|| "watch a host")?);
        }
        Ok(watcher)
    }

    /// The places of those that have it now.
    pub(crate) fn owners(&self) -> Vec<usize> {
        let has = self.shared.has.iter().enumerate();
        has.filter(|(_place, has)| has.load(Ordering::Relaxed)).map(|(place, _has)| place).collect()
    }

    /// All changes, in their order.
    pub(crate) fn stop(mut self) -> Vec<Change> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let ended = std::mem::take(&mut self.threads).into_iter().map(JoinHandle::join);
        let mut changes: Vec<Change> = ended.flat_map(Result::unwrap_or_default).collect();
        changes.sort_by_key(|change| change.at);
        changes
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn watch(shared: &Shared, place: usize, vip: IpAddr) -> Vec<Change> {
    go_first();
    let mut changes = Vec::new();
    let Some(now) = shared.has.get(place) else { return changes };
    while !shared.stop.load(Ordering::Relaxed) {
        // Unknown is as it was.
        let has = has(vip).unwrap_or_else(|| now.load(Ordering::Relaxed));
        if now.swap(has, Ordering::Relaxed) != has {
            changes.push(Change { at: Instant::now(), host: place, has });
        }
        sleep(LOOK);
    }
    changes
}

/// Whether the host of this thread has an address.
fn has(vip: IpAddr) -> Option<bool> {
    let mut all = getifaddrs().ok()?.filter_map(|interface| interface.address);
    Some(all.any(|address| match vip {
        IpAddr::V4(vip) => address.as_sockaddr_in().is_some_and(|own| own.ip() == vip),
        IpAddr::V6(vip) => address.as_sockaddr_in6().is_some_and(|own| own.ip() == vip),
    }))
}

/// How often to look.
pub(crate) const LOOK: Duration = Duration::from_millis(5);
