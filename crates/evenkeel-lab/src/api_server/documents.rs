//! The documents that never change: the version, and what the API has to offer.

use serde_json::{Value, json};

pub(crate) fn version() -> Value {
    json!({
        "major": "1",
        "minor": "36",
        "gitVersion": "v1.36.0",
        "gitCommit": "0000000000000000000000000000000000000000",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "go1.26.0",
        "compiler": "gc",
        "platform": "linux/amd64",
    })
}

/// The discovery document at `path`, if it is one.
pub(crate) fn discovery(path: &str) -> Option<Value> {
    let document = match path {
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [group()]}),
        "/apis/discovery.k8s.io" => group(),
        "/api/v1" => resources(
            "v1",
            &[
                resource("configmaps", "configmap", "ConfigMap", &["cm"], true),
                resource("namespaces", "namespace", "Namespace", &["ns"], false),
            ],
        ),
        "/apis/discovery.k8s.io/v1" => resources(
            "discovery.k8s.io/v1",
            &[resource("endpointslices", "endpointslice", "EndpointSlice", &[], true)],
        ),
        _ => return None,
    };
    Some(document)
}

fn group() -> Value {
    let version = json!({"groupVersion": "discovery.k8s.io/v1", "version": "v1"});
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": "discovery.k8s.io",
        "versions": [version],
        "preferredVersion": version,
    })
}

fn resources(group_version: &str, resources: &[Value]) -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    })
}

fn resource(name: &str, singular: &str, kind: &str, short: &[&str], namespaced: bool) -> Value {
    json!({
        "name": name,
        "singularName": singular,
        "namespaced": namespaced,
        "kind": kind,
        "shortNames": short,
        "verbs": ["get", "list", "watch"],
    })
}
