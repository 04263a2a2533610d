//! Paths that no kube-apiserver has, for tests: slow answers, long answers, endless answers.

use std::time::Duration;

use futures::stream;
use hyper::body::Bytes;
use hyper::{Response, StatusCode};

use crate::api_server::beat;
use crate::query::Query;
use crate::reply::{self, Body};

/// Answers `/lab/<name>`.
pub(crate) async fn answer(name: &str, query: &Query) -> Response<Body> {
    match name {
        "slow" => {
            tokio::time::sleep(Duration::from_millis(query.number("ms").unwrap_or(1000))).await;
            reply::text(StatusCode::OK, "ok")
        }
        "bytes" => bytes(query.number("n").unwrap_or(1 << 20)),
        "ticks" => beat::ticks(query),
        _ => reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

/// Answers with `length` bytes; the byte at place `i` is `i % 251`, so that a lost, doubled or
/// misplaced piece shows.
fn bytes(length: u64) -> Response<Body> {
    let pattern: Bytes =
        (0..=u8::MAX).cycle().filter(|byte| *byte < PERIOD).take(CHUNK).collect::<Vec<_>>().into();
    let chunks = stream::unfold(length, move |left| {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = pattern.slice(..size);
        async move { (size > 0).then(|| (chunk, left - size as u64)) }
    });
    reply::chunks("application/octet-stream", chunks)
}

const PERIOD: u8 = 251;
/// A multiple of the period, so that every chunk starts the pattern anew.
const CHUNK: usize = PERIOD as usize * 256;
