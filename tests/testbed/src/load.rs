//! Clients, and what they felt: new connections, kept ones, and watches.
//!
//! ```text
//! clients on a host --- new, kept, watches ---> server (the balancer) ---> members
//!        \---------------- ticks, directly ----------------------------------^
//! ```
//!
//! All run on one thread in the namespace of their host. A watch sees something because the
//! ticker writes a `ConfigMap`, past the balancer, to a member that the test leaves alone: so a
//! silent watch is the balancer's doing, unless [`Ticks`] was silent too.

mod felt;
mod fresh;
mod gap;
mod kept;
mod ticker;
mod watch;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use felt::{Attempt, Failure, Felt, Kept, Ticks, Watched};
pub use gap::Signs;

use crate::host::{EnterError, Host, runtime};
use crate::https::{Identity, debug};

/// Why clients do not run, or what they felt is not known.
#[derive(thiserror::Error)]
pub enum LoadError {
    /// Their host could not be entered.
    #[error("could not enter the host of the clients")]
    Enter(#[from] EnterError),
    /// Some never got a first answer, so nothing that befalls the members later would show.
    #[error("{waiting} clients had no answer after {after:?}; until then they felt:\n{felt}")]
    NotSteady {
        /// How many clients.
        waiting: usize,
        /// How long they were waited for.
        after: Duration,
        /// What they and the others felt.
        felt: Box<Felt>,
    },
    /// Their thread panicked.
    #[error("the thread of the clients panicked")]
    Panicked(#[source] io::Error),
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

/// What the clients do. [`LoadOptions::new`] gives the usual, to be changed by struct update.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Whom they connect to: the balancer, or a member for comparison.
    pub server: SocketAddr,
    /// Where the `ConfigMap` that the watches see is written: a member that is left alone.
    pub ticker: SocketAddr,
    /// What new and kept connections ask for. Default: `/version`.
    pub path: String,
    /// Time from one new connection to the next. Default: 50 ms.
    pub new_interval: Duration,
    /// How long a new connection may take, handshake and answer included. Default: 5 s.
    pub new_timeout: Duration,
    /// How many connections are kept. Default: 10.
    pub kept: usize,
    /// Time from one request on a kept connection to the next. Default: 100 ms.
    pub kept_interval: Duration,
    /// How long a request on a kept connection may take, until it counts as failed and the client
    /// connects again. Default: 30 s, so that who cuts a dead connection is not the client.
    pub kept_timeout: Duration,
    /// How many watches. Default: 10.
    pub watches: usize,
    /// Time from one change that the watches see to the next. Default: 50 ms.
    pub tick_interval: Duration,
}

impl LoadOptions {
    /// The usual load on `server`, with ticks written to `ticker`.
    pub fn new(server: SocketAddr, ticker: SocketAddr) -> Self {
        Self {
            server,
            ticker,
            path: "/version".to_owned(),
            new_interval: Duration::from_millis(50),
            new_timeout: Duration::from_secs(5),
            kept: 10,
            kept_interval: Duration::from_millis(100),
            kept_timeout: Duration::from_secs(30),
            watches: 10,
            tick_interval: Duration::from_millis(50),
        }
    }
}

/// Running clients. Dropped, they stop, and what they felt is lost.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<Felt, EnterError>>>,
}

impl Load {
    /// Starts clients on `host` who are who `identity` says, and waits until each has had its
    /// first answer, at most 15 s.
    ///
    /// # Errors
    /// If the host is gone, or a client has no answer by then.
    pub fn start(
        host: &Host,
        identity: &Identity,
        options: LoadOptions,
    ) -> Result<Self, LoadError> {
        // One for each kept connection and watch, and one for all new connections.
        let clients = options.kept + options.watches + 1;
        let (first_answers, answered) = mpsc::sync_channel(clients);
        let stop = CancellationToken::new();
        let story = Story {
            options,
            identity: identity.clone(),
            object: object(),
            stop: stop.clone(),
            first_answers,
            new_answered: Arc::default(),
        };
        let thread = host.enter(move || Ok(runtime()?.block_on(story.run())))?;
        let load = Self { stop, thread: Some(thread) };

        let deadline = Instant::now() + STEADY;
        let first_answer = |_| {
            let left = deadline.saturating_duration_since(Instant::now());
            answered.recv_timeout(left).ok()
        };
        let steady = (0..clients).map_while(first_answer).count();
        if steady < clients {
            let felt = Box::new(load.stop()?);
            return Err(LoadError::NotSteady { waiting: clients - steady, after: STEADY, felt });
        }
        Ok(load)
    }

    /// Stops the clients and answers what they felt. New connections in flight are awaited; a
    /// kept connection or watch that is silent now has been so until now.
    ///
    /// # Errors
    /// If their thread panicked or had no runtime.
    pub fn stop(mut self) -> Result<Felt, LoadError> {
        self.stop.cancel();
        let thread = self.thread.take().expect("only this function takes it, and it takes self");
        let panicked = |_| LoadError::Panicked(io::Error::other("see its message above"));
        Ok(thread.join().map_err(panicked)??)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What every client needs.
#[derive(Clone, Debug)]
struct Story {
    options: LoadOptions,
    identity: Identity,
    /// The name of the `ConfigMap`, another one for each load.
    object: String,
    stop: CancellationToken,
    first_answers: SyncSender<()>,
    /// Whether one of the new connections has had an answer.
    new_answered: Arc<AtomicBool>,
}

impl Story {
    async fn run(self) -> Felt {
        let begun = Instant::now();
        let (mut kept, mut watches) = (JoinSet::new(), JoinSet::new());
        for number in 0..self.options.kept {
            kept.spawn(kept::run(self.clone(), number));
        }
        for _ in 0..self.options.watches {
            watches.spawn(watch::run(self.clone()));
        }
        let (new, ticks, kept, watches) = tokio::join!(
            fresh::run(self.clone()),
            ticker::run(self.clone()),
            kept.join_all(),
            watches.join_all(),
        );
        Felt { new, kept, watches, ticks, lasted: begun.elapsed() }
    }

    /// Tells who started it that this client has had its first answer.
    fn answered(&self) {
        // There is room for all, or nobody waits any more.
        self.first_answers.try_send(()).unwrap_or_default();
    }

    /// As [`Story::answered`], for the first of all new connections.
    fn answered_new(&self) {
        if !self.new_answered.swap(true, Ordering::Relaxed) {
            self.answered();
        }
    }
}

fn object() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("load-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The pause after a failed try to connect again, so that a refused client does not spin.
const AGAIN: Duration = Duration::from_millis(20);
const STEADY: Duration = Duration::from_secs(15);
