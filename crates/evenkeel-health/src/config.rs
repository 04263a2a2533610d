//! The key `health` of a service.

use evenkeel_core::units::{Span, between};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::probe::Probe;

/// How the endpoints of a service are probed.
///
/// `evenkeel check` says how long it takes at worst until an endpoint that fails is avoided, and its
/// connections are reset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HealthConfig {
    /// Time from one probe of an endpoint to the next; each pause is up to a tenth shorter, so
    /// that many balancers do not beat in step. `100ms` to `1m`; default `500ms`, with the preset
    /// `argocd-server` `1s`, with `https` and `tcp` `2s`.
    #[garde(custom(between(Span::from_millis(100), Span::from_secs(60))))]
    pub interval: Span,

    /// Longest wait for the TCP connection of a probe. `50ms` to `30s`; default `1200ms`: a lost SYN
    /// is sent again after a second. An endpoint that takes longer than usual is suspected before,
    /// and dead before if what clients send it is not acknowledged either.
    #[garde(custom(between(Span::from_millis(50), Span::from_secs(30))))]
    pub connect_timeout: Span,

    /// Longest wait for the TLS handshake of a probe. `50ms` to `30s`; default `1s`.
    #[garde(custom(between(Span::from_millis(50), Span::from_secs(30))))]
    pub tls_timeout: Span,

    /// Longest wait for an answer. Meanwhile the endpoint is asked for a TLS handshake again and
    /// again, so a process that freezes is noticed without waiting this long. `100ms` to `1m`;
    /// default `5s`: two etcd checks of 2 s each run one after the other, so that a hung etcd is
    /// told apart from a server that gives no answer at all.
    #[garde(custom(between(Span::from_millis(100), Span::from_secs(60))))]
    pub answer_timeout: Span,

    /// Successes in a row that make an unready or dead endpoint ready. The first outcome ever
    /// counts at once, and one success clears the suspicion of a single silent outcome. 1 to 100;
    /// default 2.
    #[garde(range(min = 1, max = 100))]
    pub rise: u32,

    /// Silent outcomes in a row that make an endpoint dead, so that its open connections are
    /// reset; two silent probes at once are enough while clients wait for it in vain. An answer that
    /// it is not ready counts at once. 1 to 100; default 2.
    #[garde(range(min = 1, max = 100))]
    pub fall: u32,

    /// What is asked: `tcp`, `tls`, `https` or `kubeApiserver`. Default: what fits the preset.
    #[garde(dive)]
    pub probe: Probe,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            interval: Span::from_millis(500),
            connect_timeout: Span::from_millis(1200),
            tls_timeout: Span::from_secs(1),
            answer_timeout: Span::from_secs(5),
            rise: 2,
            fall: 2,
            probe: Probe::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Result<HealthConfig, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn an_empty_table_is_the_default() {
        assert_eq!(read(json!({})).unwrap(), HealthConfig::default());
        HealthConfig::default().validate().unwrap();
    }

    #[test]
    fn a_misspelt_key_is_told_at_every_level() {
        for value in [
            json!({"intervall": "1s"}),
            json!({"probe": {"tcp": {"port": 1}}}),
            json!({"probe": {"https": {"pfad": "/"}}}),
            json!({"probe": {"kubeApiserver": {"path": "/readyz"}}}),
            json!({"probe": {"icmp": {}}}),
        ] {
            assert!(read(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn every_kind_of_probe_reads_and_writes_back() {
        for probe in [
            json!({"tcp": {}}),
            json!({"tls": {"serverName": "argocd.example", "verify": "never"}}),
            json!({"https": {"path": "/healthz", "serverName": null, "verify": "auto", "expect": [200, 204]}}),
            json!({"kubeApiserver": {"serverName": "kubernetes.default.svc"}}),
        ] {
            let config = read(json!({ "probe": probe })).unwrap();
            config.validate().unwrap();
            assert_eq!(serde_json::to_value(&config).unwrap()["probe"], probe);
        }
    }

    #[test]
    fn every_broken_rule_is_named_in_one_run() {
        let config = read(json!({
            "interval": "5ms", "connectTimeout": "40ms", "tlsTimeout": "31s",
            "answerTimeout": "2m", "rise": 0, "fall": 101,
            "probe": {"https": {"path": "healthz", "serverName": "a b", "expect": []}},
        }))
        .unwrap();
        let report = config.validate().unwrap_err().to_string();
        for key in [
            "interval",
            "connect_timeout",
            "tls_timeout",
            "answer_timeout",
            "rise",
            "fall",
            "path",
            "server_name",
            "expect",
        ] {
            assert!(report.contains(key), "{key} is missing in:\n{report}");
        }
    }
}
