//! Any HTTPS server.

use evenkeel_core::units::Span;
use evenkeel_health::HealthConfig;
use evenkeel_health::probe::{HttpsProbe, Probe};
use serde_json::json;

/// `/` over TLS, every two seconds: it may be somebody's start page.
pub(super) fn defaults() -> serde_json::Value {
    let health = HealthConfig {
        interval: Span::from_secs(2),
        probe: Probe::Https(HttpsProbe { path: "/".to_owned(), ..HttpsProbe::default() }),
        ..HealthConfig::default()
    };
    json!({ "health": health })
}
