//! What a server counts: the connections and the requests of its clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// The counters of one server.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// A `watch` and not an atomic, so that a test can wait for a number of connections.
    open: watch::Sender<usize>,
    accepted: AtomicU64,
    requests: AtomicU64,
}

impl Counts {
    /// Counts a connection as accepted, and as open until the guard is dropped.
    pub(crate) fn take_open(self: &Arc<Self>) -> OpenConnection {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.open.send_modify(|open| *open += 1);
        OpenConnection(Arc::clone(self))
    }

    pub(crate) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn open(&self) -> watch::Receiver<usize> {
        self.open.subscribe()
    }

    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// Keeps a connection counted as open.
#[derive(Debug)]
pub(crate) struct OpenConnection(Arc<Counts>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.open.send_modify(|open| *open = open.saturating_sub(1));
    }
}
