//! Why a backend was not connected, and which one is tried.
//!
//! It cannot be left to probes: kube-apiserver with kubeadm's flags closes its listener a few
//! milliseconds after `/readyz` turns red.

use std::io;
use std::time::Duration;

use evenkeel_core::backend::{FULL_SHARE, Slot};
use evenkeel_core::endpoint::Endpoint;
use rustix::io::Errno;
use tokio::time::Instant;

use crate::balancer::Balancer;

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
    /// We have no descriptor or memory for the backend's side.
    #[error("no socket to connect with")]
    Exhausted(#[source] io::Error),
    /// All that could be tried were connected, and failed before their first byte.
    #[error("all {attempts} backends failed before their first byte")]
    AllLost { attempts: usize },
    /// Nobody has said anything for `relay.idleTimeout`.
    #[error("nothing was said within {after:?}")]
    Idle { after: Duration },
    /// The client went away meanwhile.
    #[error("the client went away")]
    ClientGone,
    /// The address that the client had come to left this host.
    #[error("its address moved")]
    Moved,
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
    /// The word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Io { source, .. } => reason_of(source.kind()),
            Self::Reset { .. } => "reset",
        }
    }
}

fn reason_of(kind: io::ErrorKind) -> &'static str {
    if kind == io::ErrorKind::ConnectionRefused {
        "refused"
    } else if matches!(kind, io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) {
        "unreachable"
    } else if kind == io::ErrorKind::AddrNotAvailable {
        // Every local port towards it is in use, or in TIME_WAIT.
        "no_ports"
    } else {
        "other"
    }
}

impl AttemptError {
    /// Whether the fault is our own: no port, no memory, a firewall of this host. Then its prober
    /// need not look.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Reset { .. } => false,
            Self::Io { source, .. } => Errno::from_io_error(source).is_some_and(|error| {
                matches!(
                    error,
                    Errno::ADDRNOTAVAIL | Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::PERM
                )
            }),
        }
    }
}

/// Picks a backend, but none of `tried`, and counts the connection: the preferred one, unless it
/// takes it slowly, or by the policy among those treated `serve`; where all of these have failed and
/// `may_reserve`, among those held in reserve. The snapshot is let go before the attempt.
///
/// Also whether it comes from the reserve.
pub(crate) fn pick(
    balancer: &Balancer,
    tried: &[Endpoint],
    may_reserve: bool,
    now: Instant,
) -> Option<(Slot, bool)> {
    let snapshot = balancer.pool.snapshot();
    let policy = &balancer.policy;
    let preferred = snapshot
        .preferred()
        .filter(|backend| !tried.contains(&backend.endpoint()) && backend.share(now) == FULL_SHARE);
    if let Some(backend) = preferred.or_else(|| policy.pick(snapshot.serving(), tried, now)) {
        return Some((backend.take_slot(), false));
    }
    if !may_reserve {
        return None;
    }
    policy.pick(snapshot.reserve(), tried, now).map(|backend| (backend.take_slot(), true))
}
