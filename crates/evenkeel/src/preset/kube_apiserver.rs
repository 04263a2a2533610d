//! Kubernetes API servers.

use evenkeel_core::tolerance::Quorum;
use evenkeel_health::HealthConfig;
use evenkeel_health::probe::{KubeApiserverProbe, Probe};
use serde_json::json;

/// `/readyz` over TLS, and a majority of the members for etcd's sake.
pub(super) fn defaults() -> serde_json::Value {
    let health = HealthConfig {
        probe: Probe::KubeApiserver(KubeApiserverProbe::default()),
        ..HealthConfig::default()
    };
    json!({ "health": health, "quorum": Quorum::Stacked })
}
