//! Clients that come anew, one after another, and wait for the first bytes of an answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::PlainError;
use crate::host::{EnterError, Host, runtime};

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Knock {
    /// When it was begun.
    pub sent: Instant,
    /// How long it took to be answered or to fail.
    pub took: Duration,
    /// Who answered, or why nobody did.
    pub answer: Result<String, String>,
}

/// Clients that run until they are stopped or dropped.
#[derive(Debug)]
pub struct Knocks {
    stop: CancellationToken,
    good: Arc<AtomicU32>,
    thread: Option<JoinHandle<Result<Vec<Knock>, EnterError>>>,
}

impl Knocks {
    /// Starts them: a new one each 10 ms, whatever became of the others.
    ///
    /// # Errors
    /// If the host is gone.
    pub fn start(client: &Host, server: SocketAddr) -> Result<Self, PlainError> {
        let stop = CancellationToken::new();
        let good = Arc::new(AtomicU32::new(0));
        let (stopped, count) = (stop.clone(), Arc::clone(&good));
        let thread =
            client.enter(move || Ok(runtime()?.block_on(knock(server, stopped, &count))))?;
        Ok(Self { stop, good, thread: Some(thread) })
    }

    /// How many of the last ones were answered, one after the other.
    pub fn good_in_a_row(&self) -> u32 {
        self.good.load(Ordering::Relaxed)
    }

    /// Ends them; all that came, in the order in which they were begun.
    ///
    /// # Errors
    /// If their thread panicked or had no runtime.
    pub fn stop(mut self) -> Result<Vec<Knock>, PlainError> {
        self.stop.cancel();
        let thread = self.thread.take().ok_or(PlainError::Panicked)?;
        Ok(thread.join().unwrap_or_else(|_panic| Ok(Vec::new()))?)
    }

    /// One client, for comparison: who answered.
    ///
    /// # Errors
    /// If the host is gone.
    pub fn once(client: &Host, server: SocketAddr) -> Result<Knock, PlainError> {
        Ok(client.block_on(attempt(server))?)
    }
}

impl Drop for Knocks {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn knock(server: SocketAddr, stop: CancellationToken, good: &AtomicU32) -> Vec<Knock> {
    let mut ticks = interval(EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut open, mut knocks) = (JoinSet::new(), Vec::new());
    let mut note = |knock: Knock| {
        let now = if knock.answer.is_ok() { good.load(Ordering::Relaxed) + 1 } else { 0 };
        good.store(now, Ordering::Relaxed);
        knocks.push(knock);
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            _tick = ticks.tick() => {
                open.spawn(attempt(server));
            }
            Some(Ok(knock)) = open.join_next() => note(knock),
        }
    }
    while let Some(ended) = open.join_next().await {
        ended.into_iter().for_each(&mut note);
    }
    knocks.sort_by_key(|knock| knock.sent);
    knocks
}

async fn attempt(server: SocketAddr) -> Knock {
    let sent = Instant::now();
    let answer = match timeout(PATIENCE, ask(server)).await {
        Ok(Ok(name)) => Ok(name),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("no answer in time".to_owned()),
    };
    Knock { sent, took: sent.elapsed(), answer }
}

/// Connects, and reads the first bytes.
async fn ask(server: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    // Its end is a reset: it leaves nothing behind on either side.
    stream.set_zero_linger()?;
    let mut name = [0; 64];
    match stream.read(&mut name).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        length => Ok(String::from_utf8_lossy(name.get(..length).unwrap_or_default()).into_owned()),
    }
}

const EACH: Duration = Duration::from_millis(10);
/// Longer than the kernel waits until it says a lost SYN again, which is a second: who was answered
/// has taken as long, and who was not has failed.
const PATIENCE: Duration = Duration::from_secs(2);
