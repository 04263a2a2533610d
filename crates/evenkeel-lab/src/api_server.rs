//! The answers of kube-apiserver, as far as a load balancer and its clients look.
//!
//! The order of judgement is that of the real one: faults that stop every request, then who asks
//! (401), then what they may (403), then the path.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

use crate::client_auth::{Authenticator, Caller};
use crate::cluster::{Cluster, Selection};
use crate::fault::Fault;
use crate::query::Query;
use crate::reply::{self, Body};

mod beat;
mod checks;
mod documents;
mod lab_paths;
mod slice_watch;

/// What an API server answers from.
#[derive(Debug)]
pub(crate) struct ApiSite {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) authenticator: Arc<Authenticator>,
}

impl ApiSite {
    pub(crate) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Answers a request that came without TLS.
    pub(crate) fn answer_plain() -> Response<Body> {
        let body = "Client sent an HTTP request to an HTTPS server.\n";
        reply::text(StatusCode::BAD_REQUEST, body)
    }

    pub(crate) async fn answer(
        &self,
        request: &Request<Incoming>,
        by_certificate: Caller,
        fault: Fault,
    ) -> Response<Body> {
        let caller = self.authenticator.request(by_certificate, request.headers());
        let path = request.uri().path();
        if let Some(refusal) = refuse(request.method(), path, caller, fault) {
            return refusal;
        }
        let query = Query::parse(request.uri().query());
        if let Some((health, check)) = checks::HealthPath::find(path) {
            return match check {
                Some(check) => health.answer_one(check, fault),
                None => health.answer(&query, fault),
            };
        }
        if let Some(name) = path.strip_prefix("/lab/") {
            return lab_paths::answer(name, &query).await;
        }
        if path == "/version" {
            return reply::json(&documents::version());
        }
        if let Some(document) = documents::discovery(path) {
            return reply::json(&document);
        }
        self.read(path, &query, fault)
    }

    /// Answers the reads of objects.
    fn read(&self, path: &str, query: &Query, fault: Fault) -> Response<Body> {
        let is_watch = query.is_true("watch");
        if fault == Fault::EtcdLost {
            // A list asks etcd; a watch asks the cache, which lost its own watch of etcd.
            return if is_watch {
                let message = "storage is (re)initializing";
                reply::status(StatusCode::TOO_MANY_REQUESTS, message)
            } else {
                let message = "etcdserver: request timed out";
                reply::status(StatusCode::INTERNAL_SERVER_ERROR, message)
            };
        }
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        match parts.as_slice() {
            ["apis", "discovery.k8s.io", "v1", "endpointslices"] => {
                self.slices(Selection::new(None, query), is_watch, query)
            }
            ["apis", "discovery.k8s.io", "v1", "namespaces", namespace, "endpointslices"] => {
                self.slices(Selection::new(Some(namespace), query), is_watch, query)
            }
            ["apis", "discovery.k8s.io", "v1", "namespaces", namespace, "endpointslices", name] => {
                slice_watch::one(&self.cluster, namespace, name)
            }
            ["api", "v1", "namespaces"] => self.namespaces(query),
            ["api", "v1", "namespaces", name] => match self.namespace(name) {
                Some(namespace) => reply::json(&namespace),
                None => not_found(),
            },
            ["api", "v1", "namespaces", "default", "configmaps"] if is_watch => {
                beat::watch_config_maps(query)
            }
            ["api", "v1", "namespaces", "default", "configmaps"] => beat::list_config_maps(),
            _ => not_found(),
        }
    }

    fn slices(&self, selection: Selection, is_watch: bool, query: &Query) -> Response<Body> {
        if is_watch {
            slice_watch::watch(&self.cluster, selection, query)
        } else {
            slice_watch::list(&self.cluster, &selection)
        }
    }

    fn namespaces(&self, query: &Query) -> Response<Body> {
        let wanted =
            query.first("fieldSelector").and_then(|text| text.strip_prefix("metadata.name="));
        let items: Vec<Value> = NAMESPACES
            .into_iter()
            .filter(|name| wanted.is_none_or(|wanted| wanted == *name))
            .filter_map(|name| self.namespace(name))
            .collect();
        let version = self.cluster.subscribe().borrow().version().to_string();
        reply::json(&json!({
            "kind": "NamespaceList",
            "apiVersion": "v1",
            "metadata": {"resourceVersion": version},
            "items": items,
        }))
    }

    fn namespace(&self, name: &str) -> Option<Value> {
        let place = NAMESPACES.into_iter().position(|known| known == name)?;
        // `kube-system` has the identity of the cluster itself; the others differ in one digit.
        let mut uid = self.cluster.uid().to_owned();
        if place > 0 {
            uid.replace_range(..1, &place.to_string());
        }
        Some(json!({
            "kind": "Namespace",
            "apiVersion": "v1",
            "metadata": {
                "name": name,
                "uid": uid,
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"kubernetes.io/metadata.name": name},
            },
            "status": {"phase": "Active"},
        }))
    }
}

/// The answer to a request that does not get as far as its path.
fn refuse(method: &Method, path: &str, caller: Caller, fault: Fault) -> Option<Response<Body>> {
    let unauthorized = || Some(reply::status(StatusCode::UNAUTHORIZED, "Unauthorized"));
    let forbidden = || {
        let verb = method.as_str().to_lowercase();
        let user = if caller == Caller::Known { "lab" } else { "system:anonymous" };
        let message = format!("forbidden: User {user:?} cannot {verb} path {path:?}");
        Some(reply::status(StatusCode::FORBIDDEN, &message))
    };
    match fault {
        Fault::Throttled => {
            let message = "too many requests, please try again later";
            return Some(reply::status(StatusCode::TOO_MANY_REQUESTS, message));
        }
        Fault::Broken => {
            let message = "the lab was told to break";
            return Some(reply::status(StatusCode::INTERNAL_SERVER_ERROR, message));
        }
        Fault::Forbidden => return forbidden(),
        Fault::Unauthorized if caller != Caller::Known => return unauthorized(),
        Fault::Unauthorized
        | Fault::None
        | Fault::Stopped
        | Fault::Refusing
        | Fault::Frozen
        | Fault::ShuttingDown
        | Fault::EtcdLost
        | Fault::Starting
        | Fault::Foreign
        | Fault::SilentAnswers => {}
    }
    match caller {
        Caller::Stranger => unauthorized(),
        // The lab's one role grants reading; like the real ones it knows no verb `head`.
        Caller::Known | Caller::Anonymous if *method != Method::GET => forbidden(),
        Caller::Anonymous if !is_public(path) => forbidden(),
        Caller::Known | Caller::Anonymous => None,
    }
}

/// What `system:public-info-viewer` grants to everybody, and the lab's own paths.
fn is_public(path: &str) -> bool {
    matches!(path, "/livez" | "/readyz" | "/healthz" | "/version" | "/version/")
        || path.starts_with("/lab/")
}

fn not_found() -> Response<Body> {
    reply::status(StatusCode::NOT_FOUND, "the server could not find the requested resource")
}

const NAMESPACES: [&str; 3] = ["kube-system", "default", "argocd"];
