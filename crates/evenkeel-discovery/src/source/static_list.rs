//! Endpoints written in the config: known at once, and never removed by discovery.

use std::time::SystemTime;

use evenkeel_core::endpoint::{Endpoint, EndpointSet, Provenance};
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::metrics::SourceMetrics;
use crate::sighting::Sighting;

/// The settings of the source `static`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct StaticSource {
    /// Addresses with their ports: `10.0.0.11:6443`, `[fd00::11]:6443`. At least one.
    #[garde(custom(at_least_one))]
    #[schemars(length(min = 1))]
    pub endpoints: Vec<Endpoint>,
}

impl StaticSource {
    /// The endpoints, as a set.
    pub fn seeds(&self) -> EndpointSet {
        EndpointSet::from_source(Provenance::Static, self.endpoints.iter().copied())
    }

    pub(super) async fn watch(
        self,
        service: &str,
        sightings: &watch::Sender<Sighting>,
        stop: &CancellationToken,
    ) {
        let endpoints = self.seeds();
        let metrics = SourceMetrics::new(service, Provenance::Static);
        metrics.endpoints(endpoints.len());
        metrics.synced(SystemTime::now());
        sightings.send_replace(Sighting {
            endpoints,
            synced: Some(Instant::now()),
            ..Sighting::default()
        });
        stop.cancelled().await;
    }
}

#[expect(clippy::ptr_arg, clippy::trivially_copy_pass_by_ref, reason = "garde's form of a rule")]
fn at_least_one(endpoints: &Vec<Endpoint>, (): &()) -> garde::Result {
    if endpoints.is_empty() {
        return Err(garde::Error::new("write at least one endpoint"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_static_list_is_known_at_once_and_ends_when_told() {
        let endpoints = vec!["10.0.0.11:6443".parse().unwrap()];
        let (sender, receiver) = watch::channel(Sighting::default());
        let stop = CancellationToken::new();
        stop.cancel();
        let source = StaticSource { endpoints };
        let seeds = source.seeds();
        source.watch("api", &sender, &stop).await;
        assert_eq!(receiver.borrow().endpoints, seeds);
        assert!(receiver.borrow().error.is_none());
    }
}
