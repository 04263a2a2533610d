//! The key `services[].failover`.

use std::time::Duration;

use evenkeel_core::decision::Caps;
use evenkeel_core::units::{Span, between};
use garde::Validate;
use serde::{Deserialize, Serialize};

/// What is done, and how fast, about endpoints that fail and come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct FailoverConfig {
    /// How long the connections of a silent endpoint are not reset while no other endpoint is heard
    /// either, since the fault may be ours. From `0s` to `10m`; default `15s`.
    #[garde(custom(between(Span::from_secs(0), Span::from_secs(600))))]
    pub(crate) brake: Span,
    /// How long open connections of a drained endpoint may go on, as long as another is ready.
    #[garde(dive)]
    pub(crate) drain: DrainConfig,
    /// Connections a second that are reset, where an endpoint dies that has many; the first few and
    /// those that are in use are reset at once. It is an eighth while the survivors answer slowly.
    /// From 1 to 100000; default 1000.
    #[garde(range(min = 1, max = 100_000))]
    pub(crate) reset_rate: u32,
    /// How long the endpoints still take connections after they have said that they shut down:
    /// kube-apiserver's `--shutdown-delay-duration`. Only `evenkeel check` uses it, to warn where
    /// that is too short to be noticed. From `0s` to `10m`; default none.
    #[garde(inner(custom(between(Span::from_secs(0), Span::from_secs(600)))))]
    pub(crate) shutdown_delay: Option<Span>,
    /// How long an endpoint that has come back takes to get its full share of new connections. From
    /// `0s` to `10m`; default `30s`.
    #[garde(custom(between(Span::from_secs(0), Span::from_secs(600))))]
    pub(crate) slow_start: Span,
    /// Whether and how connections are spread anew, where one endpoint has far more than the rest.
    #[garde(dive)]
    pub(crate) rebalance: RebalanceConfig,
}

impl Default for FailoverConfig {
    fn default() -> Self {
        Self {
            brake: Span::from_secs(15),
            drain: DrainConfig::default(),
            reset_rate: 1000,
            shutdown_delay: None,
            slow_start: Span::from_secs(30),
            rebalance: RebalanceConfig::default(),
        }
    }
}

/// How connections are spread anew after a rolling restart: the key `rebalance`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RebalanceConfig {
    /// `off`, `dryRun` (only events and the metric `evenkeel_service_skew_ratio` tell what would be
    /// done) or `on`: idle connections of the endpoint that has most are ended, and their clients
    /// come back to the one that has fewest. Default `off`.
    #[garde(skip)]
    pub(crate) mode: RebalanceMode,
    /// How many percent more connections than each should have are left alone. From 5 to 1000;
    /// default 20.
    #[garde(range(min = 5, max = 1000))]
    pub(crate) max_skew: u32,
    /// Connections that are ended a second at most. From 1 to 1000; default 1.
    #[garde(range(min = 1, max = 1000))]
    pub(crate) rate: u32,
    /// How long no byte may have moved in either direction on a connection that is ended. From `1s`
    /// to `1h`; default `10s`.
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(3600))))]
    pub(crate) idle: Span,
}

impl Default for RebalanceConfig {
    fn default() -> Self {
        Self { mode: RebalanceMode::Off, max_skew: 20, rate: 1, idle: Span::from_secs(10) }
    }
}

/// Whether connections are spread anew.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub(crate) enum RebalanceMode {
    /// They are not.
    #[default]
    Off,
    /// It is told what would be done.
    DryRun,
    /// They are.
    On,
}

/// How long open connections of a drained endpoint may go on: the key `drain`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DrainConfig {
    /// Of one that says it shuts down. From `1s` to `24h`; default none, with the preset
    /// `kube-apiserver` `3m`: its shutdown delay, and a minute for requests.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(24 * 3600)))))]
    pub(crate) shutting_down: Option<Span>,
    /// Of one that refuses connections: its listener is closed. From `1s` to `24h`; default none,
    /// with the preset `kube-apiserver` `75s`: the minute that it waits for requests.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(24 * 3600)))))]
    pub(crate) refused: Option<Span>,
    /// Of one that is ready but for its etcd. From `1s` to `24h`; default none, with the preset
    /// `kube-apiserver` `30s`.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(24 * 3600)))))]
    pub(crate) etcd_unready: Option<Span>,
    /// Of one that no source names any more. From `1s` to `24h`; default none, with the preset
    /// `kube-apiserver` `3m`.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(24 * 3600)))))]
    pub(crate) left: Option<Span>,
}

impl DrainConfig {
    /// As the decision takes them.
    pub(crate) fn caps(&self) -> Caps {
        let cap = |span: Option<Span>| span.map(Duration::from);
        Caps {
            shutting_down: cap(self.shutting_down),
            refused: cap(self.refused),
            etcd_unready: cap(self.etcd_unready),
            leaving: cap(self.left),
        }
    }
}
