//! The TLS handshake of a probe.

use std::sync::Arc;

use evenkeel_core::health::Class;
use evenkeel_core::units::Span;
use rustls::{ClientConfig, ProtocolVersion};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{self, Duration};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure;
use crate::attempt::Seen;

/// A connection over TLS. Boxed, since it is a kilobyte and moves from future to future.
pub(super) type Tls = Box<TlsStream<TcpStream>>;

/// How the certificate of an endpoint is judged.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub(super) client: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) verified: bool,
}

/// Completes a handshake within the given time.
pub(super) async fn handshake(stream: TcpStream, terms: &Terms, within: Span) -> Result<Tls, Seen> {
    let connector = TlsConnector::from(terms.client.clone());
    // Boxed for its size, too.
    let handshake = Box::pin(connector.connect(terms.name.clone(), stream));
    match time::timeout(within.duration(), handshake).await {
        Err(_elapsed) => {
            Err(Seen::new(Class::TlsTimeout, format!("no TLS handshake within {within}")))
        }
        Ok(Err(error)) => {
            let seen = failure::stream(&error, "handshake");
            // Where no CA is given, nobody is foreign to it.
            let foreign = seen.class == Class::Foreign && !terms.verified;
            Err(if foreign { Seen { class: Class::CertificateInvalid, ..seen } } else { seen })
        }
        Ok(Ok(stream)) => Ok(Box::new(stream)),
    }
}

/// The words for a handshake.
pub(super) fn tell(stream: &Tls, terms: &Terms) -> String {
    let version = match stream.get_ref().1.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(_) | None => "TLS",
    };
    if terms.verified {
        format!("{version}, its certificate is valid for {}", terms.name.to_str())
    } else {
        format!("{version}, identity NOT verified: any certificate is accepted")
    }
}

/// Closes in good order a connection over which nothing was asked.
pub(super) async fn close(mut stream: Tls) {
    let farewell = async {
        stream.shutdown().await?;
        // TLS 1.3 servers send session tickets at once. Closing with those unread would be a RST,
        // which some servers log.
        let mut unread = [0; 256];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    // However it ends, the stream is dropped and so closed.
    drop(time::timeout(FAREWELL, farewell).await);
}

/// How long closing in good order may take.
const FAREWELL: Duration = Duration::from_millis(50);
