//! Kubernetes API servers.

use evenkeel_core::tolerance::Quorum;
use evenkeel_core::units::Span;
use evenkeel_health::HealthConfig;
use evenkeel_health::probe::{KubeApiserverProbe, Probe};
use serde_json::json;

use crate::config::{DrainConfig, FailoverConfig};

/// `/readyz` over TLS, a majority of the members for etcd's sake, and an end to drains: a server
/// ends its own connections within its shutdown delay and the minute after it that it waits for
/// requests, and without its etcd it answers nothing but errors.
pub(super) fn defaults() -> serde_json::Value {
    let health = HealthConfig {
        probe: Probe::KubeApiserver(KubeApiserverProbe::default()),
        ..HealthConfig::default()
    };
    let drain = DrainConfig {
        shutting_down: Some(Span::from_secs(180)),
        refused: Some(Span::from_secs(75)),
        etcd_unready: Some(Span::from_secs(30)),
        left: Some(Span::from_secs(180)),
    };
    let failover = FailoverConfig { drain, ..FailoverConfig::default() };
    json!({ "health": health, "failover": failover, "quorum": Quorum::Stacked })
}
