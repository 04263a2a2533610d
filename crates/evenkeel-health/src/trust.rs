//! By what an endpoint is known, and what is shown to it: [`Credentials`] made into the TLS
//! settings of a probe.
//!
//! A [`Trust`] never changes. When its files do, the owner of the credentials makes another and
//! puts it into the `watch` that all probers of the service hold; the next attempt uses it.

use std::fmt;
use std::sync::Arc;

use evenkeel_core::credentials::{ClientCertificate, Credentials};
use hyper::header::HeaderValue;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::unverified::Unverified;

mod unverified;

/// The TLS settings that all probes of a service share.
pub struct Trust {
    verified: Option<Arc<ClientConfig>>,
    unverified: Arc<ClientConfig>,
    token: Option<HeaderValue>,
}

/// Whether the certificate of an endpoint is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Verify {
    /// Verified if the credentials have a CA. Without one any certificate is accepted, and the
    /// identity of the endpoint is not known.
    #[default]
    Auto,
    /// Any certificate is accepted, as ArgoCD's self-signed one must be.
    Never,
}

/// Why credentials make no [`Trust`].
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The CA is not PEM.
    #[error("the CA is not PEM")]
    CaNotPem(#[source] pem::Error),
    /// The CA holds no certificate.
    #[error("the CA holds no certificate")]
    CaEmpty,
    /// One of the CA's certificates cannot be used.
    #[error("certificate {number} of the CA cannot be used")]
    CaUnusable {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The client certificate is not PEM.
    #[error("the client certificate is not PEM")]
    CertificateNotPem(#[source] pem::Error),
    /// The client certificate's file holds none.
    #[error("the client certificate holds no certificate")]
    CertificateEmpty,
    /// The client key is not PEM, or there is none.
    #[error("the client key is no private key in PEM")]
    KeyNotPem(#[source] pem::Error),
    /// The client certificate or its key cannot be used, or they do not belong together.
    #[error("the client certificate and its key cannot be used")]
    CertificateUnusable(#[source] rustls::Error),
    /// The token cannot be sent in a header.
    #[error("the token holds characters that no token has")]
    TokenUnusable,
    /// The TLS provider lacks what we ask of it.
    #[error("the TLS provider cannot be used")]
    Provider(#[source] rustls::Error),
}

impl Trust {
    /// Makes the TLS settings for `credentials`.
    ///
    /// # Errors
    /// Names the part of the credentials that cannot be used; the cause is its source.
    pub fn new(credentials: &Credentials) -> Result<Self, TrustError> {
        // Given by hand: a library must not depend on which provider its process installed.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let certificate = credentials.certificate.as_ref();
        let verified = match &credentials.ca {
            Some(ca) => Some(client(&provider, verifier(&provider, ca)?, certificate)?),
            None => None,
        };
        let unverified = client(&provider, Arc::new(Unverified::new(&provider)), certificate)?;
        let token = credentials.token.as_deref().map(bearer).transpose()?;
        // A certificate is the better credential: it is checked without etcd.
        let token = token.filter(|_| certificate.is_none());
        Ok(Self { verified, unverified, token })
    }

    /// Whether the certificate of an endpoint is verified, where its probe does not forbid it.
    pub fn verifies_identity(&self) -> bool {
        self.verified.is_some()
    }

    /// The settings for one connection, and whether they verify the endpoint.
    pub(crate) fn client(&self, verify: Verify) -> (Arc<ClientConfig>, bool) {
        match (verify, &self.verified) {
            (Verify::Auto, Some(verified)) => (verified.clone(), true),
            (Verify::Auto, None) | (Verify::Never, _) => (self.unverified.clone(), false),
        }
    }

    /// The header that authenticates us. Only for a connection that is verified: whoever is at
    /// the other end of another one would keep the token.
    pub(crate) fn token(&self) -> Option<&HeaderValue> {
        self.token.as_ref()
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("verifies_identity", &self.verifies_identity())
            .field("token", &self.token.is_some())
            .finish_non_exhaustive()
    }
}

fn client(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    certificate: Option<&ClientCertificate>,
) -> Result<Arc<ClientConfig>, TrustError> {
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TrustError::Provider)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut client = match certificate {
        Some(certificate) => {
            let (chain, key) = identity(certificate)?;
            builder.with_client_auth_cert(chain, key).map_err(TrustError::CertificateUnusable)?
        }
        None => builder.with_no_client_auth(),
    };
    // An anonymous client over HTTP/2 gets GOAWAY after one request
    // (UnauthenticatedHTTP2DOSMitigation).
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed handshake shows no certificate, so it would prove nothing about the server's.
    client.resumption = Resumption::disabled();
    Ok(Arc::new(client))
}

fn verifier(
    provider: &Arc<CryptoProvider>,
    ca: &[u8],
) -> Result<Arc<WebPkiServerVerifier>, TrustError> {
    let mut roots = RootCertStore::empty();
    for (certificate, number) in CertificateDer::pem_slice_iter(ca).zip(1..) {
        roots
            .add(certificate.map_err(TrustError::CaNotPem)?)
            .map_err(|source| TrustError::CaUnusable { number, source })?;
    }
    // With no revocation lists given, having no root is the only way to fail.
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_no_root| TrustError::CaEmpty)
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(certificate: &ClientCertificate) -> Result<Identity, TrustError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&certificate.chain)
        .collect::<Result<_, _>>()
        .map_err(TrustError::CertificateNotPem)?;
    if chain.is_empty() {
        return Err(TrustError::CertificateEmpty);
    }
    let key = PrivateKeyDer::from_pem_slice(&certificate.key).map_err(TrustError::KeyNotPem)?;
    Ok((chain, key))
}

fn bearer(token: &str) -> Result<HeaderValue, TrustError> {
    // Token files end in a newline more often than not.
    let mut header = HeaderValue::try_from(format!("Bearer {}", token.trim()))
        .map_err(|_invalid| TrustError::TokenUnusable)?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests;
