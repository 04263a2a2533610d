//! The clients that come anew: a TCP connection each 20 ms, on a thread of their own.
//!
//! One is good if the first byte of an answer comes within 300 ms. What counts is when it was sent:
//! connections do not wait for each other.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_testbed::Host;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::neighbour::Forgetter;
use crate::row::Resolver;
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::pause::go_first;

/// One connection.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Attempt {
    /// When it was sent.
    pub(crate) sent: Instant,
    /// How long it took to be answered or to fail.
    pub(crate) took: Duration,
    /// Who answered, or why nobody did.
    pub(crate) answer: Result<String, String>,
}

/// All connections.
#[derive(Clone, Debug)]
pub(crate) struct Probed {
    /// In the order in which they were sent.
    pub(crate) attempts: Vec<Attempt>,
    /// When the last one could have been sent.
    pub(crate) until: Instant,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Prober {
    // Dropped, it ends the thread.
    stop: DropGuard,
    good: watch::Receiver<u32>,
    thread: JoinHandle<Result<Probed, Failed>>,
}

impl Prober {
    /// Starts it on a host.
    pub(crate) fn start(
        client: &Host,
        service: SocketAddr,
        resolver: Resolver,
    ) -> Result<Self, Failed> {
        let (count, good) = watch::channel(0);
        let stop = CancellationToken::new();
        let (stopped, interface) = (stop.clone(), client.interface());
        let thread = client.enter(move || {
            go_first();
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.doing(|| "start a runtime")?;
            let forgetter = match resolver {
                Resolver::Warm => None,
                Resolver::Cold => {
                    let forgetter = Forgetter::new(interface, service.ip());
                    Some(forgetter.doing(|| "forget a neighbour")?)
                }
            };
            runtime.block_on(probe(service, forgetter, stopped, count))
        });
        Ok(Self { stop: stop.drop_guard(), good, thread: thread.doing(|| "start the prober")? })
    }

    /// How many of the last connections were good, one after the other.
    pub(crate) fn good_in_a_row(&self) -> u32 {
        *self.good.borrow()
    }

    /// Ends it; all that it saw.
    pub(crate) fn stop(self) -> Result<Probed, Failed> {
        drop(self.stop);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_panic| Err(Failed::because("probe", "the prober panicked")))
    }
}

async fn probe(
    service: SocketAddr,
    forgetter: Option<Forgetter>,
    stop: CancellationToken,
    good: watch::Sender<u32>,
) -> Result<Probed, Failed> {
    let mut ticks = interval(EACH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut open, mut attempts) = (JoinSet::new(), Vec::new());
    let mut note = |attempt: Attempt| {
        good.send_modify(|good| *good = if attempt.answer.is_ok() { *good + 1 } else { 0 });
        attempts.push(attempt);
    };
    let until = loop {
        tokio::select! {
            () = stop.cancelled() => break Instant::now(),
            _tick = ticks.tick() => {
                if let Some(forgetter) = &forgetter {
                    forgetter.forget().doing(|| "forget a neighbour")?;
                }
                open.spawn(attempt(service));
            }
            Some(Ok(attempt)) = open.join_next() => note(attempt),
        }
    };
    while let Some(ended) = open.join_next().await {
        ended.into_iter().for_each(&mut note);
    }
    attempts.sort_by_key(|attempt| attempt.sent);
    Ok(Probed { attempts, until })
}

async fn attempt(service: SocketAddr) -> Attempt {
    let sent = Instant::now();
    let answer = match timeout(PATIENCE, ask(service)).await {
        Ok(Ok(name)) => Ok(name),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_elapsed) => Err("no answer in time".to_owned()),
    };
    Attempt { sent, took: sent.elapsed(), answer }
}

async fn ask(service: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(service).await?;
    // Its end is a reset: it leaves nothing behind on either side.
    stream.set_zero_linger()?;
    let mut name = [0; 64];
    let length = stream.read(&mut name).await?;
    if length == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(name.get(..length).unwrap_or_default()).into_owned())
}

/// How often one is sent.
pub(crate) const EACH: Duration = Duration::from_millis(20);
/// How long one waits.
pub(crate) const PATIENCE: Duration = Duration::from_millis(300);
