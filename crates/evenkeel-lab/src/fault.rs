//! The closed set of ways in which a server of the lab misbehaves.

use std::fmt;

/// How a server misbehaves from now on.
///
/// What happens below HTTP (refusing, silence, certificates) is the same for every server; what an
/// answer says is for each server in its own file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fault {
    /// It works.
    #[default]
    None,
    /// It is killed: its listener is closed and its open connections are reset.
    Stopped,
    /// It closed its listener but serves the open connections on, as a kube-apiserver does late in
    /// its shutdown; `/readyz` fails.
    Refusing,
    /// It hangs, as by `SIGSTOP`: the kernel accepts into the backlog, the process neither accepts,
    /// reads nor writes. It goes on where it was when the fault is lifted.
    Frozen,
    /// It was told to shut down: `/readyz` fails, everything else is served.
    ShuttingDown,
    /// It lost etcd: `/readyz` and `/livez` fail by the etcd checks, lists fail with 500 and new
    /// watches with 429.
    EtcdLost,
    /// It has not finished starting: `/readyz` fails by a post-start hook, `/livez` succeeds.
    Starting,
    /// It answers everything with 500.
    Broken,
    /// It knows no anonymous user: 401 without its client certificate or bearer token.
    Unauthorized,
    /// It denies everything with 403.
    Forbidden,
    /// It answers everything with 429 and `Retry-After`.
    Throttled,
    /// It presents a certificate of another authority on new connections.
    Foreign,
    /// It completes the TLS handshake, then answers no request until the fault is lifted.
    SilentAnswers,
}

impl Fault {
    /// Every fault, `None` first.
    pub const ALL: [Self; 13] = [
        Self::None,
        Self::Stopped,
        Self::Refusing,
        Self::Frozen,
        Self::ShuttingDown,
        Self::EtcdLost,
        Self::Starting,
        Self::Broken,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Throttled,
        Self::Foreign,
        Self::SilentAnswers,
    ];

    /// Whether the server has no listener while it misbehaves so.
    pub(crate) fn closes_listener(self) -> bool {
        matches!(self, Self::Stopped | Self::Refusing)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Stopped => "stopped",
            Self::Refusing => "refusing connections",
            Self::Frozen => "frozen",
            Self::ShuttingDown => "shutting down",
            Self::EtcdLost => "etcd lost",
            Self::Starting => "starting",
            Self::Broken => "broken",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::Throttled => "throttled",
            Self::Foreign => "foreign certificate",
            Self::SilentAnswers => "silent answers",
        })
    }
}
