//! `/readyz`: whether the process can serve, check by check.

use axum::extract::{Query, State};
use axum::http::StatusCode;

use super::Shared;
use crate::readiness::Readiness;

pub(super) async fn show(
    State(shared): State<Shared>,
    // Pairs, since `exclude` may come several times.
    Query(query): Query<Vec<(String, String)>>,
) -> (StatusCode, String) {
    let verbose = query.iter().any(|(key, _)| key == "verbose");
    let exclude: Vec<String> =
        query.into_iter().filter(|(key, _)| key == "exclude").map(|(_, name)| name).collect();
    let readiness = Readiness::of(&shared.observer.readiness(), &exclude, verbose);
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, readiness.text)
}
