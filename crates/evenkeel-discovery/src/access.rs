//! How a cluster is reached and trusted: what a kubeconfig, or the files of a pod, boil down to.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use evenkeel_core::credentials::Credentials;
use tokio::sync::watch;

use crate::members::Members;

/// The name that every API server's certificate has, whatever address it is reached at: a SAN on
/// kubeadm, k3s, RKE2, k0s, microk8s and Talos.
pub const API_SERVER_NAME: &str = "kubernetes.default.svc";

/// Longest wait for the addresses of a name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// A cluster, as a kubeconfig's context or the files of a pod describe it. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAccess {
    /// Where it says that the API is: one address of many, perhaps our own.
    pub server: Server,
    /// The name that it wants certificates checked for, if another than [`API_SERVER_NAME`].
    pub tls_server_name: Option<String>,
    /// The CA, and what we show of ourselves.
    pub credentials: Credentials,
    /// The namespace of the context; `default` where it names none.
    pub namespace: String,
    /// Whether it says that certificates are not to be checked.
    pub insecure: bool,
    /// What it asks for and does not get, in words, one line each.
    pub unsupported: Vec<String>,
}

impl ClusterAccess {
    /// The name that certificates are checked for.
    pub fn server_name(&self) -> &str {
        self.tls_server_name.as_deref().unwrap_or(API_SERVER_NAME)
    }
}

/// What a source needs to ask the API: how the cluster is trusted, which may change, and through
/// which API servers it is asked. Clones share both.
#[derive(Clone, Debug)]
pub struct ApiAccess {
    /// How the cluster is trusted now. A change, a new token for example, makes a new client.
    pub access: watch::Receiver<Option<ClusterAccess>>,
    /// The API servers to ask.
    pub members: Members,
}

/// Where an API server is: a host, which may be a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an IP address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is not the URL of an API server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// Another scheme: credentials go over TLS only.
    #[error("`{0}` does not begin with https://")]
    NotHttps(String),
    /// No host, or a port that is none.
    #[error("`{0}` is not a URL: write https://10.0.0.11:6443")]
    NotAUrl(String),
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(url: &str) -> Result<Self, ServerError> {
        let rest =
            url.strip_prefix("https://").ok_or_else(|| ServerError::NotHttps(url.to_owned()))?;
        let not = || ServerError::NotAUrl(url.to_owned());
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (host, port) = if let Some(bracketed) = authority.strip_prefix('[') {
            let (host, after) = bracketed.split_once(']').ok_or_else(not)?;
            host.parse::<Ipv6Addr>().map_err(|_not_ipv6| not())?;
            let port = if after.is_empty() { Some("443") } else { after.strip_prefix(':') };
            (host, port)
        } else {
            let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
            (host, Some(port))
        };
        if host.is_empty() || host.contains(['@', ' ']) {
            return Err(not());
        }
        let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
        Ok(Self { host: host.to_owned(), port: port.ok_or_else(not)? })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(ip) => write!(f, "https://{}", SocketAddr::new(ip, self.port)),
            Err(_a_name) => write!(f, "https://{}:{}", self.host, self.port),
        }
    }
}

/// The addresses of a server, in the resolver's order, each once.
///
/// # Errors
/// What the resolver says, or `TimedOut` after five seconds.
///
/// # Cancel safety
/// May be dropped; nothing is kept.
pub async fn resolve_server(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let lookup = tokio::net::lookup_host((host, port));
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await?? {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_host_and_a_port() {
        let table = [
            ("https://10.0.0.11:6443", "10.0.0.11", 6443),
            ("https://api.example.com", "api.example.com", 443),
            ("https://api.example.com:8443/k8s/clusters/c-1", "api.example.com", 8443),
            ("https://[fd00::11]:6443/", "fd00::11", 6443),
            ("https://[fd00::11]", "fd00::11", 443),
        ];
        for (url, host, port) in table {
            let server: Server = url.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{url}");
        }
    }

    #[test]
    fn a_url_that_is_none_is_refused() {
        for url in [
            "",
            "http://10.0.0.11:8080",
            "10.0.0.11:6443",
            "https://",
            "https://:6443",
            "https://a:b",
            "https://a:0",
            "https://a:70000",
            "https://[fd00::11",
            "https://[fd00::11]6443",
            "https://[api]:6443",
            "https://user@a:1",
        ] {
            assert!(url.parse::<Server>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_server_is_shown_as_a_url() {
        for url in ["https://10.0.0.11:6443", "https://[fd00::11]:6443", "https://api:443"] {
            assert_eq!(url.parse::<Server>().unwrap().to_string(), url);
        }
    }

    #[tokio::test]
    async fn an_address_resolves_to_itself() {
        let addresses = resolve_server("127.0.0.1", 6443).await.unwrap();
        assert_eq!(addresses, ["127.0.0.1:6443".parse().unwrap()]);
    }
}
