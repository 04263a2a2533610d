//! An endpoint with our live state: how many connections it has, and the way to reset them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use crate::endpoint::Endpoint;

/// A live endpoint. Lives as long as its pool or any of its connections holds it.
pub struct Backend {
    endpoint: Endpoint,
    active: AtomicUsize,
    /// Odd while the backend is treated `reset`, and another number each time, so that a slot knows
    /// for how long it is good without waiting for anything.
    era: AtomicU32,
}

impl Backend {
    /// A backend without connections.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, active: AtomicUsize::new(0), era: AtomicU32::new(0) }
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
    /// `reset` is born reset, so that a pick that raced with the change is undone.
    pub fn take_slot(self: &Arc<Self>) -> Slot {
        self.active.fetch_add(1, Ordering::Relaxed);
        Slot { era: self.era.load(Ordering::Acquire), backend: self.clone() }
    }

    /// Resets every open connection, and every one that is opened until [`allow`](Self::allow).
    pub(crate) fn reset(&self) {
        // One writer, the pool's: a load and a store do.
        let era = self.era.load(Ordering::Relaxed);
        if !is_reset(era) {
            self.era.store(era.wrapping_add(1), Ordering::Release);
        }
    }

    /// Lets connections be opened again.
    pub(crate) fn allow(&self) {
        let era = self.era.load(Ordering::Relaxed);
        if is_reset(era) {
            self.era.store(era.wrapping_add(1), Ordering::Release);
        }
    }
}

fn is_reset(era: u32) -> bool {
    era % 2 == 1
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
    era: u32,
}

impl Slot {
    /// The backend it belongs to.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// Whether the connection must be reset: once true, it stays so. Whoever holds slots looks when
    /// [`Pool::changed`](crate::pool::Pool::changed) tells.
    pub fn is_reset(&self) -> bool {
        is_reset(self.era) || self.backend.era.load(Ordering::Acquire) != self.era
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
    fn a_slot_taken_too_late_is_born_reset() {
        let backend = backend();
        let early = backend.take_slot();
        backend.reset();
        let late = backend.take_slot();
        assert!(early.is_reset() && late.is_reset());
        backend.allow();
        assert!(!backend.take_slot().is_reset());
        assert!(early.is_reset() && late.is_reset());
    }
}
