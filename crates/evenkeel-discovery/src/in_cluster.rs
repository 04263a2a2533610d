//! Access from within a pod, by the service account that the kubelet mounts.

use std::io;
use std::path::{Path, PathBuf};

use evenkeel_core::credentials::Credentials;

use crate::access::{ClusterAccess, Server};

/// Where the kubelet mounts a pod's service account.
pub const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why there is no access from within a pod.
#[derive(Debug, thiserror::Error)]
pub enum InClusterError {
    /// The variables that every pod has are not set.
    #[error("this is no pod: KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set")]
    NoPod,
    /// `KUBERNETES_SERVICE_PORT` is no port.
    #[error("KUBERNETES_SERVICE_PORT is `{0}`, which is no port")]
    Port(String),
    /// A file of the service account cannot be read: `automountServiceAccountToken` is off, or we
    /// run as a user who may not.
    #[error("could not read {path} of the service account", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the service account in `directory`, in a pod [`SERVICE_ACCOUNT`]. `host` and `port` are
/// the values of `KUBERNETES_SERVICE_HOST` and `KUBERNETES_SERVICE_PORT`. Blocks on the file
/// system. The token is replaced about hourly: read it again.
///
/// # Errors
/// Says what is missing.
pub fn read(
    directory: &Path,
    host: Option<&str>,
    port: Option<&str>,
) -> Result<ClusterAccess, InClusterError> {
    let (Some(host), Some(port)) = (host, port) else {
        return Err(InClusterError::NoPod);
    };
    let number = port.parse().map_err(|_not_a_number| InClusterError::Port(port.to_owned()))?;
    let file = |name: &str| {
        let path = directory.join(name);
        std::fs::read(&path).map_err(|source| InClusterError::Unreadable { path, source })
    };
    let ca = file("ca.crt")?;
    let token = String::from_utf8_lossy(&file("token")?).trim().to_owned();
    // The namespace is a comfort: its absence is no reason to fail.
    let namespace =
        file("namespace").ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(ClusterAccess {
        server: Server { host: host.to_owned(), port: number },
        tls_server_name: None,
        credentials: Credentials { ca: Some(ca), certificate: None, token: Some(token) },
        namespace: namespace.map_or_else(|| "default".to_owned(), |name| name.trim().to_owned()),
        insecure: false,
        unsupported: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_account_is_a_ca_and_a_token() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.crt"), "ca").unwrap();
        std::fs::write(directory.path().join("token"), "t0ken\n").unwrap();
        let access = read(directory.path(), Some("10.96.0.1"), Some("443")).unwrap();
        assert_eq!(access.server.to_string(), "https://10.96.0.1:443");
        assert_eq!(access.credentials.ca.as_deref(), Some(&b"ca"[..]));
        assert_eq!(access.credentials.token.as_deref(), Some("t0ken"));
        assert_eq!(access.namespace, "default");
    }

    #[test]
    fn outside_a_pod_it_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(directory.path(), None, Some("443")).unwrap_err();
        assert!(matches!(error, InClusterError::NoPod), "{error}");
        let error = read(directory.path(), Some("10.96.0.1"), Some("tcp://x")).unwrap_err();
        assert!(matches!(error, InClusterError::Port(_)), "{error}");
        let error = read(directory.path(), Some("10.96.0.1"), Some("443")).unwrap_err();
        assert!(error.to_string().contains("ca.crt"), "{error}");
    }
}
