//! Ends the connections of a backend at a bounded pace: thousands of clients that are cut off in the
//! same millisecond come back in the same millisecond, to servers that have just got more to do.
//!
//! The first few are reset at once, and whoever moves a byte meanwhile too: they wait for an answer
//! that will not come. The rest, idle watches, follow one by one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Resets of a thread that are not paced.
pub(crate) const AT_ONCE: usize = 64;

/// Resets a second at first, of all threads together.
pub(crate) const FIRST_PACE: u32 = 1000;

/// How fast the connections of a service may be reset.
#[derive(Debug)]
pub(crate) struct Pace(AtomicU32);

impl Default for Pace {
    fn default() -> Self {
        Self(AtomicU32::new(FIRST_PACE))
    }
}

impl Pace {
    /// So many a second, at least one.
    pub(crate) fn set(&self, resets: u32) {
        self.0.store(resets.max(1), Ordering::Relaxed);
    }

    /// The pause between two on one of so many threads.
    pub(crate) fn pause(&self, threads: usize) -> Duration {
        let threads = u32::try_from(threads).unwrap_or(u32::MAX).max(1);
        Duration::from_secs(1) * threads / self.0.load(Ordering::Relaxed).max(1)
    }
}

/// Connections of a thread that are to be reset, each in its turn.
#[derive(Debug)]
pub(crate) struct Resets<T> {
    queue: VecDeque<T>,
    next_at: Option<Instant>,
}

impl<T> Default for Resets<T> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), next_at: None }
    }
}

impl<T> Resets<T> {
    /// Adds those of one sweep; the first ones are for now.
    pub(crate) fn add(&mut self, ids: impl IntoIterator<Item = T>, now: Instant) -> Vec<T> {
        let mut ids = ids.into_iter();
        let room = AT_ONCE.saturating_sub(self.queue.len());
        let at_once: Vec<T> = ids.by_ref().take(room).collect();
        self.queue.extend(ids);
        if !self.queue.is_empty() && self.next_at.is_none() {
            self.next_at = Some(now);
        }
        at_once
    }

    /// When the next is due.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.next_at
    }

    /// The next, if it is due. The one after it waits for `pause`, longer or shorter by half: `chance`
    /// is from 0 to 1.
    pub(crate) fn pop(&mut self, now: Instant, chance: f64, pause: Duration) -> Option<T> {
        let due = self.next_at.filter(|at| *at <= now)?;
        let id = self.queue.pop_front();
        // From when it was due, so that a late turn catches up, but not by more than a tenth of a
        // second's worth.
        let from = due.max(now.checked_sub(CATCH_UP).unwrap_or(due));
        let next = from + pause.mul_f64(0.5 + chance);
        self.next_at = (!self.queue.is_empty()).then_some(next);
        id
    }
}

/// What a late turn may catch up with.
const CATCH_UP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_are_reset_at_once() {
        let (mut resets, now) = (Resets::default(), Instant::now());
        assert_eq!(resets.add(0..AT_ONCE, now).len(), AT_ONCE);
        assert_eq!(resets.next_at(), None);
    }

    #[test]
    fn many_are_spread_at_the_pace_that_is_set() {
        let (mut resets, start) = (Resets::default(), Instant::now());
        let pace = Pace::default();
        pace.set(500);
        assert_eq!(resets.add(0..AT_ONCE + 1000, start).len(), AT_ONCE);
        let (mut now, mut order) = (start, Vec::new());
        let mut random = fastrand::Rng::with_seed(7);
        while let Some(at) = resets.next_at() {
            assert!(at >= now);
            now = at;
            let id = resets.pop(now, random.f64(), pace.pause(2)).unwrap();
            order.push(id);
        }
        assert_eq!(order, (AT_ONCE..AT_ONCE + 1000).collect::<Vec<_>>());
        // 250 a second on this one of two threads.
        let took = (now - start).as_secs_f64();
        assert!((3.7..4.3).contains(&took), "{took}");
    }

    #[test]
    fn none_comes_before_its_time() {
        let (mut resets, start) = (Resets::default(), Instant::now());
        resets.add(0..AT_ONCE + 2, start);
        let pause = Duration::from_millis(10);
        assert!(resets.pop(start, 0.5, pause).is_some());
        assert!(resets.pop(start, 0.5, pause).is_none());
        assert!(resets.pop(start + Duration::from_millis(10), 0.5, pause).is_some());
        assert_eq!(resets.next_at(), None);
    }
}
