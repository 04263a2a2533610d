//! Who a client is: kube-apiserver completes the handshake with any client certificate, and only
//! then asks whether it knows its issuer. A stranger is answered 401, not a TLS alert.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::tls::{self, TlsError};

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// It showed no credentials.
    Anonymous,
    /// It showed credentials that are not ours.
    Stranger,
    /// It showed a certificate of our authority, or our bearer token.
    Known,
}

/// Tells known callers from strangers.
#[derive(Debug)]
pub(crate) struct Authenticator {
    verifier: Arc<dyn ClientCertVerifier>,
    token: String,
}

impl Authenticator {
    pub(crate) fn new(ca_pem: &str, token: &str) -> Result<Self, TlsError> {
        let roots = Arc::new(tls::roots(ca_pem)?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, tls::provider())
            .build()
            .map_err(|error| TlsError::Unusable(Error::General(error.to_string())))?;
        Ok(Self { verifier, token: token.to_owned() })
    }

    /// Judges the certificates of a connection.
    pub(crate) fn certificate(&self, chain: Option<&[CertificateDer<'_>]>) -> Caller {
        let Some((certificate, issuers)) = chain.and_then(<[_]>::split_first) else {
            return Caller::Anonymous;
        };
        match self.verifier.verify_client_cert(certificate, issuers, UnixTime::now()) {
            Ok(_) => Caller::Known,
            Err(_) => Caller::Stranger,
        }
    }

    /// Judges a request: a known certificate goes before the bearer token.
    pub(crate) fn request(&self, by_certificate: Caller, headers: &HeaderMap) -> Caller {
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.strip_prefix("Bearer "));
        match (by_certificate, bearer) {
            (Caller::Anonymous | Caller::Stranger, Some(token)) if token == self.token => {
                Caller::Known
            }
            (Caller::Anonymous, Some(_)) => Caller::Stranger,
            (caller, _) => caller,
        }
    }
}

/// Lets every client certificate through the handshake whose key the client has.
#[derive(Debug)]
pub(crate) struct AnyClient {
    provider: Arc<CryptoProvider>,
}

impl AnyClient {
    pub(crate) fn new(provider: Arc<CryptoProvider>) -> Self {
        Self { provider }
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
