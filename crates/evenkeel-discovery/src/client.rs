//! A client of the cluster's API that depends on no single API server.
//!
//! ```text
//! kube::Client -> Bounded -> base URL, token -> hyper -> Connect -> TLS over TCP to a member
//! ```
//!
//! Every call opens a connection of its own: a connection kept from one call to the next may have
//! died meanwhile, calls are rare, and so a call goes to the member that is best now. kube's own
//! stack is not used: it waits 30 s to connect, has no timeout on a list, and retries for minutes.

use evenkeel_core::credentials::{ClientCertificate, Credentials};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::ServiceBuilder;

use self::bounded::Bounded;
use self::connect::Connect;
use crate::access::ClusterAccess;
use crate::members::Members;

mod bounded;
mod connect;

/// A client of the API, and when it was last answered.
#[derive(Clone)]
pub struct ApiClient {
    /// Asks the API through whichever member answers.
    pub client: kube::Client,
    /// When an answer last came that was none of failure.
    pub answered: watch::Receiver<Option<Instant>>,
}

/// Why no client can be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No credentials are configured.
    #[error("no credentials for the API are known: set `credentials`")]
    NoCredentials,
    /// Without a CA anybody could tell us who the endpoints are.
    #[error(
        "the cluster's CA is not known: add `certificate-authority-data` to the kubeconfig, or `insecure-skip-tls-verify: true` to trust anybody"
    )]
    NoCa,
    /// The CA is not PEM.
    #[error("the cluster's CA is not PEM")]
    Ca(#[source] rustls_pki_types::pem::Error),
    /// The CA is PEM and has no certificate in it.
    #[error("the cluster's CA has no certificate in it")]
    EmptyCa,
    /// The CA, the client certificate with its key, the token or the server name cannot be used.
    #[error("the credentials for the API cannot be used")]
    Unusable(#[source] Box<kube::Error>),
}

impl ApiClient {
    /// Makes a client that asks `members` with what `access` says. Does not connect yet. Must be
    /// called within a runtime, after a TLS provider is installed.
    ///
    /// # Errors
    /// Says what of `access` cannot be used.
    pub fn new(access: Option<&ClusterAccess>, members: &Members) -> Result<Self, ClientError> {
        let access = access.ok_or(ClientError::NoCredentials)?;
        let config = config(access)?;
        let unusable = |error| ClientError::Unusable(Box::new(error));
        let tls = config.rustls_https_connector_with_connector(tcp()).map_err(unusable)?;
        let hyper: Client<_, Body> = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(Connect::new(tls, members.clone()));
        let (answered, receiver) = watch::channel(None);
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(unusable)?)
            .map_err(tower::BoxError::from)
            .service(hyper);
        let bounded = Bounded::new(service, members.clone(), answered);
        let client = kube::Client::new(bounded, config.default_namespace);
        Ok(Self { client, answered: receiver })
    }
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient").field("answered", &self.answered).finish_non_exhaustive()
    }
}

fn config(access: &ClusterAccess) -> Result<kube::Config, ClientError> {
    // The host is for the `Host` header only: where to connect to is ours to say.
    let url = hyper::Uri::from_static("https://kubernetes.default.svc/");
    let mut config = kube::Config::new(url);
    config.tls_server_name = Some(access.server_name().to_owned());
    config.default_namespace.clone_from(&access.namespace);
    match &access.credentials.ca {
        _ if access.insecure => config.accept_invalid_certs = true,
        Some(pem) => config.root_cert = Some(certificates(pem)?),
        None => return Err(ClientError::NoCa),
    }
    if access.insecure {
        // Any root does, since none is asked; without one kube looks for those of the host.
        config.root_cert = Some(Vec::new());
    }
    let Credentials { ca: _, certificate, token } = &access.credentials;
    if let Some(ClientCertificate { chain, key }) = certificate {
        config.auth_info.client_certificate_data = Some(base64(chain));
        config.auth_info.client_key_data = Some(base64(key).into());
    } else if let Some(token) = token {
        config.auth_info.token = Some(token.clone().into());
    }
    Ok(config)
}

fn certificates(pem: &[u8]) -> Result<Vec<Vec<u8>>, ClientError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ClientError::Ca)?;
    if certificates.is_empty() { Err(ClientError::EmptyCa) } else { Ok(certificates) }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::prelude::BASE64_STANDARD.encode(bytes)
}

/// Connects over TCP to an address, with every wait bounded.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect::TCP_TIMEOUT));
    // A watch is silent for most of its life. Its host's death shows here within 11 s.
    tcp.set_keepalive(Some(std::time::Duration::from_secs(5)));
    tcp.set_keepalive_interval(Some(std::time::Duration::from_secs(2)));
    tcp.set_keepalive_retries(Some(3));
    tcp.set_tcp_user_timeout(Some(std::time::Duration::from_secs(11)));
    tcp
}
