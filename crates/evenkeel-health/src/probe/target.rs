//! An endpoint with all that a connection to it needs.

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use hyper::header::HeaderValue;
use rustls_pki_types::ServerName;

use super::connect;
use super::handshake::{self, Terms, Tls};
use crate::attempt::{PhaseName, Record, Seen};
use crate::config::HealthConfig;
use crate::trust::{Trust, Verify};

/// Whom an attempt asks, and how.
pub(super) struct Target<'a> {
    pub(super) config: &'a HealthConfig,
    endpoint: Endpoint,
    terms: Terms,
    /// The header `Host`.
    pub(super) host: HeaderValue,
    /// The header `Authorization`.
    pub(super) token: Option<HeaderValue>,
}

impl<'a> Target<'a> {
    /// The endpoint under the name for which its certificate has to be; without one, under its
    /// IP address.
    pub(super) fn new(
        config: &'a HealthConfig,
        trust: &Trust,
        endpoint: Endpoint,
        server_name: Option<&str>,
        verify: Verify,
    ) -> Result<Self, Seen> {
        let (name, host) = match server_name {
            Some(name) => (ServerName::try_from(name.to_owned()).ok(), name.to_owned()),
            None => (Some(endpoint.ip().into()), endpoint.to_string()),
        };
        let (Some(name), Ok(host)) = (name, HeaderValue::try_from(host)) else {
            return Err(Seen::new(Class::ProbeFault, "`serverName` is not a host name"));
        };
        let (client, verified) = trust.client(verify);
        let token = trust.token().filter(|_| verified).cloned();
        Ok(Self { config, endpoint, terms: Terms { client, name, verified }, host, token })
    }

    /// Opens a connection and completes the handshake, taking down both.
    pub(super) async fn open(&self, record: &mut Record) -> Result<Tls, Seen> {
        let connecting = connect::connect(self.endpoint, self.config.connect_timeout);
        let stream = record.phase(PhaseName::Connect, connecting, connect::tell).await?;
        let handshake = handshake::handshake(stream, &self.terms, self.config.tls_timeout);
        let tell = |stream: &_| handshake::tell(stream, &self.terms);
        record.phase(PhaseName::Tls, handshake, tell).await
    }

    /// As [`open`](Self::open), for a connection that is no phase of the attempt.
    pub(super) async fn open_another(&self) -> Result<Tls, Seen> {
        self.open(&mut Record::default()).await
    }
}

/// A garde rule: the text is a name that a certificate can be for.
pub(super) fn host_name<Context>(name: &str, _context: &Context) -> garde::Result {
    match ServerName::try_from(name) {
        Ok(_) => Ok(()),
        Err(_invalid) => Err(garde::Error::new(format!("`{name}` is not a host name"))),
    }
}
