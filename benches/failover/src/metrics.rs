//! What evenkeel says of itself: its metrics and its events.

use std::net::SocketAddr;

use evenkeel_testbed::Host;
use serde::Serialize;
use serde_json::Value;

use evenkeel_bench::failed::{Doing, Failed};

/// What evenkeel has counted since it began.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    /// Connections that it reset because of how their backend was treated.
    pub(crate) resets: u64,
    /// Changes of a backend's health to anything but ready.
    pub(crate) suspicions: u64,
    /// Those of them to dead.
    pub(crate) deaths: u64,
    /// Times that the first bytes of a client went to another backend.
    pub(crate) replays: u64,
    /// How many backends are ready now.
    pub(crate) ready: u64,
    /// Its events.
    pub(crate) events: Vec<Value>,
}

impl Told {
    /// Asks the admin endpoint.
    pub(crate) fn ask(host: &Host, admin: SocketAddr) -> Result<Self, Failed> {
        let get = |path: &str| {
            let (status, body) =
                host.fetch(admin, path).doing(|| format!("ask evenkeel for {path}"))?;
            if status == 200 {
                return Ok(body);
            }
            Err(Failed::because(format!("ask evenkeel for {path}"), format!("status {status}")))
        };
        let metrics = get("/metrics")?;
        let events = get("/api/v1/events")?;
        let events: Value =
            serde_json::from_str(&events).doing(|| "understand evenkeel's events")?;
        let events = events["events"].as_array().cloned().unwrap_or_default();
        Ok(Self { events, ..Self::read(&metrics) })
    }

    fn read(metrics: &str) -> Self {
        let sum = |name, is_meant: fn(&str) -> bool| sum(metrics, name, is_meant);
        let changes = "evenkeel_backend_health_changes_total";
        Self {
            resets: sum("evenkeel_connections_closed_total", |labels| {
                labels.contains(r#"cause="reset""#)
            }),
            suspicions: sum(changes, |labels| !labels.contains(r#"to="ready""#)),
            deaths: sum(changes, |labels| labels.contains(r#"to="dead""#)),
            replays: sum("evenkeel_connect_replays_total", |_labels| true),
            ready: sum("evenkeel_backend_ready", |_labels| true),
            events: Vec::new(),
        }
    }

    /// What came since it was asked before; what is now is as it is.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let sequence = |event: &Value| event["sequence"].as_u64().unwrap_or_default();
        let seen = before.events.last().map_or(0, sequence);
        let new = self.events.iter().filter(|event| sequence(event) > seen);
        Self {
            resets: self.resets.saturating_sub(before.resets),
            suspicions: self.suspicions.saturating_sub(before.suspicions),
            deaths: self.deaths.saturating_sub(before.deaths),
            replays: self.replays.saturating_sub(before.replays),
            ready: self.ready,
            events: new.cloned().collect(),
        }
    }
}

/// The sum of a counter over those of its labels that are meant.
fn sum(metrics: &str, name: &str, is_meant: fn(&str) -> bool) -> u64 {
    let values = metrics.lines().filter_map(|line| {
        let (labels, value) = line.strip_prefix(name)?.strip_prefix('{')?.rsplit_once('}')?;
        if is_meant(labels) { value.trim().parse::<u64>().ok() } else { None }
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = r#"
# TYPE evenkeel_connections_closed_total counter
evenkeel_connections_closed_total{service="a",backend="10.0.0.11:6443",cause="reset"} 6
evenkeel_connections_closed_total{service="a",backend="10.0.0.12:6443",cause="reset"} 1
evenkeel_connections_closed_total{service="a",backend="10.0.0.11:6443",cause="backend_reset"} 40
evenkeel_backend_health_changes_total{service="a",backend="10.0.0.11:6443",to="ready"} 2
evenkeel_backend_health_changes_total{service="a",backend="10.0.0.11:6443",to="unready"} 3
evenkeel_backend_health_changes_total{service="a",backend="10.0.0.11:6443",to="dead"} 1
evenkeel_backend_ready{service="a",backend="10.0.0.11:6443"} 1
evenkeel_backend_ready{service="a",backend="10.0.0.12:6443"} 1
evenkeel_backend_ready{service="a",backend="10.0.0.13:6443"} 0
"#;

    #[test]
    fn a_reset_of_the_backend_is_not_ours() {
        let told = Told::read(METRICS);
        assert_eq!((told.resets, told.suspicions, told.deaths, told.ready), (7, 4, 1, 2));
    }

    #[test]
    fn what_was_before_does_not_count() {
        let event = |sequence: u64| serde_json::json!({ "sequence": sequence });
        let before = Told { resets: 5, suspicions: 4, events: vec![event(7)], ..Told::default() };
        let now = Told { events: vec![event(6), event(7), event(8)], ..Told::read(METRICS) };
        let since = now.since(&before);
        assert_eq!((since.resets, since.suspicions, since.ready), (2, 0, 2));
        assert_eq!(since.events, [event(8)]);
    }
}
