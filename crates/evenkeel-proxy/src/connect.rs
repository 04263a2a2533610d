//! Opens the backend side of a connection, before the client has seen anything: where one backend
//! fails the next is tried, each at most once.
//!
//! It cannot be left to probes: kube-apiserver with kubeadm's flags closes its listener a few
//! milliseconds after `/readyz` turns red.

use std::io;
use std::time::Duration;

use evenkeel_core::backend::Slot;
use evenkeel_core::endpoint::Endpoint;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::connection::Balancer;
use crate::socket;

/// The backend side of a connection.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) stream: TcpStream,
    pub(crate) slot: Slot,
}

/// Why no backend was connected for a client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// None is treated `serve`.
    #[error("no backend is served")]
    NoneServed,
    /// All that could be tried were, and failed.
    #[error("all {attempts} backends failed")]
    AllFailed {
        attempts: usize,
        #[source]
        last: AttemptError,
    },
    /// `connect.timeout` ran out before one was connected.
    #[error("no backend was connected within {after:?}")]
    Timeout { after: Duration },
    /// The client went away meanwhile.
    #[error("the client went away")]
    ClientGone,
    /// The process is being aborted.
    #[error("aborted")]
    Aborted,
}

/// Why one attempt failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttemptError {
    /// It did not accept within `connect.attemptTimeout`.
    #[error("{endpoint} did not accept within {after:?}")]
    Timeout { endpoint: Endpoint, after: Duration },
    /// The connect failed.
    #[error("could not connect to {endpoint}")]
    Io { endpoint: Endpoint, source: io::Error },
    /// It was judged dead while we connected.
    #[error("{endpoint} was reset meanwhile")]
    Reset { endpoint: Endpoint },
}

impl AttemptError {
    fn endpoint(&self) -> Endpoint {
        match self {
            Self::Timeout { endpoint, .. }
            | Self::Io { endpoint, .. }
            | Self::Reset { endpoint } => *endpoint,
        }
    }

    /// The word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
                "refused"
            }
            Self::Io { source, .. }
                if matches!(
                    source.kind(),
                    io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable
                ) =>
            {
                "unreachable"
            }
            Self::Io { .. } => "other",
            Self::Reset { .. } => "reset",
        }
    }
}

/// Connects one of the pool's backends, but none of `tried`: by the policy among those treated
/// `serve`, and where all of these fail, among those held in reserve. Adds those that failed to
/// `tried`.
pub(crate) async fn connect(
    balancer: &Balancer,
    tried: &mut Vec<Endpoint>,
) -> Result<Connected, ConnectError> {
    let limit = balancer.config.connect.timeout.duration();
    let until = Instant::now() + limit;
    let mut last = None;
    loop {
        let Some(slot) = pick(balancer, tried) else {
            return Err(last.map_or(ConnectError::NoneServed, |last| ConnectError::AllFailed {
                attempts: tried.len(),
                last,
            }));
        };
        match connect_one(balancer, &slot, until).await {
            Ok(stream) => return Ok(Connected { stream, slot }),
            Err(error) => {
                if balancer.shutdown.abort.is_cancelled() {
                    return Err(ConnectError::Aborted);
                }
                let endpoint = error.endpoint();
                balancer.metrics.backend(endpoint).connect_failed(&error);
                tracing::debug!(
                    service = %balancer.name,
                    backend = %endpoint,
                    error = &error as &dyn std::error::Error,
                    "backend not connected"
                );
                balancer.suspect(endpoint);
                tried.push(endpoint);
                if Instant::now() >= until {
                    return Err(ConnectError::Timeout { after: limit });
                }
                last = Some(error);
            }
        }
    }
}

/// Picks a backend and counts the connection. No await: the snapshot is let go before the attempt.
fn pick(balancer: &Balancer, tried: &[Endpoint]) -> Option<Slot> {
    let snapshot = balancer.pool.snapshot();
    let policy = &balancer.config.policy;
    let backend = policy
        .pick(snapshot.serving(), tried)
        .or_else(|| if tried.is_empty() { None } else { policy.pick(snapshot.reserve(), tried) })?;
    Some(backend.take_slot())
}

async fn connect_one(
    balancer: &Balancer,
    slot: &Slot,
    until: Instant,
) -> Result<TcpStream, AttemptError> {
    let endpoint = slot.backend().endpoint();
    let after = balancer.config.connect.attempt_timeout.duration();
    let started = Instant::now();
    let attempt = timeout_at(until.min(started + after), TcpStream::connect(endpoint.address()));
    let stream = tokio::select! {
        connected = attempt => match connected {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(AttemptError::Io { endpoint, source }),
            Err(_elapsed) => return Err(AttemptError::Timeout { endpoint, after }),
        },
        () = slot.reset().cancelled() => return Err(AttemptError::Reset { endpoint }),
        () = balancer.shutdown.abort.cancelled() => return Err(AttemptError::Reset { endpoint }),
    };
    socket::keep_stream(&stream, &balancer.config.relay)
        .map_err(|source| AttemptError::Io { endpoint, source })?;
    balancer.metrics.connected(started.elapsed());
    Ok(stream)
}
