//! Reads a kubeconfig into a [`ClusterAccess`]: files and embedded data alike become bytes.
//!
//! A balancer starts no commands to log in (`exec`, `auth-provider`): it must work when everything
//! else does not. Such a context still gives the CA, and says in `unsupported` what is left out.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use evenkeel_core::credentials::{ClientCertificate, Credentials};
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig};
use serde::Deserialize;

use crate::access::{ClusterAccess, ServerError};

/// Why a kubeconfig gives no access.
#[derive(Debug, thiserror::Error)]
pub enum KubeconfigError {
    /// The kubeconfig, or a file that it names, cannot be read.
    #[error("could not read {what} {path}", path = .path.display())]
    Unreadable {
        /// Which file it is: `kubeconfig`, or the key that names it.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no kubeconfig.
    #[error("{path} is not a kubeconfig", path = .path.display())]
    Malformed {
        /// The kubeconfig.
        path: PathBuf,
        /// Where it is wrong.
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither we nor `current-context` say which context to take.
    #[error("{path} has no `current-context`: name one of {known}", path = .path.display())]
    NoContext {
        /// The kubeconfig.
        path: PathBuf,
        /// The contexts that it has.
        known: String,
    },
    /// A context, cluster or user is named that is not there.
    #[error("{path} has no {what} `{name}`: it has {known}", path = .path.display())]
    Missing {
        /// The kubeconfig.
        path: PathBuf,
        /// `context`, `cluster` or `user`.
        what: &'static str,
        /// The name that is asked for.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// The cluster has no `server`.
    #[error("cluster `{cluster}` in {path} has no `server`", path = .path.display())]
    NoServer {
        /// The kubeconfig.
        path: PathBuf,
        /// The cluster.
        cluster: String,
    },
    /// The cluster's `server` is not the URL of an API server.
    #[error("`server` of cluster `{cluster}` in {path} cannot be used", path = .path.display())]
    Server {
        /// The kubeconfig.
        path: PathBuf,
        /// The cluster.
        cluster: String,
        /// Why.
        source: ServerError,
    },
    /// A `...-data` key is not base64.
    #[error("`{key}` in {path} is not base64", path = .path.display())]
    Base64 {
        /// The kubeconfig.
        path: PathBuf,
        /// The key.
        key: &'static str,
        /// Where it is wrong.
        source: base64::DecodeError,
    },
    /// A client certificate without its key, or a key without its certificate.
    #[error("user `{user}` in {path} has `{has}` and no `{lacks}`", path = .path.display())]
    HalfACertificate {
        /// The kubeconfig.
        path: PathBuf,
        /// The user.
        user: String,
        /// The key that is there.
        has: &'static str,
        /// The key that is not.
        lacks: &'static str,
    },
}

/// Reads the kubeconfig at `path`, and every file that it names; relative ones are relative to it.
/// Takes `context`, or else its `current-context`. Blocks on the file system.
///
/// # Errors
/// Says what is wrong, and in which file or key.
pub fn read(path: &Path, context: Option<&str>) -> Result<ClusterAccess, KubeconfigError> {
    let text = read_file("kubeconfig", path)?;
    let kubeconfig = Kubeconfig::from_yaml(&String::from_utf8_lossy(&text)).map_err(|source| {
        KubeconfigError::Malformed { path: path.to_owned(), source: Box::new(source) }
    })?;
    Reader { path, kubeconfig }.read(context)
}

struct Reader<'a> {
    path: &'a Path,
    kubeconfig: Kubeconfig,
}

impl Reader<'_> {
    fn read(&self, context: Option<&str>) -> Result<ClusterAccess, KubeconfigError> {
        let context = self.context(context)?;
        let cluster = self.cluster(&context.cluster)?;
        let nobody = AuthInfo::default();
        let user_name = context.user.as_deref().unwrap_or_default();
        let user = if user_name.is_empty() { &nobody } else { self.user(user_name)? };

        let url = cluster.server.as_deref().ok_or_else(|| KubeconfigError::NoServer {
            path: self.path.to_owned(),
            cluster: context.cluster.clone(),
        })?;
        let server = url.parse().map_err(|source| KubeconfigError::Server {
            path: self.path.to_owned(),
            cluster: context.cluster.clone(),
            source,
        })?;
        let credentials = Credentials {
            ca: self.data_or_file(
                "certificate-authority-data",
                cluster.certificate_authority_data.as_deref(),
                "certificate-authority",
                cluster.certificate_authority.as_deref(),
            )?,
            certificate: self.certificate(user_name, user)?,
            token: self.token(user)?,
        };
        Ok(ClusterAccess {
            server,
            tls_server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
            credentials,
            namespace: context.namespace.clone().unwrap_or_else(|| "default".to_owned()),
            insecure: cluster.insecure_skip_tls_verify.unwrap_or(false),
            unsupported: unsupported(&context.cluster, cluster, user_name, user),
        })
    }

    fn context(&self, name: Option<&str>) -> Result<&Context, KubeconfigError> {
        let contexts = &self.kubeconfig.contexts;
        let known = || listing(contexts.iter().map(|named| named.name.as_str()));
        let name = name
            .or(self.kubeconfig.current_context.as_deref())
            .filter(|name| !name.is_empty())
            .ok_or_else(|| KubeconfigError::NoContext {
                path: self.path.to_owned(),
                known: known(),
            })?;
        contexts
            .iter()
            .find(|named| named.name == name)
            .and_then(|named| named.context.as_ref())
            .ok_or_else(|| self.missing("context", name, known()))
    }

    fn cluster(&self, name: &str) -> Result<&Cluster, KubeconfigError> {
        let clusters = &self.kubeconfig.clusters;
        clusters
            .iter()
            .find(|named| named.name == name)
            .and_then(|named| named.cluster.as_ref())
            .ok_or_else(|| {
                let known = listing(clusters.iter().map(|named| named.name.as_str()));
                self.missing("cluster", name, known)
            })
    }

    fn user(&self, name: &str) -> Result<&AuthInfo, KubeconfigError> {
        let users = &self.kubeconfig.auth_infos;
        users
            .iter()
            .find(|named| named.name == name)
            .and_then(|named| named.auth_info.as_ref())
            .ok_or_else(|| {
                let known = listing(users.iter().map(|named| named.name.as_str()));
                self.missing("user", name, known)
            })
    }

    fn certificate(
        &self,
        name: &str,
        user: &AuthInfo,
    ) -> Result<Option<ClientCertificate>, KubeconfigError> {
        let chain = self.data_or_file(
            "client-certificate-data",
            user.client_certificate_data.as_deref(),
            "client-certificate",
            user.client_certificate.as_deref(),
        )?;
        let key = self.data_or_file(
            "client-key-data",
            Secrets::of(user).client_key_data.as_deref(),
            "client-key",
            user.client_key.as_deref(),
        )?;
        let half = |has, lacks| {
            Err(KubeconfigError::HalfACertificate {
                path: self.path.to_owned(),
                user: name.to_owned(),
                has,
                lacks,
            })
        };
        match (chain, key) {
            (Some(chain), Some(key)) => Ok(Some(ClientCertificate { chain, key })),
            (None, None) => Ok(None),
            (Some(_), None) => half("client-certificate", "client-key"),
            (None, Some(_)) => half("client-key", "client-certificate"),
        }
    }

    /// As kubectl does, the token itself goes before a file of it.
    fn token(&self, user: &AuthInfo) -> Result<Option<String>, KubeconfigError> {
        let token = match (Secrets::of(user).token, user.token_file.as_deref()) {
            (Some(token), _) => token,
            (None, Some(file)) if !file.is_empty() => {
                let bytes = read_file("tokenFile", &self.beside(file))?;
                String::from_utf8_lossy(&bytes).into_owned()
            }
            (None, _) => return Ok(None),
        };
        Ok(Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
    }

    /// As kubectl does, data goes before a file.
    fn data_or_file(
        &self,
        data_key: &'static str,
        data: Option<&str>,
        file_key: &'static str,
        file: Option<&str>,
    ) -> Result<Option<Vec<u8>>, KubeconfigError> {
        match (data.filter(|data| !data.is_empty()), file.filter(|file| !file.is_empty())) {
            (Some(data), _) => {
                // YAML's folded text has spaces where its lines end.
                let data: String = data.split_ascii_whitespace().collect();
                let bytes = BASE64_STANDARD.decode(data).map_err(|source| {
                    KubeconfigError::Base64 { path: self.path.to_owned(), key: data_key, source }
                })?;
                Ok(Some(bytes))
            }
            (None, Some(file)) => read_file(file_key, &self.beside(file)).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn beside(&self, file: &str) -> PathBuf {
        self.path.with_file_name(file)
    }

    fn missing(&self, what: &'static str, name: &str, known: String) -> KubeconfigError {
        KubeconfigError::Missing { path: self.path.to_owned(), what, name: name.to_owned(), known }
    }
}

/// What kube keeps under lock. It gives them out to the crate `secrecy`, or to serde.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Secrets {
    token: Option<String>,
    client_key_data: Option<String>,
}

impl Secrets {
    fn of(user: &AuthInfo) -> Self {
        let secrets = serde_json::to_value(user).and_then(serde_json::from_value);
        secrets.expect("what came out of YAML goes into JSON and back")
    }
}

/// What the context asks for and does not get from us.
fn unsupported(
    cluster_name: &str,
    cluster: &Cluster,
    user_name: &str,
    user: &AuthInfo,
) -> Vec<String> {
    const INSTEAD: &str = "use a client certificate or a token";
    let mut lines = Vec::new();
    if let Some(exec) = &user.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        lines.push(format!(
            "user `{user_name}` logs in with the command `{command}` (`exec`), and a balancer runs no commands: {INSTEAD}"
        ));
    }
    if let Some(auth) = &user.auth_provider {
        let name = &auth.name;
        lines.push(format!(
            "user `{user_name}` logs in with the `auth-provider` `{name}`, which is not supported: {INSTEAD}"
        ));
    }
    if user.username.is_some() || user.password.is_some() {
        lines.push(format!(
            "user `{user_name}` has a password, which Kubernetes takes no more: {INSTEAD}"
        ));
    }
    if user.impersonate.is_some() {
        lines.push(format!("`as` of user `{user_name}` is ignored: we ask as the user itself"));
    }
    if cluster.proxy_url.is_some() {
        lines.push(format!(
            "`proxy-url` of cluster `{cluster_name}` is ignored: API servers are reached directly"
        ));
    }
    lines
}

fn listing<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn read_file(what: &'static str, path: &Path) -> Result<Vec<u8>, KubeconfigError> {
    std::fs::read(path).map_err(|source| KubeconfigError::Unreadable {
        what,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
