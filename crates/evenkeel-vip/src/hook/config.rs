//! The key `hook` of a virtual IP.

use std::net::IpAddr;

use evenkeel_core::units::{Span, between};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exec::ExecHook;
use super::http::HttpHook;
use crate::class::Rank;
use crate::config::centiseconds;

/// What moves an address that a provider routes: an elastic or floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HookConfig {
    /// What is called: `exec`, a program, or `http`, a server on this host.
    #[garde(dive)]
    pub call: HookCall,
    /// The nodes among which the owner is elected, by adverts from one to the other. All nodes may
    /// stand here; none sends to itself. From 1 to 32, of the family of the VIP's addresses.
    #[serde(default)]
    #[garde(length(max = 32))]
    pub peers: Vec<IpAddr>,
    /// The VRRP group: 1 to 255. Default: the last number of the first address.
    #[serde(default)]
    #[schemars(range(min = 1, max = 255))]
    #[garde(inner(range(min = 1, max = 255)))]
    pub vrid: Option<u8>,
    /// Which of several nodes that serve takes over first: the greater, the sooner. From 0 to 47;
    /// default: by the node's own address.
    #[serde(default)]
    #[schemars(range(min = 0, max = 47))]
    #[garde(inner(range(min = 0, max = Rank::MOST)))]
    pub rank: Option<u8>,
    /// Time between two adverts of the owner: hundredths of a second, `10ms` to `40s`; default
    /// `500ms`. A provider takes seconds to move an address, so there is no hurry.
    #[serde(default = "default_interval")]
    #[garde(custom(between(Span::from_millis(10), Span::from_secs(40))), custom(centiseconds))]
    pub interval: Span,
    /// Whether the addresses are put on the interface of the owner too, for providers that deliver
    /// packets for them as they are. Default `false`: the provider translates them to the node's
    /// own, or they are on every node already.
    #[serde(default)]
    #[garde(skip)]
    pub assign: bool,
    /// Longest wait for one call; then it is ended. Also how long, after an `acquire` that said it
    /// was done, `owner` may still name another node. From `1s` to `5m`; default `30s`.
    #[serde(default = "default_timeout")]
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(300))))]
    pub timeout: Span,
    /// Time from one question to the next whether the address is still ours. From `5s` to `1h`;
    /// default `1m`.
    #[serde(default = "default_verify_interval")]
    #[garde(custom(between(Span::from_secs(5), Span::from_secs(3600))))]
    pub verify_interval: Span,
    /// Calls of `acquire` within an hour, whether they succeed or not; further ones wait. It keeps
    /// two nodes that cannot hear each other from moving the address back and forth, and is to be
    /// lower than what the provider allows. From 1 to 1000; default 10.
    #[serde(default = "default_max_moves_per_hour")]
    #[garde(range(min = 1, max = 1000))]
    pub max_moves_per_hour: u32,
    /// Whether `release` is called when the address is given up and no other node has taken it.
    /// Nothing depends on it: another node takes the address in any case. Default `true`.
    #[serde(default = "default_release")]
    #[garde(skip)]
    pub release: bool,
}

fn default_timeout() -> Span {
    Span::from_secs(30)
}

fn default_interval() -> Span {
    Span::from_millis(500)
}

fn default_verify_interval() -> Span {
    Span::from_secs(60)
}

fn default_max_moves_per_hour() -> u32 {
    10
}

fn default_release() -> bool {
    true
}

impl HookConfig {
    /// A hook that is called so, the rest as by default.
    pub fn calling(call: HookCall) -> Self {
        Self {
            call,
            peers: Vec::new(),
            vrid: None,
            rank: None,
            interval: default_interval(),
            assign: false,
            timeout: default_timeout(),
            verify_interval: default_verify_interval(),
            max_moves_per_hour: default_max_moves_per_hour(),
            release: default_release(),
        }
    }
}

/// How a hook is called: the key `call`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HookCall {
    /// A program is started for each call.
    Exec(#[garde(dive)] ExecHook),
    /// A server on this host is asked.
    Http(#[garde(dive)] HttpHook),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<HookConfig, String> {
        let config: HookConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.validate().map_err(|report| report.to_string())?;
        Ok(config)
    }

    #[test]
    fn a_call_is_enough_and_what_is_written_reads_back() {
        for json in [
            r#"{"call":{"exec":{"command":["/etc/evenkeel/hooks/aws","--loud"]}}}"#,
            r#"{"call":{"http":{"url":"http://127.0.0.1:9000"}}}"#,
            r#"{"call":{"http":{"url":"http://[::1]:9000/vip"}}}"#,
        ] {
            let config = parse(json).unwrap();
            assert_eq!(config, HookConfig::calling(config.call.clone()));
            let written = serde_json::to_string(&config).unwrap();
            assert!(written.starts_with(json.trim_end_matches('}')), "{written}");
            assert_eq!(parse(&written).unwrap(), config);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let exec = r#""call": {"exec": {"command": ["/hook"]}}"#;
        let table = [
            ("{}".to_owned(), "missing field `call`"),
            (
                r#"{"call": {"grpc": {}}}"#.to_owned(),
                "unknown variant `grpc`, expected `exec` or `http`",
            ),
            (r#"{"call": {"exec": {"command": []}}}"#.to_owned(), "length is lower than 1"),
            (r#"{"call": {"exec": {"command": [""]}}}"#.to_owned(), "`command` names no program"),
            (r#"{"call": {"exec": {"shell": "x"}}}"#.to_owned(), "unknown field `shell`"),
            (format!("{{{exec}, \"timeout\": \"10ms\"}}"), "10ms is shorter than 1s"),
            (format!("{{{exec}, \"verifyInterval\": \"2h\"}}"), "2h is longer than 1h"),
            (format!("{{{exec}, \"maxMovesPerHour\": 0}}"), "lower than 1"),
            (format!("{{{exec}, \"retries\": 3}}"), "unknown field `retries`"),
        ];
        for (json, expected) in table {
            let error = parse(&json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
