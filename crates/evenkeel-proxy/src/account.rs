//! What remains of a connection: counters, and one line for who debugs.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::endpoint::Endpoint;

use crate::metrics::ServiceMetrics;
use crate::relay::Relayed;

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
    /// We ended it: the process went down.
    Aborted,
}

impl Ended {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Finished,
        Self::ClientReset,
        Self::BackendReset,
        Self::Idle,
        Self::Reset,
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
            Self::Aborted => "aborted",
        }
    }
}

/// A connection that has ended.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) service: &'a str,
    pub(crate) client: SocketAddr,
    pub(crate) backend: Endpoint,
    pub(crate) duration: Duration,
    pub(crate) relayed: Relayed,
}

/// Counts it, and tells who debugs.
pub(crate) fn account(metrics: &ServiceMetrics, record: &Record<'_>) {
    let Relayed { to_backend, to_client, ended } = record.relayed;
    metrics.ended(record.duration);
    metrics.backend(record.backend).ended(ended, to_backend, to_client);
    tracing::debug!(
        service = record.service,
        client = %record.client,
        backend = %record.backend,
        duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
        to_backend,
        to_client,
        cause = ended.as_str(),
        "connection ended"
    );
}
