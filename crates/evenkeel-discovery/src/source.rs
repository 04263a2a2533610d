//! Where endpoints come from: the closed set of sources.

use evenkeel_core::endpoint::Provenance;
use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::endpoint_slice::EndpointSliceSource;
pub use self::static_list::StaticSource;
use crate::access::ApiAccess;
use crate::sighting::Sighting;

mod endpoint_slice;
mod static_list;

/// A source of a service: an entry of the key `sources`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase")]
#[schemars(title = "Source")]
pub enum Source {
    /// Endpoints written in the config.
    Static(#[garde(dive)] StaticSource),
    /// The cluster's own list of its API servers, or the endpoints of another Kubernetes Service.
    EndpointSlice(#[garde(dive)] EndpointSliceSource),
}

impl Source {
    /// What its endpoints are marked with.
    pub fn provenance(&self) -> Provenance {
        match self {
            Self::Static(_) => Provenance::Static,
            Self::EndpointSlice(_) => Provenance::EndpointSlice,
        }
    }

    /// Whether it asks the API, and so needs credentials.
    pub fn needs_api(&self) -> bool {
        match self {
            Self::Static(_) => false,
            Self::EndpointSlice(_) => true,
        }
    }

    /// Publishes what the source knows until `stop`. An error is part of what it publishes, and
    /// never takes an endpoint away.
    ///
    /// # Cancel safety
    /// May be dropped; what was published stays.
    pub async fn watch(
        self,
        service: &str,
        api: ApiAccess,
        sightings: watch::Sender<Sighting>,
        stop: CancellationToken,
    ) {
        match self {
            Self::Static(source) => source.watch(service, &sightings, &stop).await,
            Self::EndpointSlice(source) => source.watch(service, api, sightings, &stop).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Source, String> {
        let source: Source = serde_json::from_str(json).map_err(|error| error.to_string())?;
        source.validate().map_err(|report| report.to_string())?;
        Ok(source)
    }

    #[test]
    fn a_source_is_named_by_its_key() {
        let source = parse(r#"{"static": {"endpoints": ["10.0.0.11:6443"]}}"#).unwrap();
        assert!(!source.needs_api());
        let source = parse(r#"{"endpointSlice": {}}"#).unwrap();
        let default = EndpointSliceSource {
            namespace: "default".to_owned(),
            service: "kubernetes".to_owned(),
            port: None,
        };
        assert_eq!(source, Source::EndpointSlice(default));
    }

    #[test]
    fn what_is_written_reads_back() {
        let json = r#"{"static":{"endpoints":["10.0.0.11:6443","[fd00::11]:6443"]}}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
        let json = r#"{"endpointSlice":{"namespace":"argocd","service":"argocd-server"}}"#;
        assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let table = [
            (r#"{"dns": {}}"#, "unknown variant `dns`, expected `static` or `endpointSlice`"),
            (r#"{"static": {}}"#, "missing field `endpoints`"),
            (r#"{"static": {"endpoints": []}}"#, "at least one endpoint"),
            (r#"{"static": {"endpoints": ["cp-1:6443"]}}"#, "names are not resolved"),
            (r#"{"static": {"hosts": []}}"#, "unknown field `hosts`"),
            (r#"{"endpointSlice": {"name": "kubernetes"}}"#, "unknown field `name`"),
            (r#"{"endpointSlice": {"service": ""}}"#, "not the name of a Kubernetes object"),
            (r#"{"endpointSlice": {"namespace": "a,b"}}"#, "not the name of a Kubernetes object"),
        ];
        for (json, expected) in table {
            let error = parse(json).unwrap_err();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }
}
