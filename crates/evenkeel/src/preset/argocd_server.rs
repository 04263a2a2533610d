//! ArgoCD's server, which speaks TLS with a certificate of its own making unless told otherwise.

use evenkeel_core::units::Span;
use evenkeel_health::probe::{HttpsProbe, Probe};
use evenkeel_health::{HealthConfig, Verify};
use serde_json::json;

/// `/healthz` over TLS. A change of its url, OIDC, dex or webhook settings restarts the listeners
/// of all replicas together, so that a client may have to wait a little for one to accept.
pub(super) fn defaults() -> serde_json::Value {
    let health = HealthConfig {
        interval: Span::from_secs(1),
        probe: Probe::Https(HttpsProbe {
            path: "/healthz".to_owned(),
            verify: Verify::Never,
            ..HttpsProbe::default()
        }),
        ..HealthConfig::default()
    };
    json!({ "health": health })
}
