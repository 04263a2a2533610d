//! Answers that go on for ever at an even pace, by which a client feels every interruption.

use std::time::Duration;

use futures::{Stream, stream};
use hyper::Response;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::{self, Instant, Interval, MissedTickBehavior};

use crate::api_server::slice_watch;
use crate::query::Query;
use crate::reply::{self, Body};

/// Answers with a line every 100 ms, or every `ms`.
pub(crate) fn ticks(query: &Query) -> Response<Body> {
    let every = query.number("ms").map_or(BEAT, |ms| Duration::from_millis(ms.max(1)));
    reply::chunks("text/plain", beats(every, None, |beat| format!("tick {beat}\n").into()))
}

/// Answers with a watch of a config map that changes every 100 ms, until `timeoutSeconds`.
pub(crate) fn watch_config_maps(query: &Query) -> Response<Body> {
    let timeout = query.number("timeoutSeconds").map(Duration::from_secs);
    reply::chunks(
        "application/json",
        beats(BEAT, timeout, |beat| {
            let mut event = Vec::new();
            slice_watch::push(&mut event, "MODIFIED", &config_map(beat));
            event.into()
        }),
    )
}

/// Answers with the list that the watch would go on from.
pub(crate) fn list_config_maps() -> Response<Body> {
    reply::json(&json!({
        "kind": "ConfigMapList",
        "apiVersion": "v1",
        "metadata": {"resourceVersion": "1"},
        "items": [config_map(1)],
    }))
}

fn config_map(beat: u64) -> Value {
    json!({
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {
            "name": "beat",
            "namespace": "default",
            "uid": "00000000-0000-4000-8000-0000000000be",
            "resourceVersion": beat.to_string(),
        },
        "data": {"beat": beat.to_string()},
    })
}

/// One chunk at once and then one every `every`, until `timeout`.
fn beats(
    every: Duration,
    timeout: Option<Duration>,
    chunk: impl Fn(u64) -> Bytes + Send + 'static,
) -> impl Stream<Item = Bytes> + Send + 'static {
    let mut interval = time::interval(every);
    // After a freeze the beats go on; those missed are not made up for.
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends = timeout.map(|timeout| Instant::now() + timeout);
    stream::unfold((interval, chunk, 0), move |(mut interval, chunk, beat)| async move {
        next_beat(&mut interval, ends).await?;
        let beat = beat + 1;
        Some((chunk(beat), (interval, chunk, beat)))
    })
}

async fn next_beat(interval: &mut Interval, ends: Option<Instant>) -> Option<Instant> {
    match ends {
        Some(ends) => time::timeout_at(ends, interval.tick()).await.ok(),
        None => Some(interval.tick().await),
    }
}

const BEAT: Duration = Duration::from_millis(100);
