//! What the evidence says of an endpoint. Never what to do about it: that is
//! [`treatment`](crate::treatment).
//!
//! An [`Outcome`] is what one probe saw. A [`Class`] names it in the finest terms we tell apart,
//! and each class speaks for one [`Health`]. Outcomes in a row, counted by a tracker in
//! `evenkeel-health`, make the [`Evidence`] that the pool acts on.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the evidence says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Health {
    /// Nothing is proven yet.
    Unknown,
    /// It says that it can serve.
    Ready,
    /// It answers that it cannot serve, or refuses the connection: its kernel is alive and has
    /// already ended what was open.
    Unready,
    /// It is silent: the connect, the TLS handshake or the answer timed out.
    Dead,
    /// It answers, and proves to be of another cluster.
    Foreign,
}

impl Health {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 5] =
        [Self::Unknown, Self::Ready, Self::Unready, Self::Dead, Self::Foreign];

    /// The word for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Ready => "ready",
            Self::Unready => "unready",
            Self::Dead => "dead",
            Self::Foreign => "foreign",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one probe saw, in the finest terms that we tell apart. Decided by status codes and by
/// how a connection fails, never by the text of an answer, which Kubernetes says "is not intended
/// to be consumed by a machine".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Class {
    /// Not probed yet.
    Unproven,
    /// It says that it can serve; for a connect or handshake probe, it completed that.
    Ready,
    /// Ready but for its etcd: the request that leaves etcd out is answered with 200.
    EtcdUnready,
    /// Shutting down, and serving what it has: 200 once `shutdown` is left out.
    ShuttingDown,
    /// Alive, its start not finished: only `/livez` is answered with 200.
    Starting,
    /// Answers, and every question with a failure.
    Broken,
    /// 401: it wants a credential to say how it is.
    Unauthorized,
    /// 403: it knows us and may not tell; also for a moment at start, before RBAC is loaded.
    Forbidden,
    /// 429: it asks to be left alone for now; no evidence either way.
    Throttled,
    /// 503: there is no API server behind the address, or not yet.
    Unavailable,
    /// Any other status.
    UnexpectedStatus,
    /// The kernel answers that nobody listens.
    Refused,
    /// It closed or reset the connection before it answered.
    Closed,
    /// What it answers is not HTTP, or not TLS.
    Garbled,
    /// TLS works, but the certificate cannot be accepted: expired, not yet valid or for another
    /// name. It may be our clock.
    CertificateInvalid,
    /// It refused our side of the handshake: no common version, or our client certificate.
    TlsRefused,
    /// TLS works, and no answer came in time. Its process is alive; a hung etcd looks like this.
    AnswerTimeout,
    /// No handshake in time: its kernel accepts, its process is silent.
    TlsTimeout,
    /// No connection in time.
    ConnectTimeout,
    /// The network says that there is no way to it.
    Unreachable,
    /// It proves to be of another cluster: its certificate is not from the CA we trust.
    Foreign,
    /// The probe itself could not be made: out of sockets, of ports, or its settings are wrong.
    /// No evidence about the endpoint.
    ProbeFault,
}

impl Class {
    /// Every class, for tests and for documentation.
    pub const ALL: [Self; 22] = [
        Self::Unproven,
        Self::Ready,
        Self::EtcdUnready,
        Self::ShuttingDown,
        Self::Starting,
        Self::Broken,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Throttled,
        Self::Unavailable,
        Self::UnexpectedStatus,
        Self::Refused,
        Self::Closed,
        Self::Garbled,
        Self::CertificateInvalid,
        Self::TlsRefused,
        Self::AnswerTimeout,
        Self::TlsTimeout,
        Self::ConnectTimeout,
        Self::Unreachable,
        Self::Foreign,
        Self::ProbeFault,
    ];

    /// The health that an endpoint of this class has, once the class is believed.
    pub fn health(self) -> Health {
        match self {
            Self::Unproven | Self::ProbeFault => Health::Unknown,
            Self::Ready => Health::Ready,
            Self::EtcdUnready
            | Self::ShuttingDown
            | Self::Starting
            | Self::Broken
            | Self::Unauthorized
            | Self::Forbidden
            | Self::Throttled
            | Self::Unavailable
            | Self::UnexpectedStatus
            | Self::Refused
            | Self::Closed
            | Self::Garbled
            | Self::CertificateInvalid
            | Self::TlsRefused
            | Self::AnswerTimeout => Health::Unready,
            Self::TlsTimeout | Self::ConnectTimeout | Self::Unreachable => Health::Dead,
            Self::Foreign => Health::Foreign,
        }
    }

    /// The word for metrics and JSON; the same as serde's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Ready => "ready",
            Self::EtcdUnready => "etcdUnready",
            Self::ShuttingDown => "shuttingDown",
            Self::Starting => "starting",
            Self::Broken => "broken",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::UnexpectedStatus => "unexpectedStatus",
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Garbled => "garbled",
            Self::CertificateInvalid => "certificateInvalid",
            Self::TlsRefused => "tlsRefused",
            Self::AnswerTimeout => "answerTimeout",
            Self::TlsTimeout => "tlsTimeout",
            Self::ConnectTimeout => "connectTimeout",
            Self::Unreachable => "unreachable",
            Self::Foreign => "foreign",
            Self::ProbeFault => "probeFault",
        }
    }

    /// What the class means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Unproven => "not probed yet",
            Self::Ready => "says it can serve",
            Self::EtcdUnready => "ready but for its etcd",
            Self::ShuttingDown => "shutting down, serves what it has",
            Self::Starting => "alive, its start is not finished",
            Self::Broken => "alive, every health check fails",
            Self::Unauthorized => {
                "alive, readiness unknown: it wants a credential (set `credentials`)"
            }
            Self::Forbidden => {
                "alive, readiness unknown: the credential may not ask, or RBAC is not loaded yet"
            }
            Self::Throttled => "asks to be left alone for now",
            Self::Unavailable => "no API server behind the address, or not yet",
            Self::UnexpectedStatus => "answers with a status that says nothing about readiness",
            Self::Refused => "its host is alive, nobody listens",
            Self::Closed => "closes the connection before it answers",
            Self::Garbled => "does not speak the protocol that the probe expects",
            Self::CertificateInvalid => {
                "its certificate cannot be accepted: expired, not yet valid (is our clock right?) or for another name"
            }
            Self::TlsRefused => "refuses our side of the TLS handshake",
            Self::AnswerTimeout => {
                "completes TLS and does not answer in time; a hung etcd looks like this"
            }
            Self::TlsTimeout => "its kernel accepts, its process is silent: frozen or starved",
            Self::ConnectTimeout => "silent: no connection in time",
            Self::Unreachable => "the network says there is no way to it",
            Self::Foreign => "of another cluster: its certificate is not from the CA we trust",
            Self::ProbeFault => "the probe itself could not be made",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one probe saw: its class, the words it was told in, and how long each phase took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What it amounts to.
    pub class: Class,
    /// One line for people: the status, or how the connection failed. At most 200 characters,
    /// from the network and so untrusted; no control characters.
    pub detail: String,
    /// How long the probe took.
    pub took: Duration,
}

/// What is believed of an endpoint now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What outcomes in a row make of it.
    pub health: Health,
    /// The class of the outcome that says so.
    pub class: Class,
}

impl Evidence {
    /// Nothing is known.
    pub const NONE: Self = Self { health: Health::Unknown, class: Class::Unproven };
}

/// Makes text from the network fit for a line of ours: control characters become spaces, and
/// what is over 200 characters is cut.
pub fn printable(text: &str) -> String {
    let mut line: String =
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_has_the_same_word_in_json_as_in_metrics() {
        for class in Class::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
        for health in Health::ALL {
            assert_eq!(serde_json::to_value(health).unwrap(), health.as_str());
        }
    }

    #[test]
    fn a_server_that_asks_for_a_credential_never_counts_as_ready() {
        assert_eq!(Class::Unauthorized.health(), Health::Unready);
        assert_eq!(Class::Forbidden.health(), Health::Unready);
    }

    #[test]
    fn refused_is_not_dead_because_its_kernel_has_told_the_clients() {
        assert_eq!(Class::Refused.health(), Health::Unready);
    }

    #[test]
    fn text_from_the_network_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2J\nb \n"), "a [2J b");
        assert_eq!(printable(&"x".repeat(1000)).len(), 200);
    }
}
