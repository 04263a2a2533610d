//! What `/api/v1/status` and `/api/v1/events` say. The JSON is a contract with scripts and
//! dashboards: fields are added, never renamed, removed or given another meaning.
//!
//! Plain data: whoever shows it, the command line or a page, reads it back into these types.

use evenkeel_core::health::{Class, Health};
use evenkeel_core::timeline::Event;
use evenkeel_core::treatment::Treatment;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// The value of [`Status::schema`].
pub const STATUS_SCHEMA: &str = "evenkeel.dev/status/v1";
/// The value of [`Events::schema`].
pub const EVENTS_SCHEMA: &str = "evenkeel.dev/events/v1";

/// The state of the process and of everything it balances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always [`STATUS_SCHEMA`].
    pub schema: String,
    /// Version of the program.
    pub version: String,
    /// Name of the host.
    pub node: String,
    /// Seconds since the process began.
    pub uptime_seconds: u64,
    /// Number of the process.
    pub pid: u32,
    /// Hash of the config in force. Nodes with the same config have the same hash.
    pub config_hash: String,
    /// Whether the process is shutting down: nothing new is taken, what is open goes on.
    pub draining: bool,
    /// The services, in the order of the config.
    pub services: Vec<ServiceStatus>,
    /// The virtual IPs, in the order of the config.
    #[serde(default)]
    pub vips: Vec<VipStatus>,
}

/// The state of one virtual IP on this node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VipStatus {
    /// Its name in the config.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// `l2`, `route` or `hook`.
    pub mode: String,
    /// The interface that has or would have it; `null` as long as there is none.
    pub interface: Option<String>,
    /// `owner`, `backup`, `yielding` (it is being handed over), `down` or `ended`.
    pub state: String,
    /// Whether the address is on this node.
    pub owned: bool,
    /// Seconds since it is in this state.
    pub since_seconds: f64,
    /// Why it is.
    pub why: String,
    /// The node that has it, by the address that its adverts come from, if another is heard.
    pub owner: Option<String>,
    /// What this node could do with it: `healthy`, `degraded`, `last resort` or `fault`; `null` as
    /// long as nothing is known.
    pub class: Option<String>,
    /// Why that.
    pub class_why: String,
    /// The VRRP group; `null` where nobody is elected.
    pub vrid: Option<u8>,
    /// The rank of this node within its class.
    pub rank: Option<u8>,
    /// What the provider's hook has found last, in the mode `hook`.
    pub hook: Option<String>,
    /// What someone should see to, one line each.
    pub warnings: Vec<String>,
}

/// The state of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Its name in the config.
    pub name: String,
    /// The preset that completes its config, if it has one.
    pub preset: Option<String>,
    /// Its listeners.
    pub listeners: Vec<ListenerStatus>,
    /// How it stands, in words: `3 of 3 ready, tolerates 1 more failure`.
    pub verdict: String,
    /// How many backends say that they can serve.
    pub ready: usize,
    /// How many there are, also those lost: a dead API server does not shrink it.
    pub members: usize,
    /// How many must be ready for the service to work.
    pub needed: usize,
    /// How many more may fail.
    pub tolerable: usize,
    /// Whether backends that are not ready are served, because none is.
    pub fails_open: bool,
    /// Backends whose connections are not reset for now, though they are silent or foreign: no
    /// other is heard either, so the fault may be ours.
    pub resets_held: usize,
    /// Whether the identity of the backends is verified, by the cluster's CA.
    pub identity_verified: bool,
    /// The policy that picks a backend.
    pub policy: String,
    /// Connections open now.
    pub connections: u64,
    /// Connections since the process began.
    pub total_connections: u64,
    /// Where its endpoints come from.
    pub sources: Vec<SourceStatus>,
    /// Its backends, in the order of their addresses.
    pub backends: Vec<BackendStatus>,
    /// What someone should see to, one line each.
    pub warnings: Vec<String>,
}

/// One bound address of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The address, `0.0.0.0:6443`.
    pub address: String,
    /// Whether it is bound and takes connections.
    pub bound: bool,
}

/// One source of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// Its kind: `static` or `endpointSlice`.
    pub kind: String,
    /// How many endpoints it lists.
    pub endpoints: usize,
    /// Seconds since it last answered, also that nothing has changed; `null` if it never has.
    pub last_sync_seconds_ago: Option<f64>,
    /// What is wrong with it now. The endpoints that it listed before stay in use.
    pub error: Option<String>,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackendStatus {
    /// Its address with its port.
    pub endpoint: String,
    /// What the evidence says: `unknown`, `ready`, `unready`, `dead` or `foreign`.
    pub health: Health,
    /// The same in finer terms, `etcdUnready` for example.
    pub class: Class,
    /// What the class means, in words.
    pub why: String,
    /// What is done about it: `serve`, `drain` or `reset`.
    pub treatment: Treatment,
    /// Seconds since its health last changed.
    pub since_seconds: f64,
    /// The last probe; `null` before the first has ended.
    pub last_probe: Option<ProbeStatus>,
    /// Connections open now.
    pub connections: u64,
    /// What names it: `static`, `endpointSlice`, or both.
    pub provenance: Vec<String>,
    /// Whether no source names it any more: it stays until its connections have ended.
    pub leaving: bool,
}

impl BackendStatus {
    /// The meaning of a class, as [`why`](Self::why) has it.
    pub fn why(class: Class) -> String {
        class.meaning().to_owned()
    }
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProbeStatus {
    /// What it saw, in one line: `200`, or how the connection failed.
    pub detail: String,
    /// How long it took, in milliseconds.
    pub took_ms: f64,
    /// Seconds since it ended.
    pub seconds_ago: f64,
}

/// What `/api/v1/events` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Events {
    /// Always [`EVENTS_SCHEMA`].
    pub schema: String,
    /// The changes of state, oldest first.
    pub events: Vec<EventStatus>,
}

impl Events {
    /// These events.
    pub fn new(events: Vec<EventStatus>) -> Self {
        Self { schema: EVENTS_SCHEMA.to_owned(), events }
    }
}

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventStatus {
    /// Grows by one from event to event. Ask with `?since=` for what came after it.
    pub sequence: u64,
    /// When it happened, in UTC: `2026-11-24T17:18:00.123Z`.
    pub at: String,
    /// The service that it concerns.
    pub service: String,
    /// The backend that it concerns; `null` if it concerns the service as a whole.
    pub backend: Option<String>,
    /// What changed, and why, in one line.
    pub what: String,
}

impl From<Event> for EventStatus {
    fn from(event: Event) -> Self {
        let Event { sequence, at, service, backend, what } = event;
        let at = OffsetDateTime::from(at);
        // Always to the millisecond, so that lines stand below one another.
        let at = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second(),
            at.millisecond()
        );
        Self { sequence, at, service, backend, what }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A status with every field set, for other tests too.
    pub(crate) fn sample() -> Status {
        Status {
            schema: STATUS_SCHEMA.to_owned(),
            version: "0.1.0".to_owned(),
            node: "cp-1".to_owned(),
            uptime_seconds: 10,
            pid: 7,
            config_hash: "8f3a1c".to_owned(),
            draining: false,
            services: vec![ServiceStatus {
                name: "kube-apiserver".to_owned(),
                preset: Some("kube-apiserver".to_owned()),
                listeners: vec![ListenerStatus { address: "0.0.0.0:6443".to_owned(), bound: true }],
                verdict: "1 of 1 ready, tolerates no failure (1 member)".to_owned(),
                ready: 1,
                members: 1,
                needed: 1,
                tolerable: 0,
                fails_open: false,
                resets_held: 0,
                identity_verified: true,
                policy: "leastConnections".to_owned(),
                connections: 4,
                total_connections: 40,
                sources: vec![SourceStatus {
                    kind: "static".to_owned(),
                    endpoints: 1,
                    last_sync_seconds_ago: Some(1.5),
                    error: None,
                }],
                backends: vec![BackendStatus {
                    endpoint: "10.0.0.11:6443".to_owned(),
                    health: Health::Ready,
                    class: Class::Ready,
                    why: BackendStatus::why(Class::Ready),
                    treatment: Treatment::Serve,
                    since_seconds: 8.0,
                    last_probe: Some(ProbeStatus {
                        detail: "200".to_owned(),
                        took_ms: 4.25,
                        seconds_ago: 0.5,
                    }),
                    connections: 4,
                    provenance: vec!["static".to_owned()],
                    leaving: false,
                }],
                warnings: vec![],
            }],
            vips: vec![VipStatus {
                name: "api".to_owned(),
                addresses: vec!["10.0.0.10".to_owned()],
                mode: "hook".to_owned(),
                interface: Some("eth0".to_owned()),
                state: "owner".to_owned(),
                owned: true,
                since_seconds: 4.5,
                why: "no owner was heard".to_owned(),
                owner: None,
                class: Some("healthy".to_owned()),
                class_why: "every service has a ready backend".to_owned(),
                vrid: Some(10),
                rank: Some(24),
                hook: Some("10.0.0.10 is on this node, as the provider says".to_owned()),
                warnings: vec!["02:00:00:00:00:01 uses the address too".to_owned()],
            }],
        }
    }

    #[test]
    fn the_json_is_the_contract() {
        let expected = serde_json::json!({
            "schema": "evenkeel.dev/status/v1",
            "version": "0.1.0",
            "node": "cp-1",
            "uptimeSeconds": 10,
            "pid": 7,
            "configHash": "8f3a1c",
            "draining": false,
            "services": [{
                "name": "kube-apiserver",
                "preset": "kube-apiserver",
                "listeners": [{"address": "0.0.0.0:6443", "bound": true}],
                "verdict": "1 of 1 ready, tolerates no failure (1 member)",
                "ready": 1,
                "members": 1,
                "needed": 1,
                "tolerable": 0,
                "failsOpen": false,
                "resetsHeld": 0,
                "identityVerified": true,
                "policy": "leastConnections",
                "connections": 4,
                "totalConnections": 40,
                "sources": [{
                    "kind": "static",
                    "endpoints": 1,
                    "lastSyncSecondsAgo": 1.5,
                    "error": null,
                }],
                "backends": [{
                    "endpoint": "10.0.0.11:6443",
                    "health": "ready",
                    "class": "ready",
                    "why": "says it can serve",
                    "treatment": "serve",
                    "sinceSeconds": 8.0,
                    "lastProbe": {"detail": "200", "tookMs": 4.25, "secondsAgo": 0.5},
                    "connections": 4,
                    "provenance": ["static"],
                    "leaving": false,
                }],
                "warnings": [],
            }],
            "vips": [{
                "name": "api",
                "addresses": ["10.0.0.10"],
                "mode": "hook",
                "interface": "eth0",
                "state": "owner",
                "owned": true,
                "sinceSeconds": 4.5,
                "why": "no owner was heard",
                "owner": null,
                "class": "healthy",
                "classWhy": "every service has a ready backend",
                "vrid": 10,
                "rank": 24,
                "hook": "10.0.0.10 is on this node, as the provider says",
                "warnings": ["02:00:00:00:00:01 uses the address too"],
            }],
        });
        let written = serde_json::to_value(sample()).unwrap();
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_value::<Status>(written).unwrap(), sample());
    }

    #[test]
    fn an_event_has_its_time_in_utc_to_the_millisecond() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_000_000_000_123_456_789);
        let event = Event {
            sequence: 3,
            at,
            service: "api".to_owned(),
            backend: None,
            what: "listening".to_owned(),
        };
        assert_eq!(EventStatus::from(event).at, "2001-09-09T01:46:40.123Z");
    }
}
