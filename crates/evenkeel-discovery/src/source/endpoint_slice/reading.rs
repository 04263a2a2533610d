//! Reads one EndpointSlice: which endpoints it lists. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use evenkeel_core::endpoint::Endpoint;
use k8s_openapi::api::discovery::v1::{EndpointPort, EndpointSlice};

/// The port of `default/kubernetes`.
const DEFAULT_PORT: &str = "https";

/// What one slice lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// All of it: whether one is ready is for probes to say.
    pub(super) endpoints: BTreeSet<Endpoint>,
    /// Those that are on their way out.
    pub(super) terminating: BTreeSet<Endpoint>,
}

impl Reading {
    /// Reads a slice. `port` is the name of the port to take; without one it is the port named
    /// `https`, or else the only one. Addresses that are names are left out, as kube-proxy does.
    pub(super) fn of(slice: &EndpointSlice, port: Option<&str>) -> Self {
        let mut reading = Self::default();
        let Some(port) = port_of(slice.ports.as_deref().unwrap_or_default(), port) else {
            return reading;
        };
        for listed in slice.endpoints.iter().flatten() {
            let terminating = listed.conditions.as_ref().and_then(|c| c.terminating);
            for ip in listed.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok()) {
                let endpoint = Endpoint::new(SocketAddr::new(ip, port));
                reading.endpoints.insert(endpoint);
                if terminating == Some(true) {
                    reading.terminating.insert(endpoint);
                }
            }
        }
        reading
    }
}

fn port_of(ports: &[EndpointPort], name: Option<&str>) -> Option<u16> {
    let named = |name: &str| ports.iter().find(|port| port.name.as_deref() == Some(name));
    let port = match name {
        Some(name) => named(name),
        None => named(DEFAULT_PORT).or(match ports {
            [only] => Some(only),
            _ => None,
        }),
    }?;
    let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
    port.port.filter(|_| is_tcp).and_then(|number| u16::try_from(number).ok()).filter(|n| *n != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(slice: serde_json::Value, port: Option<&str>) -> Vec<String> {
        let reading = Reading::of(&serde_json::from_value(slice).unwrap(), port);
        reading.endpoints.iter().map(Endpoint::to_string).collect()
    }

    #[test]
    fn the_slice_of_the_api_servers_is_read_whether_ready_or_not() {
        let slice = serde_json::json!({
            "metadata": {"name": "kubernetes"},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
            "endpoints": [
                {"addresses": ["10.0.0.12"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.11"], "conditions": {"ready": false}},
                {"addresses": ["10.0.0.13"]},
            ],
        });
        assert_eq!(reading(slice, None), ["10.0.0.11:6443", "10.0.0.12:6443", "10.0.0.13:6443"]);
    }

    #[test]
    fn an_endpoint_that_terminates_is_noted() {
        let slice = serde_json::json!({
            "metadata": {"name": "argocd-server-x7"},
            "addressType": "IPv6",
            "ports": [{"name": "server", "port": 8080}],
            "endpoints": [
                {"addresses": ["fd00::1"], "conditions": {"terminating": true, "serving": true}},
                {"addresses": ["fd00::2"]},
            ],
        });
        let reading = Reading::of(&serde_json::from_value(slice).unwrap(), None);
        assert_eq!(reading.endpoints.len(), 2);
        assert_eq!(reading.terminating, ["[fd00::1]:8080".parse().unwrap()].into());
    }

    #[test]
    fn the_port_is_the_named_one_or_the_only_one() {
        let slice = |ports: serde_json::Value| {
            serde_json::json!({
                "metadata": {"name": "s"},
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{"addresses": ["10.0.0.1"]}],
            })
        };
        let two =
            serde_json::json!([{"name": "metrics", "port": 8083}, {"name": "https", "port": 8443}]);
        let unnamed = serde_json::json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}]);
        assert_eq!(reading(slice(two.clone()), None), ["10.0.0.1:8443"]);
        assert_eq!(reading(slice(two.clone()), Some("metrics")), ["10.0.0.1:8083"]);
        assert!(reading(slice(two), Some("grpc")).is_empty());
        assert!(reading(slice(unnamed), None).is_empty());
        for port in [
            serde_json::json!([]),
            serde_json::json!([{"name": "https"}]),
            serde_json::json!([{"port": 70000}]),
            serde_json::json!([{"port": -1}]),
            serde_json::json!([{"port": 53, "protocol": "UDP"}]),
        ] {
            assert!(reading(slice(port.clone()), None).is_empty(), "{port}");
        }
    }

    #[test]
    fn names_are_left_out() {
        let slice = serde_json::json!({
            "metadata": {"name": "s"},
            "addressType": "FQDN",
            "ports": [{"port": 6443}],
            "endpoints": [{"addresses": ["cp-1.example.com"]}],
        });
        assert!(reading(slice, None).is_empty());
    }
}
