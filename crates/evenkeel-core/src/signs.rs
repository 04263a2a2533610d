//! What the traffic of a backend tells of it, without a probe: that it was heard, and that it was
//! asked and says nothing.
//!
//! Written by data threads, read by the backend's prober. A sign is a hint and a second witness,
//! never a verdict: it makes the prober look, and lets what that sees count sooner.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What is known of a backend from its traffic. All times are those of the data threads' turns.
#[derive(Default)]
pub struct Signs {
    /// The first time that anyone said anything; what is stored are microseconds since then.
    epoch: OnceLock<Instant>,
    heard: Mark,
    silent: Mark,
    unacknowledged: Mark,
    /// Asks its prober to look now.
    look: Notify,
}

/// A moment, or none: 0.
#[derive(Default)]
struct Mark(AtomicU64);

impl Mark {
    fn load(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn store(&self, mark: u64) {
        self.0.store(mark, Ordering::Release);
    }
}

/// What a prober reads: [`Signs`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// When a byte last came from it; up to [`Signs::GRAIN`] more recent than that.
    pub heard_at: Option<Instant>,
    /// Since when it owes an answer on at least one connection and is silent on all of them.
    pub silent_since: Option<Instant>,
    /// Since when its kernel has acknowledged nothing of what it was sent.
    pub unacknowledged_since: Option<Instant>,
}

impl Testimony {
    /// Whether a byte came from it at `moment` or later.
    pub fn heard_since(&self, moment: Instant) -> bool {
        self.heard_at.is_some_and(|heard| heard >= moment)
    }
}

impl Signs {
    /// How exactly [`Testimony::heard_at`] is kept: often enough for verdicts that take a tenth of
    /// a second, and seldom enough that data threads do not fight over a cache line.
    pub const GRAIN: Duration = Duration::from_millis(10);

    /// A byte came from it.
    pub fn heard(&self, now: Instant) {
        let (mark, last) = (self.mark(now), self.heard.load());
        let is_news = last == 0 || mark.saturating_sub(last) >= micros(Self::GRAIN);
        if is_news || self.silent.load() > 0 {
            self.heard.store(mark);
            self.silent.store(0);
            self.unacknowledged.store(0);
        }
    }

    /// It owes an answer since `since` and has been silent on every connection of the thread that
    /// says so. False if another thread has heard it later: then it is not.
    pub fn silent(&self, since: Instant) -> bool {
        let since = self.mark(since);
        if self.heard.load() >= since {
            return false;
        }
        let known = self.silent.load();
        if known == 0 || since < known {
            self.silent.store(since);
        }
        true
    }

    /// Whether its kernel acknowledges what it is sent: not since the given moment, or else it does.
    pub fn unacknowledged(&self, since: Option<Instant>) {
        self.unacknowledged.store(since.map_or(0, |since| self.mark(since)));
    }

    /// Nothing is owed any more: who asked has gone.
    pub fn settled(&self) {
        self.silent.store(0);
        self.unacknowledged.store(0);
    }

    /// Has its prober look without waiting for the interval. Never blocks. If it looks just now, it
    /// looks again, however often it is asked meanwhile.
    pub fn look(&self) {
        self.look.notify_one();
    }

    /// Waits until somebody asks.
    ///
    /// # Cancel safety
    /// May be dropped and called again: nothing that was asked is lost.
    pub async fn asked_to_look(&self) {
        self.look.notified().await;
    }

    /// Forgets that somebody asked.
    pub fn looked(&self) {
        std::pin::pin!(self.look.notified()).enable();
    }

    /// All of it now.
    pub fn testimony(&self) -> Testimony {
        Testimony {
            heard_at: self.instant(self.heard.load()),
            silent_since: self.instant(self.silent.load()),
            unacknowledged_since: self.instant(self.unacknowledged.load()),
        }
    }

    /// Microseconds since the first moment that was ever marked, from 1 on.
    pub(crate) fn mark(&self, moment: Instant) -> u64 {
        let epoch = *self.epoch.get_or_init(|| moment);
        // From 1 on: 0 is none.
        micros(moment.saturating_duration_since(epoch)).saturating_add(1)
    }

    fn instant(&self, mark: u64) -> Option<Instant> {
        let epoch = self.epoch.get()?;
        let since = mark.checked_sub(1)?;
        epoch.checked_add(Duration::from_micros(since))
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl fmt::Debug for Signs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.testimony().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: Instant, milliseconds: u64) -> Instant {
        start + Duration::from_millis(milliseconds)
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(Signs::default().testimony(), Testimony::default());
    }

    #[test]
    fn a_byte_ends_the_silence_at_once() {
        let (signs, start) = (Signs::default(), Instant::now());
        signs.heard(start);
        assert!(signs.silent(at(start, 20)));
        signs.unacknowledged(Some(at(start, 20)));
        assert_eq!(signs.testimony().silent_since, Some(at(start, 20)));
        assert_eq!(signs.testimony().unacknowledged_since, Some(at(start, 20)));
        signs.heard(at(start, 21));
        let testimony = signs.testimony();
        assert_eq!((testimony.silent_since, testimony.unacknowledged_since), (None, None));
        assert!(testimony.heard_since(at(start, 21)));
        assert!(!testimony.heard_since(at(start, 22)));
    }

    #[test]
    fn what_one_thread_hears_belies_the_silence_of_another() {
        let (signs, start) = (Signs::default(), Instant::now());
        signs.heard(at(start, 0));
        signs.heard(at(start, 50));
        assert!(!signs.silent(at(start, 40)));
        assert_eq!(signs.testimony().silent_since, None);
        assert!(signs.silent(at(start, 51)));
        // The earlier of two is when it began.
        assert!(signs.silent(at(start, 60)));
        assert_eq!(signs.testimony().silent_since, Some(at(start, 51)));
    }

    #[test]
    fn what_is_heard_all_the_time_is_written_seldom() {
        let (signs, start) = (Signs::default(), Instant::now());
        signs.heard(start);
        signs.heard(at(start, 9));
        assert_eq!(signs.testimony().heard_at, Some(start));
        signs.heard(at(start, 10));
        assert_eq!(signs.testimony().heard_at, Some(at(start, 10)));
    }
}
