//! What is right for a kind of server: fills in what a service does not say.
//!
//! To add one: a file in `preset/` with its `defaults`, then the `mod` line, the variant and the
//! `match` arm here. What a preset fills in are values of the config's own types, so that it can
//! fill in nothing that a user could not write.

mod argocd_server;
mod https;
mod kube_apiserver;
mod tcp;

use serde::{Deserialize, Serialize};

/// A preset: the key `services[].preset`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preset {
    /// Kubernetes API servers: asks `/readyz` over verified TLS, and why where it fails.
    KubeApiserver,
    /// ArgoCD's server: asks `/healthz` over TLS.
    ArgocdServer,
    /// Any HTTPS server: asks `/` over TLS.
    Https,
    /// Any TCP server: connects.
    #[default]
    Tcp,
}

impl Preset {
    /// The keys of a service that the preset fills in.
    pub(crate) fn defaults(self) -> serde_json::Value {
        match self {
            Self::KubeApiserver => kube_apiserver::defaults(),
            Self::ArgocdServer => argocd_server::defaults(),
            Self::Https => https::defaults(),
            Self::Tcp => tcp::defaults(),
        }
    }
}

impl std::fmt::Display for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::KubeApiserver => "kube-apiserver",
            Self::ArgocdServer => "argocd-server",
            Self::Https => "https",
            Self::Tcp => "tcp",
        })
    }
}
