//! What clients felt, as plain data.

use std::time::Duration;

use crate::failure::Failure;

/// What the clients of a load felt during one window of time.
#[derive(Clone, Debug)]
pub struct Felt {
    /// How long the window was.
    pub over: Duration,
    /// What the connections felt that were opened for one request each.
    pub new: NewFelt,
    /// What the connections felt that ask every 100 ms.
    pub kept: OpenFelt,
    /// What the watches felt.
    pub watch: OpenFelt,
    /// Failures that were a reset, of all kinds of clients.
    pub resets: u64,
    /// The latest failures, oldest first, at most 256.
    pub failures: Vec<FailureFelt>,
}

impl Felt {
    /// Gives the latest failure.
    pub fn last_failure(&self) -> Option<FailureFelt> {
        self.failures.last().copied()
    }

    /// Counts all failures: what failed, and what was lost while open.
    pub fn failed(&self) -> u64 {
        self.new.failed + self.kept.failed + self.kept.lost + self.watch.failed + self.watch.lost
    }
}

/// What new connections felt: connect, TLS handshake, one request and its answer.
#[derive(Clone, Copy, Debug)]
pub struct NewFelt {
    /// Those that were answered.
    pub opened: u64,
    /// Those that were not.
    pub failed: u64,
    /// Half of those answered took no longer; up to a sixteenth too long, as `p99`.
    pub median: Duration,
    /// Of those answered, 99 in 100 took no longer.
    pub p99: Duration,
    /// The longest that one of those answered took.
    pub longest: Duration,
}

/// What long connections felt.
#[derive(Clone, Copy, Debug)]
pub struct OpenFelt {
    /// The number of clients.
    pub clients: usize,
    /// Answers, or pieces of a watch.
    pub heard: u64,
    /// Connections that ended in a failure after they were open.
    pub lost: u64,
    /// Attempts to open that failed, and answers with another status than 200.
    pub failed: u64,
    /// The longest time that one client heard nothing, up to now. Without trouble 100 ms and the
    /// time of an answer.
    pub longest_gap: Duration,
}

/// One failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureFelt {
    /// When it was felt, from the beginning of the window.
    pub at: Duration,
    /// Which kind of client felt it.
    pub client: ClientKind,
    /// What it was.
    pub reason: Failure,
}

/// The kinds of clients of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientKind {
    /// One that opens a connection for one request.
    New,
    /// One that keeps a connection and asks every 100 ms.
    Kept,
    /// One that keeps a watch open.
    Watch,
}
