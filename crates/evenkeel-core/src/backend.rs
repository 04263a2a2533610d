//! An endpoint with our live state: how many connections it has, and the way to reset them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::signs::Signs;

/// The share of a backend that takes as many connections as any other.
pub const FULL_SHARE: u32 = 1024;

/// The share with which one begins that has just come back.
const FIRST_SHARE: u32 = FULL_SHARE / 10;

/// A live endpoint. Lives as long as its pool or any of its connections holds it.
pub struct Backend {
    endpoint: Endpoint,
    active: AtomicUsize,
    /// Odd while the backend is treated `reset`, and another number each time, so that a slot knows
    /// for how long it is good without waiting for anything.
    era: AtomicU32,
    signs: Arc<Signs>,
    /// Idle connections that are still to be ended, so that their clients come back elsewhere.
    to_shed: AtomicU32,
    /// Its slow start, by the clock of `signs`: when it began, and how long it takes in
    /// microseconds. 0 is none.
    ramp_began: AtomicU64,
    ramp_takes: AtomicU64,
}

impl Backend {
    /// A backend without connections.
    pub fn new(endpoint: Endpoint) -> Self {
        Self::with_signs(endpoint, Arc::default())
    }

    /// A backend without connections, whose traffic is told of in `signs`.
    pub fn with_signs(endpoint: Endpoint, signs: Arc<Signs>) -> Self {
        Self {
            endpoint,
            active: AtomicUsize::new(0),
            era: AtomicU32::new(0),
            signs,
            to_shed: AtomicU32::new(0),
            ramp_began: AtomicU64::new(0),
            ramp_takes: AtomicU64::new(0),
        }
    }

    /// What its traffic tells of it.
    pub fn signs(&self) -> &Signs {
        &self.signs
    }

    /// How many connections it may have where others have [`FULL_SHARE`]: fewer for a while after
    /// it has come back, since it has cold caches, and all who were cut off come at once.
    pub fn share(&self, now: Instant) -> u32 {
        let began = self.ramp_began.load(Ordering::Relaxed);
        if began == 0 {
            return FULL_SHARE;
        }
        let passed = self.signs.mark(now).saturating_sub(began);
        let takes = self.ramp_takes.load(Ordering::Relaxed);
        if passed >= takes {
            self.ramp_began.store(0, Ordering::Relaxed);
            return FULL_SHARE;
        }
        let share = passed.saturating_mul(u64::from(FULL_SHARE)).checked_div(takes);
        let share = share.and_then(|share| u32::try_from(share).ok()).unwrap_or(FULL_SHARE);
        share.clamp(FIRST_SHARE, FULL_SHARE)
    }

    /// Has so many of its connections ended that are idle, at the next
    /// [`sweep`](crate::pool::PoolWriter::sweep). What was asked for before and not found is forgotten.
    pub fn shed(&self, connections: u32) {
        self.to_shed.store(connections, Ordering::Relaxed);
    }

    /// Whether one more is to be ended: it is counted then.
    pub fn take_shed(&self) -> bool {
        let one_less = |count: u32| count.checked_sub(1);
        self.to_shed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// Has its share grow from a tenth to the full one within so long.
    pub(crate) fn start_slowly(&self, now: Instant, takes: Duration) {
        self.ramp_takes.store(crate::signs::micros(takes), Ordering::Relaxed);
        self.ramp_began.store(self.signs.mark(now), Ordering::Relaxed);
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
    fn no_more_is_shed_than_was_asked_for() {
        let backend = backend();
        assert!(!backend.take_shed());
        backend.shed(2);
        assert!(backend.take_shed() && backend.take_shed() && !backend.take_shed());
    }

    #[test]
    fn who_comes_back_starts_slowly() {
        let (backend, now) = (backend(), Instant::now());
        assert_eq!(backend.share(now), FULL_SHARE);
        backend.start_slowly(now, Duration::from_secs(10));
        let share = |seconds| backend.share(now + Duration::from_secs(seconds));
        assert_eq!(share(0), FULL_SHARE / 10);
        assert_eq!(share(5), FULL_SHARE / 2);
        assert_eq!(share(9), FULL_SHARE / 10 * 9 + 3);
        assert_eq!(share(10), FULL_SHARE);
        assert_eq!(share(0), FULL_SHARE, "it has started");
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
