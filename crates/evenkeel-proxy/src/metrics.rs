//! The handles of the data plane, made once: the hot path looks nothing up by name.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use evenkeel_core::endpoint::Endpoint;
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge,
    histogram,
};

use crate::account::{Ended, Sums};
use crate::admission::Refused;
use crate::connect::AttemptError;

/// Gives every metric of this crate its help text.
pub fn describe() {
    describe_counter!(
        "evenkeel_connections_total",
        "Connections that a backend was settled for: it spoke, or only it will do"
    );
    describe_counter!(
        "evenkeel_connections_closed_total",
        "Connections that have ended, by what ended them"
    );
    describe_counter!(
        "evenkeel_connections_rejected_total",
        "Clients that were reset before a backend was connected, by reason"
    );
    describe_gauge!(
        "evenkeel_connections_limit",
        "Connections of a service that may be open at once: listen.maxConnections"
    );
    describe_counter!(
        "evenkeel_client_rates_forgotten_total",
        "Times a client's rate was forgotten too early for want of room, so that the client may have come faster than listen.acceptRatePerClient"
    );
    describe_counter!(
        "evenkeel_connect_failures_total",
        "Attempts to connect a backend that failed"
    );
    describe_counter!(
        "evenkeel_connect_replays_total",
        "Times a backend failed before its first byte, so that the client's first bytes went to another"
    );
    describe_counter!(
        "evenkeel_received_bytes_total",
        Unit::Bytes,
        "Bytes relayed from clients to the backend"
    );
    describe_counter!(
        "evenkeel_sent_bytes_total",
        Unit::Bytes,
        "Bytes relayed from the backend to clients"
    );
    describe_counter!(
        "evenkeel_accept_errors_total",
        "Failures to accept a client, by what the kernel said"
    );
    describe_histogram!(
        "evenkeel_connection_duration_seconds",
        Unit::Seconds,
        "How long connections lived"
    );
    describe_histogram!(
        "evenkeel_connect_duration_seconds",
        Unit::Seconds,
        "How long a backend took to accept"
    );
    describe_gauge!(
        "evenkeel_splice_pipes",
        "Pipes that bulk is moved through, or that are kept for it"
    );
    describe_counter!(
        "evenkeel_splice_fallbacks_total",
        "Times bulk was copied for want of a pipe, by what was in the way"
    );
}

/// Why a client got no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    NoBackend,
    Limit,
    ClientLimit,
    ClientRate,
    AllFailed,
    Timeout,
    NoDescriptors,
    Idle,
    ClientGone,
    Moved,
    Aborted,
}

impl Rejected {
    const ALL: [Self; 11] = [
        Self::NoBackend,
        Self::Limit,
        Self::ClientLimit,
        Self::ClientRate,
        Self::AllFailed,
        Self::Timeout,
        Self::NoDescriptors,
        Self::Idle,
        Self::ClientGone,
        Self::Moved,
        Self::Aborted,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::Limit => "limit",
            Self::ClientLimit => "client_limit",
            Self::ClientRate => "client_rate",
            Self::AllFailed => "all_failed",
            Self::Timeout => "timeout",
            Self::NoDescriptors => "no_descriptors",
            Self::Idle => "idle",
            Self::ClientGone => "client_gone",
            Self::Moved => "moved",
            Self::Aborted => "aborted",
        }
    }
}

impl From<Refused> for Rejected {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Limit => Self::Limit,
            Refused::ClientLimit => Self::ClientLimit,
            Refused::ClientRate => Self::ClientRate,
        }
    }
}

/// The handles of one service.
#[derive(Debug)]
pub(crate) struct ServiceMetrics {
    service: String,
    accepted: AtomicU64,
    connection_duration: Histogram,
    connect_duration: Histogram,
    rejected: [Counter; Rejected::ALL.len()],
    rates_forgotten: Counter,
    // A pool has 1 to 9 backends and gains one a day: read by a scan, extended by a swap.
    backends: ArcSwap<Vec<Arc<BackendMetrics>>>,
}

impl ServiceMetrics {
    pub(crate) fn new(service: &str, limit: u32) -> Self {
        let label = || [("service", service.to_owned())];
        gauge!("evenkeel_connections_limit", &label()).set(f64::from(limit));
        Self {
            service: service.to_owned(),
            accepted: AtomicU64::new(0),
            connection_duration: histogram!("evenkeel_connection_duration_seconds", &label()),
            connect_duration: histogram!("evenkeel_connect_duration_seconds", &label()),
            // Made once: a herd that is turned away must not cost a look-up each.
            rejected: Rejected::ALL.map(|reason| {
                let labels =
                    [("service", service.to_owned()), ("reason", reason.as_str().to_owned())];
                counter!("evenkeel_connections_rejected_total", &labels)
            }),
            rates_forgotten: counter!("evenkeel_client_rates_forgotten_total", &label()),
            backends: ArcSwap::default(),
        }
    }

    pub(crate) fn accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn accepted_so_far(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    pub(crate) fn connected(&self, took: Duration) {
        self.connect_duration.record(took);
    }

    pub(crate) fn ended(&self, duration: Duration) {
        self.connection_duration.record(duration);
    }

    pub(crate) fn rates_forgotten(&self, so_far: u64) {
        self.rates_forgotten.absolute(so_far);
    }

    pub(crate) fn rejected(&self, reason: Rejected) {
        for (counted, counter) in Rejected::ALL.iter().zip(&self.rejected) {
            if *counted == reason {
                counter.increment(1);
            }
        }
    }

    // Looked up by name, since it is off the hot path.
    pub(crate) fn accept_failed(&self, reason: &'static str) {
        let service = self.service.clone();
        counter!("evenkeel_accept_errors_total", "service" => service, "reason" => reason)
            .increment(1);
    }

    pub(crate) fn backend(&self, endpoint: Endpoint) -> Arc<BackendMetrics> {
        let find =
            |known: &[Arc<BackendMetrics>]| known.iter().find(|b| b.endpoint == endpoint).cloned();
        if let Some(known) = find(&self.backends.load()) {
            return known;
        }
        let made = Arc::new(BackendMetrics::new(&self.service, endpoint));
        self.backends.rcu(|known| {
            let mut known = Vec::clone(known);
            if find(&known).is_none() {
                known.push(made.clone());
            }
            known
        });
        find(&self.backends.load()).unwrap_or(made)
    }
}

/// The handles of one backend.
#[derive(Debug)]
pub(crate) struct BackendMetrics {
    endpoint: Endpoint,
    labels: [(&'static str, String); 2],
    connections: Counter,
    received: Counter,
    sent: Counter,
    closed: [Counter; Ended::ALL.len()],
}

impl BackendMetrics {
    fn new(service: &str, endpoint: Endpoint) -> Self {
        let labels = [("service", service.to_owned()), ("backend", endpoint.to_string())];
        let closed = Ended::ALL.map(|ended| {
            let [service, backend] = labels.clone();
            counter!(
                "evenkeel_connections_closed_total",
                &[service, backend, ("cause", ended.as_str().to_owned())]
            )
        });
        Self {
            endpoint,
            connections: counter!("evenkeel_connections_total", &labels),
            received: counter!("evenkeel_received_bytes_total", &labels),
            sent: counter!("evenkeel_sent_bytes_total", &labels),
            closed,
            labels,
        }
    }

    pub(crate) fn add(&self, sums: &Sums) {
        self.connections.increment(sums.connections);
        self.received.increment(sums.to_backend);
        self.sent.increment(sums.to_client);
        for (sum, counter) in sums.closed.iter().zip(&self.closed) {
            if *sum > 0 {
                counter.increment(*sum);
            }
        }
    }

    // As below.
    pub(crate) fn lost_before_first_byte(&self) {
        counter!("evenkeel_connect_replays_total", &self.labels).increment(1);
    }

    // Looked up by name, since a failed attempt is off the hot path.
    pub(crate) fn connect_failed(&self, error: &AttemptError) {
        let [service, backend] = self.labels.clone();
        counter!(
            "evenkeel_connect_failures_total",
            &[service, backend, ("reason", error.reason().to_owned())]
        )
        .increment(1);
    }
}
