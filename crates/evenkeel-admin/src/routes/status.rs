//! `/api/v1/status`: everything about services and backends.

use axum::Json;
use axum::extract::State;

use super::Shared;
use crate::status::Status;

pub(super) async fn show(State(shared): State<Shared>) -> Json<Status> {
    Json(shared.observer.status())
}
