//! A watch that goes on where it was whenever it must be started again, as an informer does.

use std::ops::ControlFlow;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Method, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::gap::Gap;
use super::ticker::COLLECTION;
use super::{AGAIN, Failure, Story, Watched};
use crate::https::{Connection, HttpsError, in_one_line};

pub(super) async fn run(story: Story) -> Watched {
    let mut watch = Watch::default();
    let mut failures = Vec::new();
    let mut may_retry_at_once = true;
    loop {
        let events_before = watch.events;
        let followed = story.stop.run_until_cancelled(watch.follow(&story)).await;
        let Some(ended) = followed else { break };
        if let Err(error) = ended {
            failures.push(Failure { at: Instant::now(), error: in_one_line(&error) });
        }
        may_retry_at_once |= watch.events > events_before;
        if !std::mem::take(&mut may_retry_at_once)
            && story.stop.run_until_cancelled(sleep(AGAIN)).await.is_none()
        {
            break;
        }
    }
    Watched {
        events: watch.events,
        reconnects: watch.starts.saturating_sub(1),
        failures,
        signs: watch.gap.end(Instant::now()),
    }
}

/// Why a watch ended that should have gone on.
#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error("watch")]
    Https(#[from] HttpsError),
    #[error("no answer in time")]
    Timeout,
    #[error("a line of the watch is no event: {0:?}")]
    Garbled(String),
    #[error("an ERROR event: {0}")]
    Told(Value),
}

#[derive(Debug, Default)]
struct Watch {
    events: u64,
    starts: u64,
    gap: Gap,
    /// Where to go on. None: wherever the server is.
    resource_version: Option<String>,
}

impl Watch {
    /// Starts the watch and follows it to its end.
    async fn follow(&mut self, story: &Story) -> Result<(), WatchError> {
        let started = timeout(story.options.kept_timeout, self.start(story)).await;
        // The connection is kept as long as its body is read.
        let (_connection, mut body) = started.map_err(|_elapsed| WatchError::Timeout)??;
        let mut line = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(HttpsError::from)?;
            let Some(bytes) = frame.data_ref() else { continue };
            for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(piece);
                if line.ends_with(b"\n") {
                    if self.see(&line, story)?.is_break() {
                        return Ok(());
                    }
                    line.clear();
                }
            }
        }
        Ok(())
    }

    async fn start(&mut self, story: &Story) -> Result<(Connection, Incoming), HttpsError> {
        let mut connection = Connection::secure(story.options.server, &story.identity).await?;
        self.starts += 1;
        let from = self.resource_version.as_ref();
        let from = from.map(|version| format!("&resourceVersion={version}")).unwrap_or_default();
        let name = &story.object;
        let path = format!("{COLLECTION}?watch=true&fieldSelector=metadata.name%3D{name}{from}");
        let response = connection.send(Method::GET, &path, None).await?;
        Ok((connection, response.into_body()))
    }

    /// Takes note of an event; breaks if the watch is to be started anew.
    fn see(&mut self, line: &[u8], story: &Story) -> Result<ControlFlow<()>, WatchError> {
        let garbled = || WatchError::Garbled(String::from_utf8_lossy(line).into_owned());
        let event: Value = serde_json::from_slice(line).map_err(|_not_json| garbled())?;
        let object = &event["object"];
        if event["type"] == "ERROR" {
            self.resource_version = None;
            // A member that has just started does not know what was before: that is no failure,
            // and every informer starts anew without a word.
            if object["code"] == StatusCode::GONE.as_u16() {
                return Ok(ControlFlow::Break(()));
            }
            return Err(WatchError::Told(object["message"].clone()));
        }
        let version = object["metadata"]["resourceVersion"].as_str().ok_or_else(garbled)?;
        self.resource_version = Some(version.to_owned());
        self.events += 1;
        if self.gap.good(Instant::now()) {
            story.answered();
        }
        Ok(ControlFlow::Continue(()))
    }
}
