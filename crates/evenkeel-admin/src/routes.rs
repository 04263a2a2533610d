//! The router: a file a route. GET only; whatever else is answered with 405.

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;

use crate::observe::Observe;

mod events;
mod host;
mod index;
mod livez;
mod metrics;
mod readyz;
mod status;

/// What the routes answer from.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) observer: Arc<dyn Observe>,
    pub(crate) prometheus: PrometheusHandle,
}

/// All routes.
pub(crate) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(index::show))
        .route("/livez", get(livez::show))
        .route("/healthz", get(livez::show))
        .route("/readyz", get(readyz::show))
        .route("/metrics", get(metrics::show))
        .route("/api/v1/status", get(status::show))
        .route("/api/v1/events", get(events::show))
        .layer(from_fn(host::only_this_host))
        .layer(map_response(not_kept))
        .with_state(shared)
}

/// Every answer is of now, and what it is it says.
async fn not_kept(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
