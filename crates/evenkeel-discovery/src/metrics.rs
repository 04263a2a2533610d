//! What discovery counts. Handles are made once a source, after the recorder is installed.

use std::time::SystemTime;

use evenkeel_core::endpoint::Provenance;
use metrics::{Counter, Gauge, counter, describe_counter, describe_gauge, gauge};

const ENDPOINTS: &str = "evenkeel_discovery_endpoints";
const ERRORS: &str = "evenkeel_discovery_errors_total";
const LAST_SYNC: &str = "evenkeel_discovery_last_sync_timestamp_seconds";

/// Gives the help of every metric of this crate.
pub fn describe() {
    describe_gauge!(ENDPOINTS, "Endpoints that the source lists.");
    describe_counter!(ERRORS, "Failed or empty answers of the source; the last set was kept.");
    describe_gauge!(
        LAST_SYNC,
        "When the source last answered, also that nothing has changed, in seconds since 1970."
    );
}

/// The handles of one source of a service.
pub(crate) struct SourceMetrics {
    endpoints: Gauge,
    errors: Counter,
    last_sync: Gauge,
}

impl SourceMetrics {
    pub(crate) fn new(service: &str, source: Provenance) -> Self {
        let labels = [("service", service.to_owned()), ("source", source.as_str().to_owned())];
        Self {
            endpoints: gauge!(ENDPOINTS, &labels),
            errors: counter!(ERRORS, &labels),
            last_sync: gauge!(LAST_SYNC, &labels),
        }
    }

    pub(crate) fn endpoints(&self, count: usize) {
        // A pool has 1 to 9 backends, a slice at most a thousand endpoints.
        self.endpoints.set(u32::try_from(count).unwrap_or(u32::MAX));
    }

    pub(crate) fn error(&self) {
        self.errors.increment(1);
    }

    pub(crate) fn synced(&self, at: SystemTime) {
        if let Ok(since_epoch) = at.duration_since(SystemTime::UNIX_EPOCH) {
            self.last_sync.set(since_epoch.as_secs_f64());
        }
    }
}
