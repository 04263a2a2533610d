//! What remains of a connection: counters, and one line for who debugs.
//!
//! Each thread keeps a book of its own, plain numbers by service and backend, and carries them over
//! to the metrics several times a second. So a byte costs an addition, no lock, no shared cache
//! line and no name; and what is read is a moment old, not as old as the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backend::Backend;
use evenkeel_core::endpoint::Endpoint;
use tokio::time::Instant;

use crate::balancer::Balancer;
use crate::metrics::BackendMetrics;
use crate::silence::{Ear, Kernel, Silent};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Both sides said that they had nothing more to send.
    Finished,
    /// The client reset it, or could not be reached any more.
    ClientReset,
    /// The backend reset it, or could not be reached any more.
    BackendReset,
    /// No byte moved within `relay.idleTimeout`.
    Idle,
    /// We reset it: its backend is treated `reset`.
    Reset,
    /// We ended it, idle as it was, so that its client comes back to a backend with fewer.
    Rebalanced,
    /// We reset it: the address that its client had come to left this host.
    Moved,
    /// We ended it: the process went down.
    Aborted,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Finished,
        Self::ClientReset,
        Self::BackendReset,
        Self::Idle,
        Self::Reset,
        Self::Rebalanced,
        Self::Moved,
        Self::Aborted,
    ];

    /// The word for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::ClientReset => "client_reset",
            Self::BackendReset => "backend_reset",
            Self::Idle => "idle",
            Self::Reset => "reset",
            Self::Rebalanced => "rebalanced",
            Self::Moved => "moved",
            Self::Aborted => "aborted",
        }
    }
}

/// Where a thread notes what its connections do.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: Vec<Page>,
    has_news: bool,
    /// When backends that owe an answer are looked at.
    listen_at: Option<Instant>,
}

#[derive(Debug)]
struct Page {
    balancer: Arc<Balancer>,
    // A pool has 1 to 9 backends: a scan is right.
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    endpoint: Endpoint,
    metrics: Arc<BackendMetrics>,
    sums: Sums,
    ear: Ear,
}

/// What happened since the last time it was carried over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) connections: u64,
    pub(crate) to_backend: u64,
    pub(crate) to_client: u64,
    pub(crate) closed: [u64; Ended::ALL.len()],
}

/// The page of a service in the book of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PageNumber(u16);

/// The entry of a backend on the page of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryNumber(u16);

/// A connection that has ended.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) client: SocketAddr,
    pub(crate) backend: Endpoint,
    pub(crate) duration: Duration,
    pub(crate) to_backend: u64,
    pub(crate) to_client: u64,
    pub(crate) ended: Ended,
}

impl PageNumber {
    pub(crate) fn new(place: usize) -> Self {
        Self(number(place))
    }

    pub(crate) fn place(self) -> usize {
        usize::from(self.0)
    }
}

impl Book {
    /// Adds the page of a service.
    pub(crate) fn add_page(&mut self, balancer: &Arc<Balancer>) {
        self.pages.push(Page { balancer: balancer.clone(), entries: Vec::new() });
    }

    /// The entry of a backend, a new one if it has none.
    pub(crate) fn entry_of(&mut self, page: PageNumber, backend: &Arc<Backend>) -> EntryNumber {
        let Some(Page { balancer, entries }) = self.pages.get_mut(usize::from(page.0)) else {
            return EntryNumber(0);
        };
        let endpoint = backend.endpoint();
        let place = entries.iter().position(|entry| entry.endpoint == endpoint);
        let place = place.unwrap_or_else(|| {
            let metrics = balancer.metrics.backend(endpoint);
            let ear = Ear::new(backend.clone());
            entries.push(Entry { endpoint, metrics, sums: Sums::default(), ear });
            entries.len() - 1
        });
        if let Some(entry) = entries.get_mut(place) {
            entry.ear.is_of(backend);
        }
        EntryNumber(number(place))
    }

    /// Notes that a connection has settled for a backend, which was sent `said` bytes before.
    pub(crate) fn settled(&mut self, page: PageNumber, entry: EntryNumber, said: u64) {
        self.has_news = true;
        if let Some((_, entry)) = self.entry(page, entry) {
            entry.sums.connections += 1;
            entry.sums.to_backend += said;
        }
    }

    /// Notes bytes that were relayed.
    pub(crate) fn moved(
        &mut self,
        page: PageNumber,
        entry: EntryNumber,
        to_backend: u64,
        to_client: u64,
    ) {
        self.has_news = true;
        if let Some((_, entry)) = self.entry(page, entry) {
            entry.sums.to_backend += to_backend;
            entry.sums.to_client += to_client;
        }
    }

    /// Notes that a byte came from a backend.
    pub(crate) fn heard(&mut self, page: PageNumber, entry: EntryNumber, now: Instant) {
        if let Some((_, entry)) = self.entry(page, entry) {
            entry.ear.heard(now);
        }
    }

    /// Notes that a backend was sent something, and may owe an answer.
    pub(crate) fn asked(&mut self, page: PageNumber, entry: EntryNumber, now: Instant) {
        let due = self.entry(page, entry).and_then(|(_, entry)| entry.ear.asked(now));
        self.listen_at = [self.listen_at, due].into_iter().flatten().min();
    }

    /// When [`listen`](Self::listen) is due.
    pub(crate) fn listen_at(&self) -> Option<Instant> {
        self.listen_at
    }

    /// Looks at the backends that owe an answer, and asks about those that have been silent for too
    /// long whether their kernel acknowledges anything.
    pub(crate) fn listen(
        &mut self,
        now: Instant,
        acknowledges: impl Fn(PageNumber, Silent<'_>) -> Kernel,
    ) {
        let Some(due) = self.listen_at.take_if(|due| *due <= now) else { return };
        let late = now.saturating_duration_since(due);
        let mut next: Option<Instant> = None;
        for (page, Page { entries, .. }) in self.pages.iter_mut().enumerate() {
            for entry in entries {
                let page = PageNumber::new(page);
                let again = entry.ear.listen(now, late, |silent| acknowledges(page, silent));
                next = [next, again].into_iter().flatten().min();
            }
        }
        self.listen_at = next;
    }

    /// Notes the end of a connection, and tells who debugs.
    pub(crate) fn ended(&mut self, page: PageNumber, entry: EntryNumber, record: &Record) {
        self.has_news = true;
        let Some((balancer, entry)) = self.entry(page, entry) else { return };
        for (counted, sum) in Ended::ALL.iter().zip(&mut entry.sums.closed) {
            *sum += u64::from(*counted == record.ended);
        }
        balancer.metrics.ended(record.duration);
        tracing::debug!(
            service = %balancer.name,
            client = %record.client,
            backend = %record.backend,
            duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
            to_backend = record.to_backend,
            to_client = record.to_client,
            cause = record.ended.as_str(),
            "connection ended"
        );
    }

    fn entry(
        &mut self,
        page: PageNumber,
        entry: EntryNumber,
    ) -> Option<(&Arc<Balancer>, &mut Entry)> {
        let Page { balancer, entries } = self.pages.get_mut(usize::from(page.0))?;
        Some((balancer, entries.get_mut(usize::from(entry.0))?))
    }

    /// Whether there is anything to carry over.
    pub(crate) fn has_news(&self) -> bool {
        self.has_news
    }

    /// Carries everything over to the metrics.
    pub(crate) fn carry_over(&mut self) {
        self.has_news = false;
        for Page { balancer, .. } in &self.pages {
            balancer.metrics.rates_forgotten(balancer.admission.rates_forgotten());
        }
        for entry in self.pages.iter_mut().flat_map(|page| &mut page.entries) {
            let sums = std::mem::take(&mut entry.sums);
            if sums != Sums::default() {
                entry.metrics.add(&sums);
            }
        }
    }
}

/// A service has a page and a backend an entry, of which there are few.
fn number(place: usize) -> u16 {
    u16::try_from(place).unwrap_or(u16::MAX)
}
