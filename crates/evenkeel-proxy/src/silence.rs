//! Whether a backend that was asked is heard: what a data thread tells the backend's prober.
//!
//! Each thread keeps an ear of its own for each backend, and tells [`Signs`] what others should know
//! too. So a byte costs a comparison, and a shared cache line is written some hundred times a second
//! at most.
//!
//! [`Signs`]: evenkeel_core::signs::Signs

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backend::Backend;
use evenkeel_core::signs::Signs;
use tokio::time::Instant;

/// A backend that owes an answer and has been silent for so long on all connections of the thread is
/// looked at. Most requests take less; and a look costs it one handshake.
pub const OWED: Duration = Duration::from_millis(100);

/// How often a silent backend is looked at again at first.
const AGAIN: Duration = Duration::from_millis(50);

/// The longest such pause: what is sent to a backend need not be answered, so it may owe nothing.
const SELDOM: Duration = Duration::from_secs(10);

/// Later than this the thread was held up, and what it did not hear proves nothing.
const HELD_UP: Duration = Duration::from_millis(50);

/// What one thread hears of one backend.
#[derive(Debug)]
pub(crate) struct Ear {
    backend: Arc<Backend>,
    /// When what was heard was last told.
    told_at: Option<Instant>,
    /// Since when it owes an answer.
    owes_since: Option<Instant>,
    /// Its silence was told.
    is_silent: bool,
    /// The pause after which its prober is asked again.
    pause: Duration,
    ask_at: Instant,
}

/// A backend that is silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Silent<'a> {
    pub(crate) backend: &'a Arc<Backend>,
    pub(crate) since: Instant,
}

/// What the kernel of a backend says of what it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// Nobody who asked is left.
    NotAsked,
    /// It acknowledges.
    Acknowledges,
    /// It has acknowledged nothing since then.
    Silent(Instant),
}

impl Ear {
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        let now = Instant::now();
        Self {
            backend,
            told_at: None,
            owes_since: None,
            is_silent: false,
            pause: OWED,
            ask_at: now,
        }
    }

    /// Sees to it that it hears this one: an endpoint that has left and is back is another backend.
    pub(crate) fn is_of(&mut self, backend: &Arc<Backend>) {
        if !Arc::ptr_eq(&self.backend, backend) {
            *self = Self::new(backend.clone());
        }
    }

    /// A byte has come.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.owes_since = None;
        let told = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < Signs::GRAIN);
        if self.is_silent || !told {
            self.is_silent = false;
            self.told_at = Some(now);
            self.backend.signs().heard(now);
        }
    }

    /// Something was sent. When to listen, if it was not owed an answer before.
    pub(crate) fn asked(&mut self, now: Instant) -> Option<Instant> {
        if self.owes_since.is_some() {
            return None;
        }
        self.owes_since = Some(now);
        self.pause = OWED;
        self.ask_at = now + OWED;
        Some(now + OWED)
    }

    /// Tells of its silence, if it is silent. When to listen again, if it owes an answer.
    pub(crate) fn listen(
        &mut self,
        now: Instant,
        late: Duration,
        acknowledges: impl FnOnce(Silent<'_>) -> Kernel,
    ) -> Option<Instant> {
        let since = self.owes_since?;
        if late > HELD_UP {
            // What has come meanwhile is not read yet.
            self.owes_since = Some(now);
            return Some(now + OWED);
        }
        if now < since + OWED {
            return Some(since + OWED);
        }
        if !self.backend.signs().silent(since) {
            // Another thread has heard it since: whoever is still owed an answer asks anew.
            self.owes_since = Some(now);
            self.is_silent = false;
            return Some(now + OWED);
        }
        self.is_silent = true;
        match acknowledges(Silent { backend: &self.backend, since }) {
            Kernel::NotAsked => {
                self.owes_since = None;
                self.is_silent = false;
                self.backend.signs().settled();
                return None;
            }
            Kernel::Acknowledges => self.backend.signs().unacknowledged(None),
            Kernel::Silent(since) => self.backend.signs().unacknowledged(Some(since)),
        }
        if now >= self.ask_at {
            self.backend.signs().look();
            self.pause = (self.pause * 2).min(SELDOM);
            self.ask_at = now + self.pause;
        }
        Some(now + AGAIN.max((now - since) / 8).min(SELDOM))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIVE: fn(Silent<'_>) -> Kernel = |_| Kernel::Acknowledges;

    fn ear() -> (Ear, Arc<Backend>, Instant) {
        let backend = Arc::new(Backend::new("10.0.0.1:6443".parse().unwrap()));
        (Ear::new(backend.clone()), backend, Instant::now())
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn who_answers_in_time_is_not_talked_about() {
        let (mut ear, backend, start) = ear();
        assert_eq!(ear.asked(start), Some(start + OWED));
        assert_eq!(ear.asked(start + ms(5)), None);
        ear.heard(start + ms(20));
        assert_eq!(ear.listen(start + OWED, Duration::ZERO, ALIVE), None);
        assert_eq!(backend.signs().testimony().silent_since, None);
    }

    #[test]
    fn silence_is_told_until_a_byte_comes() {
        let (mut ear, backend, start) = ear();
        ear.asked(start);
        let unacknowledged = |silent: Silent<'_>| Kernel::Silent(silent.since);
        let again = ear.listen(start + OWED, Duration::ZERO, unacknowledged);
        assert_eq!(again, Some(start + OWED + AGAIN));
        let testimony = backend.signs().testimony();
        assert_eq!(testimony.silent_since, Some(start));
        assert_eq!(testimony.unacknowledged_since, Some(start));
        ear.heard(start + ms(120));
        let testimony = backend.signs().testimony();
        assert_eq!((testimony.silent_since, testimony.unacknowledged_since), (None, None));
        assert_eq!(testimony.heard_at, Some(start + ms(120)));
    }

    #[test]
    fn what_another_thread_has_heard_counts() {
        let (mut ear, backend, start) = ear();
        ear.asked(start);
        backend.signs().heard(start + ms(60));
        let again = ear.listen(start + OWED, Duration::ZERO, ALIVE);
        assert_eq!(again, Some(start + OWED + OWED));
        assert_eq!(backend.signs().testimony().silent_since, None);
    }

    #[test]
    fn a_thread_that_was_held_up_accuses_nobody() {
        let (mut ear, backend, start) = ear();
        ear.asked(start);
        let again = ear.listen(start + ms(900), ms(800), ALIVE);
        assert_eq!(again, Some(start + ms(900) + OWED));
        assert_eq!(backend.signs().testimony().silent_since, None);
    }

    #[test]
    fn who_asked_and_has_gone_is_owed_nothing() {
        let (mut ear, backend, start) = ear();
        ear.asked(start);
        ear.listen(start + OWED, Duration::ZERO, ALIVE);
        assert!(backend.signs().testimony().silent_since.is_some());
        let gone = |_: Silent<'_>| Kernel::NotAsked;
        assert_eq!(ear.listen(start + OWED + AGAIN, Duration::ZERO, gone), None);
        assert_eq!(backend.signs().testimony().silent_since, None);
    }
}
