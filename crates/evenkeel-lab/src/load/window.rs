//! Adds up what clients report, for the whole load and for every window that somebody holds.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

use crate::failure::Failure;
use crate::load::felt::{ClientKind, FailureFelt, Felt, NewFelt, OpenFelt};
use crate::load::latency::Latencies;

/// What a client reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A new connection was answered, after this time.
    Opened(Duration),
    /// A long client of the kind and place heard something.
    Heard(ClientKind, usize),
    /// A long client's open connection failed.
    Lost(ClientKind, Failure),
    /// An attempt failed, or was answered with a wrong status.
    Failed(ClientKind, Failure),
}

/// Where all clients report.
#[derive(Debug)]
pub(super) struct Recorder {
    clients: Clients,
    total: Arc<Mutex<Window>>,
    marked: Mutex<Vec<Weak<Mutex<Window>>>>,
}

/// How many long clients of each kind there are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clients {
    pub(super) kept: usize,
    pub(super) watches: usize,
}

impl Recorder {
    pub(super) fn new(clients: Clients, now: Instant) -> Self {
        let total = Arc::new(Mutex::new(Window::new(clients, now)));
        Self { clients, total, marked: Mutex::default() }
    }

    pub(super) fn record(&self, event: Event) {
        let now = Instant::now();
        lock(&self.total).add(event, now);
        lock(&self.marked).retain(|window| {
            let window = window.upgrade();
            if let Some(window) = &window {
                lock(window).add(event, now);
            }
            window.is_some()
        });
    }

    /// Begins a window that lasts as long as it is held.
    pub(super) fn mark(&self) -> Arc<Mutex<Window>> {
        let window = Arc::new(Mutex::new(Window::new(self.clients, Instant::now())));
        lock(&self.marked).push(Arc::downgrade(&window));
        window
    }

    pub(super) fn felt(&self) -> Felt {
        lock(&self.total).felt(Instant::now())
    }
}

/// The sums of one window.
///
/// Behind a `Mutex`, and not atomics, because its parts are read together: a failure that is
/// counted has its reason in the list.
#[derive(Debug)]
pub(super) struct Window {
    since: Instant,
    latencies: Latencies,
    opened: u64,
    failed: u64,
    kept: Long,
    watch: Long,
    resets: u64,
    failures: VecDeque<FailureFelt>,
}

impl Window {
    fn new(clients: Clients, now: Instant) -> Self {
        Self {
            since: now,
            latencies: Latencies::new(),
            opened: 0,
            failed: 0,
            kept: Long::new(clients.kept, now),
            watch: Long::new(clients.watches, now),
            resets: 0,
            failures: VecDeque::new(),
        }
    }

    fn add(&mut self, event: Event, now: Instant) {
        match event {
            Event::Opened(latency) => {
                self.opened += 1;
                self.latencies.add(latency);
            }
            Event::Heard(client, place) => {
                if let Some(long) = self.long(client) {
                    long.hear(place, now);
                }
            }
            Event::Lost(client, reason) => {
                if let Some(long) = self.long(client) {
                    long.lost += 1;
                }
                self.note(client, reason, now);
            }
            Event::Failed(client, reason) => {
                match self.long(client) {
                    Some(long) => long.failed += 1,
                    None => self.failed += 1,
                }
                self.note(client, reason, now);
            }
        }
    }

    pub(super) fn felt(&self, now: Instant) -> Felt {
        Felt {
            over: now.saturating_duration_since(self.since),
            new: NewFelt {
                opened: self.opened,
                failed: self.failed,
                median: self.latencies.percentile(50),
                p99: self.latencies.percentile(99),
                longest: self.latencies.longest(),
            },
            kept: self.kept.felt(now),
            watch: self.watch.felt(now),
            resets: self.resets,
            failures: self.failures.iter().copied().collect(),
        }
    }

    fn long(&mut self, client: ClientKind) -> Option<&mut Long> {
        match client {
            ClientKind::New => None,
            ClientKind::Kept => Some(&mut self.kept),
            ClientKind::Watch => Some(&mut self.watch),
        }
    }

    fn note(&mut self, client: ClientKind, reason: Failure, now: Instant) {
        if reason == Failure::Reset {
            self.resets += 1;
        }
        if self.failures.len() == FAILURES {
            self.failures.pop_front();
        }
        let at = now.saturating_duration_since(self.since);
        self.failures.push_back(FailureFelt { at, client, reason });
    }
}

/// The sums of the long clients of one kind.
#[derive(Debug)]
struct Long {
    /// When each client last heard something; the beginning of the window before that.
    heard_at: Vec<Instant>,
    heard: u64,
    lost: u64,
    failed: u64,
    longest_gap: Duration,
}

impl Long {
    fn new(clients: usize, now: Instant) -> Self {
        let heard_at = vec![now; clients];
        Self { heard_at, heard: 0, lost: 0, failed: 0, longest_gap: Duration::ZERO }
    }

    fn hear(&mut self, place: usize, now: Instant) {
        self.heard += 1;
        if let Some(at) = self.heard_at.get_mut(place) {
            self.longest_gap = self.longest_gap.max(now.saturating_duration_since(*at));
            *at = now;
        }
    }

    fn felt(&self, now: Instant) -> OpenFelt {
        let open_gaps = self.heard_at.iter().map(|at| now.saturating_duration_since(*at));
        OpenFelt {
            clients: self.heard_at.len(),
            heard: self.heard,
            lost: self.lost,
            failed: self.failed,
            longest_gap: open_gaps.max().unwrap_or_default().max(self.longest_gap),
        }
    }
}

/// Sums stay right after a panic elsewhere.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Failures kept with their reasons.
const FAILURES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: Clients = Clients { kept: 2, watches: 1 };

    #[tokio::test(start_paused = true)]
    async fn a_gap_counts_while_it_lasts_and_for_the_worst_client() {
        let recorder = Recorder::new(CLIENTS, Instant::now());
        tokio::time::advance(Duration::from_millis(100)).await;
        recorder.record(Event::Heard(ClientKind::Kept, 0));
        tokio::time::advance(Duration::from_millis(300)).await;
        assert_eq!(recorder.felt().kept.longest_gap, Duration::from_millis(400));
        recorder.record(Event::Heard(ClientKind::Kept, 1));
        tokio::time::advance(Duration::from_millis(50)).await;
        assert_eq!(recorder.felt().kept.longest_gap, Duration::from_millis(400));
        assert_eq!(recorder.felt().kept.heard, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_knows_only_what_came_after_its_mark() {
        let recorder = Recorder::new(CLIENTS, Instant::now());
        recorder.record(Event::Failed(ClientKind::New, Failure::Refused));
        tokio::time::advance(Duration::from_secs(1)).await;
        let window = recorder.mark();
        tokio::time::advance(Duration::from_millis(5)).await;
        recorder.record(Event::Lost(ClientKind::Watch, Failure::Reset));
        let felt = lock(&window).felt(Instant::now());
        let (at, client) = (Duration::from_millis(5), ClientKind::Watch);
        assert_eq!(felt.failures, [FailureFelt { at, client, reason: Failure::Reset }]);
        assert_eq!((felt.failed(), felt.resets, felt.watch.lost), (1, 1, 1));
        assert_eq!(recorder.felt().failed(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_that_nobody_holds_is_forgotten() {
        let recorder = Recorder::new(CLIENTS, Instant::now());
        drop(recorder.mark());
        recorder.record(Event::Opened(Duration::from_millis(1)));
        assert!(lock(&recorder.marked).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_list_of_failures_is_bounded() {
        let recorder = Recorder::new(CLIENTS, Instant::now());
        for _ in 0..1000 {
            recorder.record(Event::Failed(ClientKind::New, Failure::Silent));
        }
        assert_eq!(recorder.felt().failures.len(), FAILURES);
        assert_eq!(recorder.felt().new.failed, 1000);
    }
}
