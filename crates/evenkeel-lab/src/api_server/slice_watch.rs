//! Reads of EndpointSlices: one, the list, and the watch.

use std::pin::Pin;
use std::time::Duration;

use futures::stream;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{self, Instant, Interval, Sleep};

use crate::cluster::{Cluster, Selection, Slice, State};
use crate::query::Query;
use crate::reply::{self, Body};

/// Answers with one slice.
pub(crate) fn one(cluster: &Cluster, namespace: &str, name: &str) -> Response<Body> {
    let state = cluster.subscribe();
    let state = state.borrow();
    if let Some(error) = scripted_error(&state) {
        return error;
    }
    match state.slices(&Selection::named(namespace, name)).next() {
        Some(slice) => reply::json(&slice.object()),
        None => reply::status(
            StatusCode::NOT_FOUND,
            &format!("endpointslices.discovery.k8s.io \"{name}\" not found"),
        ),
    }
}

/// Answers with the list of what is selected.
pub(crate) fn list(cluster: &Cluster, selection: &Selection) -> Response<Body> {
    let state = cluster.subscribe();
    let state = state.borrow();
    if let Some(error) = scripted_error(&state) {
        return error;
    }
    let items: Vec<Value> = state.slices(selection).map(Slice::object).collect();
    reply::json(&json!({
        "kind": "EndpointSliceList",
        "apiVersion": "discovery.k8s.io/v1",
        "metadata": {"resourceVersion": state.version().to_string()},
        "items": items,
    }))
}

/// Answers with the changes of what is selected, as they happen.
///
/// Without a version the present state comes first. The watch ends by itself after
/// `timeoutSeconds`, when reads are told to fail, or with the lab.
pub(crate) fn watch(cluster: &Cluster, selection: Selection, query: &Query) -> Response<Body> {
    let changes = cluster.subscribe();
    let first = {
        let state = changes.borrow();
        if let Some(error) = scripted_error(&state) {
            return error;
        }
        match query.number("resourceVersion") {
            Some(version) if version > 0 => First::ResumeAfter(version),
            Some(_) | None => First::Everything,
        }
    };
    let seconds = query.number("timeoutSeconds").unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    let bookmarks = query
        .is_true("allowWatchBookmarks")
        .then(|| time::interval_at(Instant::now() + BOOKMARK_INTERVAL, BOOKMARK_INTERVAL));
    let watch = SliceWatch {
        changes,
        selection,
        first: Some(first),
        seen: 0,
        bookmarks,
        timeout: Box::pin(time::sleep(Duration::from_secs(seconds))),
        is_over: false,
    };
    let chunks = stream::unfold(watch, |mut watch| async move {
        let chunk = watch.next().await?;
        Some((chunk, watch))
    });
    reply::chunks("application/json", chunks)
}

fn scripted_error(state: &State) -> Option<Response<Body>> {
    let code = state.error()?;
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Some(reply::status(code, "the lab was told to fail this request"))
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug)]
enum First {
    Everything,
    ResumeAfter(u64),
}

/// One open watch.
#[derive(Debug)]
struct SliceWatch {
    changes: watch::Receiver<State>,
    selection: Selection,
    first: Option<First>,
    /// The version up to which everything was sent.
    seen: u64,
    bookmarks: Option<Interval>,
    timeout: Pin<Box<Sleep>>,
    is_over: bool,
}

impl SliceWatch {
    /// The next events, at least one; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if self.is_over {
                return None;
            }
            let events = self.collect();
            if !events.is_empty() {
                return Some(events.into());
            }
            if self.is_over {
                return None;
            }
            tokio::select! {
                () = self.timeout.as_mut() => return None,
                changed = self.changes.changed() => changed.ok()?,
                () = tick(self.bookmarks.as_mut()) => return Some(self.bookmark()),
            }
        }
    }

    /// The events of what changed since the last time.
    fn collect(&mut self) -> Vec<u8> {
        let state = self.changes.borrow_and_update();
        let mut events = Vec::new();
        match self.first.take() {
            Some(First::Everything) => {
                for slice in state.slices(&self.selection) {
                    push(&mut events, "ADDED", &slice.object());
                }
                self.seen = state.version();
                return events;
            }
            Some(First::ResumeAfter(version)) => self.seen = version,
            None => {}
        }
        if state.error().is_some() {
            self.is_over = true;
        } else if state.is_compacted(self.seen) {
            self.is_over = true;
            let message = format!("too old resource version: {}", self.seen);
            push(&mut events, "ERROR", &reply::status_object(StatusCode::GONE, &message));
        } else {
            for (change, slice) in state.changes_since(self.seen, &self.selection) {
                push(&mut events, change.word(), &slice.object());
            }
            self.seen = self.seen.max(state.version());
        }
        events
    }

    fn bookmark(&self) -> Bytes {
        let mut event = Vec::new();
        let object = json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {"resourceVersion": self.seen.to_string(), "creationTimestamp": null},
            "addressType": "",
            "endpoints": null,
            "ports": null,
        });
        push(&mut event, "BOOKMARK", &object);
        event.into()
    }
}

async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Appends one event as a line.
pub(crate) fn push(events: &mut Vec<u8>, kind: &str, object: &Value) {
    events.extend_from_slice(json!({"type": kind, "object": object}).to_string().as_bytes());
    events.push(b'\n');
}

/// kube-apiserver picks between 30 and 60 minutes.
const DEFAULT_TIMEOUT_SECONDS: u64 = 1800;
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::cluster::SliceAnswer;

    #[tokio::test(start_paused = true)]
    async fn bookmarks_come_every_minute_to_who_wants_them() {
        let cluster = Cluster::new("a");
        cluster.set_slice(SliceAnswer::Members(vec!["10.0.0.1:6443".parse().unwrap()]));
        let query = Query::parse(Some("resourceVersion=1&allowWatchBookmarks=true"));
        let begun = Instant::now();
        let mut body = watch(&cluster, Selection::default(), &query).into_body();
        let chunk = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let bookmark: Value = serde_json::from_slice(&chunk).unwrap();
        assert_eq!(begun.elapsed(), BOOKMARK_INTERVAL);
        assert_eq!(bookmark["type"], "BOOKMARK");
        assert_eq!(bookmark["object"]["metadata"]["resourceVersion"], "1");
    }
}
