//! The gauges of a service, and the counter of its changes of health.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Health;
use evenkeel_core::pool::Snapshot;
use evenkeel_core::tolerance::{Quorum, Tolerance};
use metrics::{counter, describe_counter, describe_gauge, gauge};

use crate::service::View;

/// Gives every metric of the binary its help text.
pub(crate) fn describe() {
    describe_gauge!(
        "evenkeel_service_backends",
        "Backends of a service, by what the evidence says"
    );
    describe_gauge!(
        "evenkeel_service_tolerable_failures",
        "How many more backends of a service may fail"
    );
    describe_gauge!(
        "evenkeel_service_fails_open",
        "1 while what is not ready is served, because nothing is"
    );
    describe_gauge!(
        "evenkeel_service_resets_held",
        "Backends whose connections are not reset for now, because no other is heard either"
    );
    describe_gauge!(
        "evenkeel_service_skew_ratio",
        "How many more connections the backend with most has than each should, as a share"
    );
    describe_gauge!("evenkeel_service_listening", "1 while a listener takes clients");
    describe_gauge!("evenkeel_backend_ready", "1 while a backend says it can serve");
    describe_gauge!("evenkeel_connections_active", "Open connections of a backend");
    describe_counter!("evenkeel_backend_health_changes_total", "Changes of a backend's health");
    describe_gauge!(
        "evenkeel_backend_last_change_timestamp_seconds",
        "When a backend's health last changed"
    );
    describe_gauge!("evenkeel_config_info", "The hash of the config in force");
}

/// The gauges of one service. Looked up by name: they change once a second, off the hot path.
#[derive(Debug)]
pub(crate) struct ServiceGauges {
    service: String,
}

impl ServiceGauges {
    pub(crate) fn new(service: &str) -> Self {
        Self { service: service.to_owned() }
    }

    pub(crate) fn show(&self, view: &View, pool: &Snapshot, quorum: Quorum) {
        for health in Health::ALL {
            let count = view.members.iter().filter(|m| m.evidence.health == health).count();
            gauge!("evenkeel_service_backends", "service" => self.service.clone(), "health" => health.as_str())
                .set(number(count));
        }
        let tolerance = Tolerance::of(quorum, view.ready(), view.membership);
        gauge!("evenkeel_service_tolerable_failures", "service" => self.service.clone())
            .set(number(tolerance.tolerable));
        gauge!("evenkeel_service_fails_open", "service" => self.service.clone())
            .set(if view.fails_open { 1.0 } else { 0.0 });
        for member in pool.members() {
            let backend = member.backend.endpoint().to_string();
            let ready = member.evidence.health == Health::Ready;
            gauge!("evenkeel_backend_ready", "service" => self.service.clone(), "backend" => backend.clone())
                .set(if ready { 1.0 } else { 0.0 });
            gauge!("evenkeel_connections_active", "service" => self.service.clone(), "backend" => backend)
                .set(number(member.backend.active()));
        }
    }

    /// How many resets the brake holds back.
    pub(crate) fn held(&self, backends: usize) {
        gauge!("evenkeel_service_resets_held", "service" => self.service.clone())
            .set(number(backends));
    }

    /// How unevenly connections are spread.
    pub(crate) fn skew(&self, ratio: f64) {
        gauge!("evenkeel_service_skew_ratio", "service" => self.service.clone()).set(ratio);
    }

    pub(crate) fn health_changed(&self, backend: Endpoint, to: Health) {
        counter!(
            "evenkeel_backend_health_changes_total",
            "service" => self.service.clone(), "backend" => backend.to_string(), "to" => to.as_str()
        )
        .increment(1);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        gauge!(
            "evenkeel_backend_last_change_timestamp_seconds",
            "service" => self.service.clone(), "backend" => backend.to_string()
        )
        .set(now.as_secs_f64());
    }

    /// A backend that is gone must not look as if it were there.
    pub(crate) fn gone(&self, backend: Endpoint) {
        for name in ["evenkeel_backend_ready", "evenkeel_connections_active"] {
            gauge!(name, "service" => self.service.clone(), "backend" => backend.to_string())
                .set(0.0);
        }
    }
}

/// Says that a listener takes clients, until it is dropped.
#[derive(Debug)]
pub(crate) struct ListeningGauge {
    labels: [(&'static str, String); 2],
}

impl ListeningGauge {
    pub(crate) fn new(service: &str, address: SocketAddr) -> Self {
        let labels = [("service", service.to_owned()), ("address", address.to_string())];
        gauge!("evenkeel_service_listening", &labels).set(1.0);
        Self { labels }
    }
}

impl Drop for ListeningGauge {
    fn drop(&mut self) {
        gauge!("evenkeel_service_listening", &self.labels).set(0.0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn number(count: usize) -> f64 {
    count as f64
}
