//! What went wrong for a client, in the words that tell one outage from another.

use std::error::Error;
use std::{fmt, io};

/// Why a client got no answer, or not the one it wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The connection was refused.
    Refused,
    /// The connection was reset.
    Reset,
    /// The connection was closed before the answer was complete.
    Closed,
    /// Nothing came within the limit.
    Silent,
    /// The server presented a certificate of another authority or for another name.
    Untrusted,
    /// TLS failed in another way.
    Tls,
    /// The answer had this HTTP status.
    Status(u16),
    /// The kernel reported something else.
    Io(io::ErrorKind),
    /// What came is not HTTP.
    Http,
}

impl Failure {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the kinds of io are an open set")]
    pub(crate) fn of_io(error: &io::Error) -> Self {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            let untrusted = matches!(tls, rustls::Error::InvalidCertificate(_));
            return if untrusted { Self::Untrusted } else { Self::Tls };
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            kind => Self::Io(kind),
        }
    }

    pub(crate) fn of_http(error: &hyper::Error) -> Self {
        // A request that met a connection already reset is "canceled", by an error by the reset.
        let mut cause = error.source();
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<io::Error>() {
                return Self::of_io(io);
            }
            cause = error.source();
        }
        if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
            return Self::Closed;
        }
        Self::Http
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused"),
            Self::Reset => f.write_str("connection reset"),
            Self::Closed => f.write_str("connection closed"),
            Self::Silent => f.write_str("no answer in time"),
            Self::Untrusted => f.write_str("certificate not trusted"),
            Self::Tls => f.write_str("TLS failed"),
            Self::Status(code) => write!(f, "HTTP status {code}"),
            Self::Io(kind) => write!(f, "{kind}"),
            Self::Http => f.write_str("answer is not HTTP"),
        }
    }
}
