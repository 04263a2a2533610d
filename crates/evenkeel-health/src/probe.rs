//! The kinds of probe, and one attempt of one.
//!
//! ```text
//! connect::connect -> handshake::handshake -> request::Exchange::get -> a class
//!                                             liveness::beside, while the answer is awaited
//! ```
//!
//! Each attempt opens a connection of its own: a kept one would hide that nobody listens any
//! more, and proves nothing about the path for new ones.

use evenkeel_core::endpoint::Endpoint;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::attempt::{Attempt, Progress, Record};
use crate::config::HealthConfig;
use crate::trust::Trust;

mod connect;
mod failure;
mod handshake;
mod https;
mod kube_apiserver;
mod liveness;
mod request;
mod target;
mod tcp;
mod tls;
mod version;

pub use https::HttpsProbe;
pub use kube_apiserver::KubeApiserverProbe;
pub use tcp::TcpProbe;
pub use tls::TlsProbe;
pub use version::{Version, version};

/// What a probe asks of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Probe {
    /// Whether it accepts a TCP connection.
    Tcp(#[garde(dive)] TcpProbe),
    /// Whether it completes a TLS handshake.
    Tls(#[garde(dive)] TlsProbe),
    /// What it answers to one GET over HTTPS.
    Https(#[garde(dive)] HttpsProbe),
    /// What a kube-apiserver answers to `/readyz` and, if that fails, to the questions that tell
    /// why.
    KubeApiserver(#[garde(dive)] KubeApiserverProbe),
}

impl Default for Probe {
    fn default() -> Self {
        Self::Tcp(TcpProbe {})
    }
}

impl Probe {
    /// The key of the kind in the config.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Tls(_) => "tls",
            Self::Https(_) => "https",
            Self::KubeApiserver(_) => "kubeApiserver",
        }
    }
}

/// Probes the endpoint once, on a connection of its own, with the timeouts of `config`.
///
/// # Cancel safety
/// Dropping it closes what it opened; nothing is left behind.
pub async fn attempt(config: &HealthConfig, trust: &Trust, endpoint: Endpoint) -> Attempt {
    run(config, trust, endpoint, Record::default()).await
}

/// As [`attempt`], and shows meanwhile how far it has come.
pub(crate) async fn attempt_shown(
    config: &HealthConfig,
    trust: &Trust,
    endpoint: Endpoint,
    progress: Progress,
) -> Attempt {
    run(config, trust, endpoint, Record::shown_by(progress)).await
}

async fn run(
    config: &HealthConfig,
    trust: &Trust,
    endpoint: Endpoint,
    mut record: Record,
) -> Attempt {
    let seen = match &config.probe {
        Probe::Tcp(_) => tcp::attempt(config, endpoint, &mut record).await,
        Probe::Tls(probe) => probe.attempt(config, trust, endpoint, &mut record).await,
        Probe::Https(probe) => probe.attempt(config, trust, endpoint, &mut record).await,
        Probe::KubeApiserver(probe) => probe.attempt(config, trust, endpoint, &mut record).await,
    };
    match seen {
        Ok(seen) | Err(seen) => record.end(&seen),
    }
}

#[cfg(test)]
mod tests;
