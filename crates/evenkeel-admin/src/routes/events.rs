//! `/api/v1/events`: what changed, and why.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;

use super::Shared;
use crate::status::Events;

/// `?since=N`: the last sequence number that the client has seen.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Since {
    since: u64,
}

pub(super) async fn show(
    State(shared): State<Shared>,
    Query(Since { since }): Query<Since>,
) -> Json<Events> {
    Json(Events::new(shared.observer.events(since)))
}
