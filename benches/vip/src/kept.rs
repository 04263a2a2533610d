//! The clients that stay: connections that only listen, and notice when they are ended.
//!
//! They send nothing, so whose owner goes without a word is never told. One that was ended comes
//! again at once.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use evenkeel_testbed::Host;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::pause::go_first;

/// One connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Span {
    /// When it was answered.
    pub(crate) from: Instant,
    /// When it was ended. None: it was not, as far as its client knows.
    pub(crate) to: Option<Instant>,
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Kept {
    // Dropped, it ends the thread.
    stop: DropGuard,
    thread: JoinHandle<Result<Vec<Span>, Failed>>,
}

impl Kept {
    /// Starts them on a host.
    pub(crate) fn start(client: &Host, service: SocketAddr) -> Result<Self, Failed> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = client.enter(move || {
            go_first();
            let runtime = Builder::new_current_thread().enable_all().build();
            let runtime = runtime.doing(|| "start a runtime")?;
            let clients: JoinSet<Vec<Span>> = JoinSet::new();
            Ok(runtime.block_on(async {
                let mut clients = clients;
                for _ in 0..CLIENTS {
                    clients.spawn(stay(service, stopped.clone()));
                }
                clients.join_all().await.concat()
            }))
        });
        Ok(Self { stop: stop.drop_guard(), thread: thread.doing(|| "start the kept connections")? })
    }

    /// Ends them; all that there were.
    pub(crate) fn stop(self) -> Result<Vec<Span>, Failed> {
        drop(self.stop);
        let ended = self.thread.join();
        ended.unwrap_or_else(|_panic| Err(Failed::because("listen", "who listens panicked")))
    }
}

async fn stay(service: SocketAddr, stop: CancellationToken) -> Vec<Span> {
    let mut spans = Vec::new();
    let comes_again = async {
        loop {
            if let Ok(Ok(stream)) = timeout(PATIENCE, connect(service)).await {
                spans.push(Span { from: Instant::now(), to: None });
                listen(stream).await;
                if let Some(last) = spans.last_mut() {
                    last.to = Some(Instant::now());
                }
            }
            sleep(AGAIN).await;
        }
    };
    stop.run_until_cancelled(comes_again).await.unwrap_or(());
    spans
}

/// Connects, and waits for the first answer.
async fn connect(service: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(service).await?;
    stream.set_zero_linger()?;
    match stream.read(&mut [0; 64]).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}

/// Until the connection is ended, by a FIN or a RST.
async fn listen(mut stream: TcpStream) {
    let mut bytes = [0; 64];
    while let Ok(1..) = stream.read(&mut bytes).await {}
}

/// How many there are.
pub(crate) const CLIENTS: usize = 30;
/// How long to wait before coming again.
const AGAIN: Duration = Duration::from_millis(50);
/// How long to wait for the first answer.
const PATIENCE: Duration = Duration::from_millis(500);
