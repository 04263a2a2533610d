//! How a connection fails, and the class it gives. Never by text.

use std::error::Error as _;
use std::io;

use evenkeel_core::health::Class;
use evenkeel_core::units::Span;
use rustls::CertificateError;
use rustls_pki_types::UnixTime;

use crate::attempt::Seen;

/// The failure of a connect.
pub(super) fn connect(error: &io::Error) -> Seen {
    use io::ErrorKind as Kind;
    let kind = error.kind();
    let class = if kind == Kind::ConnectionRefused {
        Class::Refused
    } else if kind == Kind::TimedOut {
        Class::ConnectTimeout
    } else if [Kind::HostUnreachable, Kind::NetworkUnreachable, Kind::NetworkDown].contains(&kind) {
        Class::Unreachable
    } else if [Kind::ConnectionReset, Kind::ConnectionAborted].contains(&kind) {
        Class::Closed
    } else {
        // The other side can cause no more than these. What is left is ours: no file descriptors,
        // ports or buffers, no such address family, not permitted.
        Class::ProbeFault
    };
    Seen::new(class, error.to_string())
}

/// The failure of an open connection, within TLS or as such; `during` says in which phase.
pub(super) fn stream(error: &io::Error, during: &str) -> Seen {
    if let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        return tls(error);
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        Seen::new(Class::Closed, format!("it closed the connection during the {during}"))
    } else {
        Seen::new(Class::Closed, format!("{error} during the {during}"))
    }
}

/// The failure of an exchange over HTTP.
pub(super) fn http(error: &hyper::Error) -> Seen {
    let mut cause = error.source();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return stream(error, "answer");
        }
        cause = error.source();
    }
    if error.is_parse() {
        Seen::new(Class::Garbled, format!("its answer is not HTTP: {error}"))
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() {
        Seen::new(Class::Closed, "it closed the connection before it answered")
    } else {
        Seen::new(Class::Garbled, format!("its answer is out of order: {error}"))
    }
}

fn tls(error: &rustls::Error) -> Seen {
    use rustls::Error;
    if let Error::InvalidCertificate(error) = error {
        return certificate(error);
    }
    if let Error::AlertReceived(alert) = error {
        return Seen::new(Class::TlsRefused, format!("it refused the handshake: {alert:?}"));
    }
    let class = if matches!(error, Error::PeerIncompatible(_) | Error::NoApplicationProtocol) {
        Class::TlsRefused
    } else if matches!(error, Error::FailedToGetCurrentTime | Error::FailedToGetRandomBytes) {
        Class::ProbeFault
    } else {
        Class::Garbled
    };
    Seen::new(class, error.to_string())
}

/// Foreign is only what proves not to be signed by our CA. The rest may be our clock, our config
/// or a certificate that somebody forgot to renew.
fn certificate(error: &CertificateError) -> Seen {
    let foreign = |detail: &str| Seen::new(Class::Foreign, detail);
    let invalid = |detail: String| Seen::new(Class::CertificateInvalid, detail);
    if matches!(error, CertificateError::UnknownIssuer) {
        return foreign("its certificate is not from the CA we trust");
    }
    // kubeadm gives the CA of every cluster the same name, so that of another cluster is found by
    // its name and then does not fit: in its key, or in the kind of its key.
    if matches!(
        error,
        CertificateError::BadSignature
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. }
    ) {
        return foreign("its certificate is not signed by the CA we trust");
    }
    if let CertificateError::ExpiredContext { time, not_after } = error {
        return invalid(format!("its certificate expired {} ago", between(*not_after, *time)));
    }
    if let CertificateError::NotValidYetContext { time, not_before } = error {
        let wait = between(*time, *not_before);
        return invalid(format!("its certificate is not valid for another {wait}"));
    }
    invalid(format!("its certificate is invalid: {error}"))
}

fn between(earlier: UnixTime, later: UnixTime) -> String {
    const DAY: u64 = 24 * 3600;
    let seconds = later.as_secs().saturating_sub(earlier.as_secs());
    if seconds < 2 * DAY {
        Span::from_secs(seconds).to_string()
    } else {
        format!("{} days", seconds / DAY)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn class_of_connect(errno: i32) -> Class {
        connect(&io::Error::from_raw_os_error(errno)).class
    }

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn what_the_network_says_of_a_connect_is_evidence_and_what_we_lack_is_not() {
        for (errno, class) in [
            (111, Class::Refused),        // ECONNREFUSED
            (110, Class::ConnectTimeout), // ETIMEDOUT
            (113, Class::Unreachable),    // EHOSTUNREACH
            (101, Class::Unreachable),    // ENETUNREACH
            (104, Class::Closed),         // ECONNRESET
            (24, Class::ProbeFault),      // EMFILE
            (23, Class::ProbeFault),      // ENFILE
            (99, Class::ProbeFault),      // EADDRNOTAVAIL
            (105, Class::ProbeFault),     // ENOBUFS
            (97, Class::ProbeFault),      // EAFNOSUPPORT
            (1, Class::ProbeFault),       // EPERM
        ] {
            assert_eq!(class_of_connect(errno), class, "errno {errno}");
        }
    }

    #[test]
    fn only_a_signature_that_is_not_of_our_ca_is_foreign() {
        for error in [CertificateError::UnknownIssuer, CertificateError::BadSignature] {
            assert_eq!(certificate(&error).class, Class::Foreign, "{error:?}");
        }
        for error in [
            CertificateError::Expired,
            CertificateError::NotValidYet,
            CertificateError::NotValidForName,
            CertificateError::BadEncoding,
            CertificateError::InvalidPurpose,
        ] {
            assert_eq!(certificate(&error).class, Class::CertificateInvalid, "{error:?}");
        }
    }

    #[test]
    fn the_clock_is_named_where_it_may_be_the_cause() {
        let now = at(1_000_000_000);
        let expired = |not_after| CertificateError::ExpiredContext { time: now, not_after };
        let seen = certificate(&expired(at(1_000_000_000 - 3600)));
        assert_eq!(seen.class, Class::CertificateInvalid);
        assert_eq!(seen.detail, "its certificate expired 1h ago");
        let seen = certificate(&expired(at(1_000_000_000 - 30 * 24 * 3600)));
        assert_eq!(seen.detail, "its certificate expired 30 days ago");
        let not_before = at(1_000_000_000 + 90);
        let seen = certificate(&CertificateError::NotValidYetContext { time: now, not_before });
        assert_eq!(seen.class, Class::CertificateInvalid);
        assert_eq!(seen.detail, "its certificate is not valid for another 1m30s");
    }

    #[test]
    fn a_refused_handshake_is_told_from_one_that_is_no_tls() {
        use rustls::{AlertDescription, Error, InvalidMessage, PeerIncompatible};
        let alert = Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(tls(&alert).class, Class::TlsRefused);
        assert_eq!(tls(&alert).detail, "it refused the handshake: CertificateRequired");
        let version = Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13);
        assert_eq!(tls(&version).class, Class::TlsRefused);
        let message = Error::InvalidMessage(InvalidMessage::InvalidContentType);
        assert_eq!(tls(&message).class, Class::Garbled);
        assert_eq!(tls(&Error::FailedToGetCurrentTime).class, Class::ProbeFault);
    }
}
