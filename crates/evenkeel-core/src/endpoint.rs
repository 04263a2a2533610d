//! What discovery yields: addresses, with where each was learned. Plain data.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An address that may serve a service: an IP address and a port, never a name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(SocketAddr);

impl Endpoint {
    /// Makes an endpoint of an address; one that is IPv4 in IPv6 form becomes plain IPv4, so
    /// that an endpoint has one spelling.
    pub fn new(address: SocketAddr) -> Self {
        Self(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The address to connect to.
    pub fn address(self) -> SocketAddr {
        self.0
    }

    /// The IP address alone.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a text is not an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// An IP address without a port.
    #[error("`{0}` has no port: write {with_port}", with_port = SocketAddr::new(*.0, 6443))]
    NoPort(IpAddr),
    /// Port 0, to which nothing can connect.
    #[error("port 0 in `{0}` cannot be connected to")]
    PortZero(String),
    /// `0.0.0.0` or `[::]`, which name no host.
    #[error("`{0}` names no host: write the address of the server")]
    Unspecified(String),
    /// No IP address: a name, or nonsense.
    #[error(
        "`{0}` is not an IP address and port: write 10.0.0.11:6443 or [fd00::11]:6443 (names are not resolved)"
    )]
    NotAnAddress(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err(EndpointError::PortZero(text.to_owned())),
            Ok(address) if address.ip().is_unspecified() => {
                Err(EndpointError::Unspecified(text.to_owned()))
            }
            Ok(address) => Ok(Self::new(address)),
            Err(_not_with_port) => match text.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(ip) => Err(EndpointError::NoPort(ip)),
                Err(_no_address) => Err(EndpointError::NotAnAddress(text.to_owned())),
            },
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for Endpoint {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An IP address and port: 10.0.0.11:6443 or [fd00::11]:6443.",
            "examples": ["10.0.0.11:6443", "[fd00::11]:6443"],
        })
    }
}

/// Where an endpoint was learned. An endpoint may be known from several places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Provenance {
    /// Written in the config, or named by the kubeconfig: a seed, never removed by discovery.
    Static,
    /// Listed by the cluster's `default/kubernetes` EndpointSlice.
    EndpointSlice,
}

impl Provenance {
    /// The word for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::EndpointSlice => "endpointSlice",
        }
    }
}

/// The endpoints of a service, each with every place that names it, in a stable order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointSet(BTreeMap<Endpoint, Vec<Provenance>>);

impl EndpointSet {
    /// The set of `endpoints`, all learned from `provenance`.
    pub fn from_source(
        provenance: Provenance,
        endpoints: impl IntoIterator<Item = Endpoint>,
    ) -> Self {
        Self(endpoints.into_iter().map(|endpoint| (endpoint, vec![provenance])).collect())
    }

    /// Adds what another source knows; an endpoint in both keeps both provenances.
    pub fn extend(&mut self, other: &Self) {
        for (endpoint, provenances) in &other.0 {
            let known = self.0.entry(*endpoint).or_default();
            known.extend(provenances);
            known.sort_unstable();
            known.dedup();
        }
    }

    /// Keeps the endpoints for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(Endpoint) -> bool) {
        self.0.retain(|endpoint, _| keep(*endpoint));
    }

    /// The endpoints in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint> + '_ {
        self.0.keys().copied()
    }

    /// Every place that names the endpoint; empty if none does.
    pub fn provenance(&self, endpoint: Endpoint) -> &[Provenance] {
        self.0.get(&endpoint).map_or(&[], Vec::as_slice)
    }

    /// Whether the set has the endpoint.
    pub fn contains(&self, endpoint: Endpoint) -> bool {
        self.0.contains_key(&endpoint)
    }

    /// How many endpoints there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_port_is_told_how_to_write_one() {
        let error = "10.0.0.11".parse::<Endpoint>().unwrap_err();
        assert_eq!(error.to_string(), "`10.0.0.11` has no port: write 10.0.0.11:6443");
        let error = "fd00::1".parse::<Endpoint>().unwrap_err();
        assert_eq!(error.to_string(), "`fd00::1` has no port: write [fd00::1]:6443");
    }

    #[test]
    fn what_cannot_be_connected_to_is_no_endpoint() {
        for text in
            ["", "cp-1:6443", "10.0.0.11:0", "0.0.0.0:6443", "[::]:1", "10.0.0.300:1", "1:2:3"]
        {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_same_endpoint() {
        let mapped: Endpoint = "[::ffff:10.0.0.11]:6443".parse().unwrap();
        assert_eq!(mapped, "10.0.0.11:6443".parse().unwrap());
    }

    #[test]
    fn an_endpoint_known_twice_keeps_both_provenances() {
        let endpoint: Endpoint = "10.0.0.11:6443".parse().unwrap();
        let mut set = EndpointSet::from_source(Provenance::EndpointSlice, [endpoint]);
        set.extend(&EndpointSet::from_source(Provenance::Static, [endpoint, endpoint]));
        assert_eq!(set.len(), 1);
        assert_eq!(set.provenance(endpoint), [Provenance::Static, Provenance::EndpointSlice]);
    }
}
