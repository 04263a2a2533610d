//! Tiny servers that do one thing each.

use std::sync::Arc;

use evenkeel_core::shutdown::Tasks;
use evenkeel_lab::Authority;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;

/// A server of one connection after the other, each served by `serve`. It lives as long as the
/// test's runtime.
pub(super) async fn server<S>(serve: impl Fn(TcpStream) -> S + Send + 'static) -> SocketAddr
where
    S: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let tasks = Tasks::new();
    tasks.clone().spawn("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            tasks.spawn("connection", serve(stream));
        }
    });
    address
}

/// As [`server`], after a handshake with these settings; one that fails ends the connection.
pub(super) async fn tls_server<S>(
    settings: ServerConfig,
    serve: impl Fn(TlsStream<TcpStream>) -> S + Clone + Send + 'static,
) -> SocketAddr
where
    S: Future<Output = ()> + Send + 'static,
{
    let acceptor = TlsAcceptor::from(Arc::new(settings));
    server(move |stream| {
        let (acceptor, serve) = (acceptor.clone(), serve.clone());
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(stream).await;
            }
        }
    })
    .await
}

/// Answers every request by its path; the text is sent as it is. `None` is never answered.
pub(super) async fn answering(
    answer: impl Fn(&str) -> Option<String> + Clone + Send + 'static,
) -> SocketAddr {
    tls_server(settings(), move |mut stream| {
        let answer = answer.clone();
        async move {
            while let Some(head) = head(&mut stream).await {
                let Some(text) = answer(path(&head)) else { std::future::pending().await };
                stream.write_all(text.as_bytes()).await.unwrap();
                if text.contains("connection: close") {
                    stream.shutdown().await.unwrap();
                    return;
                }
            }
        }
    })
    .await
}

/// Reads the head of a request; `None` at the end of the connection.
pub(super) async fn head(stream: &mut TlsStream<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(head).unwrap())
}

pub(super) fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap()
}

pub(super) fn status(status: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok")
}

/// TLS of a self-made authority that nobody trusts.
pub(super) fn settings() -> ServerConfig {
    let (chain, key) = identity();
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap()
}

/// As [`settings`], with a client certificate demanded, which no client has.
pub(super) fn demanding(version: &'static rustls::SupportedProtocolVersion) -> ServerConfig {
    let (chain, key) = identity();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    let ca = Authority::new("clients").unwrap();
    roots.add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(chain, key)
        .unwrap()
}

fn identity() -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let identity = Authority::new("self-made").unwrap().serving_certificate(&["localhost"]);
    let identity = identity.unwrap();
    let chain = CertificateDer::from_pem_slice(identity.certificate_pem.as_bytes()).unwrap();
    (vec![chain], PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap())
}
