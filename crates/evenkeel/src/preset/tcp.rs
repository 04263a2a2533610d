//! Any TCP server.

use evenkeel_core::units::Span;
use evenkeel_health::HealthConfig;
use evenkeel_health::probe::{Probe, TcpProbe};
use serde_json::json;

/// A connect every two seconds, since a server that logs its connections logs these too.
pub(super) fn defaults() -> serde_json::Value {
    let health = HealthConfig {
        interval: Span::from_secs(2),
        probe: Probe::Tcp(TcpProbe::default()),
        ..HealthConfig::default()
    };
    json!({ "health": health })
}
