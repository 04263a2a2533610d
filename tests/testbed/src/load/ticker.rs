//! Changes a `ConfigMap` every so often, past the balancer, for the watches to see.

use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::gap::Gap;
use super::{Failure, Story, Ticks};
use crate::https::{Connection, HttpsError, in_one_line};

pub(super) async fn run(story: Story) -> Ticks {
    let mut connection = None;
    let mut gap = Gap::default();
    let (mut written, mut failures) = (0, Vec::new());

    let mut ticks = interval(story.options.tick_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while story.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let change = timeout(story.options.kept_timeout, change(&story, &mut connection, written));
        let Some(changed) = story.stop.run_until_cancelled(change).await else { break };
        let error = match changed {
            Ok(Ok(())) => {
                written += 1;
                gap.good(Instant::now());
                continue;
            }
            Ok(Err(error)) => in_one_line(&error),
            Err(_elapsed) => format!("no answer within {:?}", story.options.kept_timeout),
        };
        failures.push(Failure { at: Instant::now(), error });
        connection = None;
    }
    Ticks { written, failures, signs: gap.end(Instant::now()) }
}

async fn change(
    story: &Story,
    connection: &mut Option<Connection>,
    number: u64,
) -> Result<(), HttpsError> {
    let kept = connection.take().filter(|kept| !kept.is_closed());
    let connection = if let Some(kept) = kept {
        connection.insert(kept)
    } else {
        let mut new = Connection::secure(story.options.ticker, &story.identity).await?;
        create(story, &mut new).await?;
        connection.insert(new)
    };
    let patch = json!({ "data": { "tick": number.to_string() } }).to_string();
    let body = Some(("application/merge-patch+json", patch));
    let path = format!("{COLLECTION}/{}", story.object);
    connection.ask(Method::PATCH, &path, body).await.map(drop)
}

async fn create(story: &Story, connection: &mut Connection) -> Result<(), HttpsError> {
    let object = json!({ "metadata": { "name": story.object } }).to_string();
    let body = Some(("application/json", object));
    match connection.ask(Method::POST, COLLECTION, body).await {
        // Made by an earlier connection.
        Err(HttpsError::Status(StatusCode::CONFLICT)) => Ok(()),
        other => other.map(drop),
    }
}

pub(super) const COLLECTION: &str = "/api/v1/namespaces/default/configmaps";
