//! Clients that stay: they only listen, and notice when they are ended.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::PlainError;
use crate::host::{EnterError, Host, runtime};

/// Such clients. Dropped, they leave.
#[derive(Debug)]
pub struct Stays {
    all: usize,
    ended: Arc<Mutex<Vec<Instant>>>,
    stop: CancellationToken,
    thread: Option<JoinHandle<Result<(), EnterError>>>,
}

impl Stays {
    /// Starts so many, and waits until each has had its first answer.
    ///
    /// # Errors
    /// If the host is gone, or one is not answered.
    pub fn start(client: &Host, server: SocketAddr, all: usize) -> Result<Self, PlainError> {
        let stop = CancellationToken::new();
        let ended = Arc::new(Mutex::new(Vec::new()));
        let (stopped, ends) = (stop.clone(), Arc::clone(&ended));
        let (report, answered) = mpsc::sync_channel(all);
        let thread = client.enter(move || {
            runtime()?.block_on(async {
                let clients: JoinSet<()> =
                    (0..all).map(|_| stay(server, report.clone(), Arc::clone(&ends))).collect();
                stopped.run_until_cancelled(clients.join_all()).await.unwrap_or_default();
            });
            Ok(())
        })?;
        let stays = Self { all, ended, stop, thread: Some(thread) };
        let (mut waiting, mut last) = (all, "their thread has ended".to_owned());
        for _ in 0..all {
            match answered.recv() {
                Ok(Ok(())) => waiting -= 1,
                Ok(Err(error)) => last = error,
                Err(_gone) => break,
            }
        }
        if waiting == 0 { Ok(stays) } else { Err(PlainError::NotAnswered { waiting, all, last }) }
    }

    /// How many are not ended, as far as they know.
    pub fn open(&self) -> usize {
        self.all - self.ends().len()
    }

    /// When each was ended that was.
    pub fn ends(&self) -> Vec<Instant> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Stays {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn stay(
    server: SocketAddr,
    report: mpsc::SyncSender<Result<(), String>>,
    ends: Arc<Mutex<Vec<Instant>>>,
) {
    let connected = timeout(PATIENCE, connect(server)).await;
    let mut stream = match connected {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return report.try_send(Err(error.to_string())).unwrap_or_default(),
        Err(elapsed) => return report.try_send(Err(elapsed.to_string())).unwrap_or_default(),
    };
    // There is room for all.
    report.try_send(Ok(())).unwrap_or_default();
    let mut bytes = [0; 64];
    while let Ok(1..) = stream.read(&mut bytes).await {}
    ends.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
}

/// Connects, and waits for the first answer.
async fn connect(server: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(server).await?;
    stream.set_zero_linger()?;
    match stream.read(&mut [0; 64]).await? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(stream),
    }
}

const PATIENCE: Duration = Duration::from_secs(5);
