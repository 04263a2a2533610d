//! What the runner tells a generator, and what that answers: a line of JSON each.
//!
//! A paced generator also says `ready` before the part that is measured, and waits for a line of
//! its standard input then and again before it closes its connections. So the runner can look at a
//! proxy that holds them.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::cpu::{Spent, Watched};
use crate::statistics::Percentiles;

/// A load and where to put it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Order {
    /// The proxy's address, or the backend's.
    pub(crate) to: SocketAddr,
    /// What is done.
    pub(crate) work: Work,
    /// Over how many connections at once.
    pub(crate) connections: usize,
    /// For how long.
    pub(crate) span: Span,
    /// The certificate to trust. None: without TLS.
    pub(crate) certificate: Option<Vec<u8>>,
    /// Whether it waits to be told to go on.
    pub(crate) paced: bool,
    /// Whose CPU it tells apart; its own it knows itself.
    pub(crate) watched: Watched,
}

/// The closed set of what a generator does.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Work {
    /// Receives as fast as it can.
    #[serde(rename_all = "camelCase")]
    Down {
        /// Whether the backend sends from memory, and not from a file.
        from_memory: bool,
    },
    /// Sends as fast as it can.
    Up,
    /// Sends a request, waits for the answer, sends the next.
    Ping {
        /// Bytes of a request.
        request: u64,
        /// Bytes of an answer.
        answer: u64,
    },
    /// Sends requests by the clock, whether or not earlier ones were answered.
    Open {
        /// Bytes of a request.
        request: u64,
        /// Bytes of an answer.
        answer: u64,
        /// Requests a second.
        rate: u64,
    },
    /// Connects, sends a request, waits for the answer, closes.
    Connect {
        /// Bytes of a request.
        request: u64,
        /// Bytes of an answer.
        answer: u64,
    },
    /// Connects, sends a request, waits for the answer, and holds the connection.
    Hold {
        /// Bytes of a request.
        request: u64,
        /// Bytes of an answer.
        answer: u64,
        /// How many are held in the end; `connections` are opened at once.
        total: usize,
    },
}

/// How long it goes on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Span {
    /// By the clock.
    #[serde(rename_all = "camelCase")]
    Timed {
        /// Seconds that do not count.
        warm_up: f64,
        /// Seconds that do.
        seconds: f64,
    },
    /// So many bytes or requests a connection, or connections in all.
    Counted(u64),
}

/// What a generator saw.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Seen {
    /// Requests, connections or, of bulk, bytes.
    pub(crate) count: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// How long requests took, in microseconds.
    pub(crate) latency: Option<Percentiles>,
    /// Connections that broke.
    pub(crate) failed: u64,
    /// Who used the CPU meanwhile.
    pub(crate) spent: Spent,
}

/// What a paced generator says when its connections stand.
pub(crate) const READY: &str = "ready";
