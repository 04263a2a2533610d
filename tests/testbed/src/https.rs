//! A client of one HTTP/1.1 connection, so that a test knows which connection did what.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::certificates::Credentials;

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file does not hold what it should.
    #[error("could not read {path}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: rustls_pki_types::pem::Error,
    },
    /// Certificate and key do not go together, or the CA is none.
    #[error("could not use the credentials")]
    Refused(#[from] rustls::Error),
}

/// Credentials, read and ready for connections.
#[derive(Clone, Debug)]
pub struct Identity {
    config: Arc<ClientConfig>,
}

impl Identity {
    /// Reads the files of `credentials`.
    ///
    /// # Errors
    /// If a file is not what it should be.
    pub fn load(credentials: &Credentials) -> Result<Self, IdentityError> {
        let pem = |path: &PathBuf| {
            let path = path.clone();
            |source| IdentityError::Pem { path, source }
        };
        let ca = CertificateDer::from_pem_file(&credentials.ca).map_err(pem(&credentials.ca))?;
        let certificate = CertificateDer::from_pem_file(&credentials.certificate)
            .map_err(pem(&credentials.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&credentials.key).map_err(pem(&credentials.key))?;

        let mut roots = RootCertStore::empty();
        roots.add(ca)?;
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(roots)
                .with_client_auth_cert(vec![certificate], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // A new connection costs what it costs a client of Go, which does not resume either.
        config.resumption = Resumption::disabled();
        Ok(Self { config: Arc::new(config) })
    }
}

/// Why a request got no good answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpsError {
    /// No TCP connection.
    #[error("could not connect")]
    Connect(#[source] io::Error),
    /// A TCP connection, but no TLS on it.
    #[error("TLS handshake")]
    Tls(#[source] io::Error),
    /// No response, or one that broke off.
    #[error("HTTP")]
    Http(#[from] hyper::Error),
    /// The path is none.
    #[error("could not write the request")]
    Request(#[from] hyper::http::Error),
    /// A response that says no.
    #[error("answered {0}")]
    Status(StatusCode),
}

/// One connection, for one request after the other.
#[derive(Debug)]
pub(crate) struct Connection {
    requests: SendRequest<Full<Bytes>>,
    host: String,
    // Moves the bytes; ends with the connection.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects with TLS, and verifies that the certificate is good for the address, as a client
    /// does whose kubeconfig names it.
    pub(crate) async fn secure(to: SocketAddr, identity: &Identity) -> Result<Self, HttpsError> {
        let tcp = connect(to).await?;
        let name = ServerName::from(to.ip());
        let tls = TlsConnector::from(Arc::clone(&identity.config)).connect(name, tcp).await;
        Self::over(tls.map_err(HttpsError::Tls)?, to).await
    }

    /// Connects without TLS.
    pub(crate) async fn plain(to: SocketAddr) -> Result<Self, HttpsError> {
        Self::over(connect(to).await?, to).await
    }

    async fn over<S>(stream: S, to: SocketAddr) -> Result<Self, HttpsError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Who sends a request learns of the same error.
            drop(connection.await);
        });
        Ok(Self { requests, host: to.to_string(), _driver: driver })
    }

    /// Whether the other side has closed it: a client then takes a new one for its next request.
    pub(crate) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// Sends a request, and answers once the head of the response is there, whatever it says.
    pub(crate) async fn exchange(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Response<Incoming>, HttpsError> {
        let mut request = Request::builder().method(method).uri(path).header(HOST, &self.host);
        let mut content = Bytes::new();
        if let Some((kind, text)) = body {
            request = request.header(CONTENT_TYPE, kind);
            content = text.into();
        }
        self.requests.ready().await?;
        Ok(self.requests.send_request(request.body(Full::new(content))?).await?)
    }

    /// Sends a request, and answers once the head of a successful response is there.
    pub(crate) async fn send(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Response<Incoming>, HttpsError> {
        let response = self.exchange(method, path, body).await?;
        if response.status().is_success() {
            Ok(response)
        } else {
            Err(HttpsError::Status(response.status()))
        }
    }

    /// Sends a request, and answers with the whole body of a successful response.
    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Bytes, HttpsError> {
        let response = self.send(method, path, body).await?;
        Ok(response.into_body().collect().await?.to_bytes())
    }

    /// `GET path`, with the whole body.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Bytes, HttpsError> {
        self.ask(Method::GET, path, None).await
    }
}

async fn connect(to: SocketAddr) -> Result<TcpStream, HttpsError> {
    let tcp = TcpStream::connect(to).await.map_err(HttpsError::Connect)?;
    tcp.set_nodelay(true).map_err(HttpsError::Connect)?;
    Ok(tcp)
}

/// `GET path` without TLS: the status and the body, whatever the status.
pub(crate) async fn fetch(to: SocketAddr, path: &str) -> Result<(u16, String), HttpsError> {
    let mut connection = Connection::plain(to).await?;
    let response = connection.exchange(Method::GET, path, None).await?;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

/// What `unwrap` shows of an error whose cause is a log or a table: text to read, with the causes,
/// where the usual form would escape every line of it.
pub(crate) fn debug(error: &dyn std::error::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&in_one_line(error))
}

/// An error with its causes, in one line.
pub(crate) fn in_one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}
