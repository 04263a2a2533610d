//! `/metrics`: all metrics as Prometheus reads them, those of the process as of now.

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::Shared;

/// The text format that the renderer writes.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(State(shared): State<Shared>) -> impl IntoResponse {
    metrics_process::Collector::default().collect();
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], shared.prometheus.render())
}
