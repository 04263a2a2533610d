//! What we know a cluster by and are known by: its CA, and a client certificate or a token.

use std::fmt;

/// The CA that a cluster is known by, and what we show of ourselves; all as bytes, read and
/// followed by whoever owns the files.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Certificates of the cluster's CA, PEM. Without them the identity of an endpoint cannot be
    /// verified.
    pub ca: Option<Vec<u8>>,
    /// Our client certificate with its key. An API server checks it without asking etcd.
    pub certificate: Option<ClientCertificate>,
    /// A bearer token, sent where there is no client certificate.
    pub token: Option<String>,
}

/// A client certificate chain with its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, our certificate first.
    pub chain: Vec<u8>,
    /// The private key.
    pub key: Vec<u8>,
}

// Keys and tokens must not reach a log by way of `{:?}`.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("ca", &self.ca.is_some())
            .field("certificate", &self.certificate.is_some())
            .field("token", &self.token.is_some())
            .finish()
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientCertificate")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let credentials = Credentials {
            ca: None,
            certificate: Some(ClientCertificate { chain: b"c".to_vec(), key: b"s3cret".to_vec() }),
            token: Some("t0ken".to_owned()),
        };
        let printed = format!("{credentials:?}");
        assert_eq!(printed, "Credentials { ca: false, certificate: true, token: true }");
    }
}
