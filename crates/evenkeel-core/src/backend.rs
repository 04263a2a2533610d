//! An endpoint with our live state: how many connections it has, and the way to reset them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::endpoint::Endpoint;

/// A live endpoint. Lives as long as its pool or any of its connections holds it.
pub struct Backend {
    endpoint: Endpoint,
    active: AtomicUsize,
    /// Cancelled while the backend is treated `reset`; a new token takes its place afterwards.
    reset: ArcSwap<CancellationToken>,
}

impl Backend {
    /// A backend without connections.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            active: AtomicUsize::new(0),
            reset: ArcSwap::from_pointee(CancellationToken::new()),
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Open connections, those being opened included.
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a connection until the slot is dropped. A slot taken while the backend is treated
    /// `reset` is born cancelled, so that a pick that raced with the change is undone.
    pub fn take_slot(self: &Arc<Self>) -> Slot {
        self.active.fetch_add(1, Ordering::Relaxed);
        Slot { reset: CancellationToken::clone(&self.reset.load()), backend: self.clone() }
    }

    /// Resets every open connection, and every one that is opened until [`allow`](Self::allow).
    pub(crate) fn reset(&self) {
        self.reset.load().cancel();
    }

    /// Lets connections be opened again.
    pub(crate) fn allow(&self) {
        if self.reset.load().is_cancelled() {
            self.reset.store(Arc::new(CancellationToken::new()));
        }
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Backend({}, {} active)", self.endpoint, self.active())
    }
}

/// One open connection of a backend.
#[derive(Debug)]
pub struct Slot {
    backend: Arc<Backend>,
    reset: CancellationToken,
}

impl Slot {
    /// The backend it belongs to.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Cancelled when the connection must be reset.
    pub fn reset(&self) -> &CancellationToken {
        &self.reset
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.backend.active.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Arc<Backend> {
        Arc::new(Backend::new("10.0.0.11:6443".parse().unwrap()))
    }

    #[test]
    fn a_slot_counts_until_it_is_dropped() {
        let backend = backend();
        let slots = [backend.take_slot(), backend.take_slot()];
        assert_eq!(backend.active(), 2);
        drop(slots);
        assert_eq!(backend.active(), 0);
    }

    #[test]
    fn a_slot_taken_too_late_is_born_cancelled() {
        let backend = backend();
        let early = backend.take_slot();
        backend.reset();
        let late = backend.take_slot();
        assert!(early.reset().is_cancelled() && late.reset().is_cancelled());
        backend.allow();
        assert!(!backend.take_slot().reset().is_cancelled());
        assert!(early.reset().is_cancelled());
    }
}
