//! A server that answers each connection with the name of its host, and then echoes.

use std::net::Ipv6Addr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::PlainError;
use crate::host::{Host, runtime};

/// Such a server on all addresses of a host, of both families. Dropped, it closes its port and all
/// connections.
#[derive(Debug)]
pub struct Greeter {
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Greeter {
    /// Starts it on a port.
    ///
    /// # Errors
    /// If the host is gone or the port is taken.
    pub fn start(host: &Host, port: u16) -> Result<Self, PlainError> {
        let stop = CancellationToken::new();
        let (stopped, name) = (stop.clone(), host.name().to_owned());
        let (report, bound) = mpsc::sync_channel(1);
        let thread = host.enter(move || {
            let runtime = match runtime() {
                Ok(runtime) => runtime,
                Err(error) => return drop(report.send(Err(error.into()))),
            };
            runtime.block_on(async {
                // An IPv6 socket takes IPv4 too; so does that of an API server.
                match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
                    Ok(listener) => {
                        drop(report.send(Ok(())));
                        stopped.run_until_cancelled(serve(listener, name)).await.unwrap_or(());
                    }
                    Err(source) => drop(report.send(Err(PlainError::Listen { port, source }))),
                }
            });
        })?;
        let greeter = Self { stop, thread: Some(thread) };
        bound.recv().unwrap_or(Err(PlainError::Panicked))?;
        Ok(greeter)
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.stop.cancel();
        // Its port is free once it has ended.
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

async fn serve(listener: TcpListener, name: String) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _client)) = accepted {
                    connections.spawn(greet(stream, name.clone()));
                }
            }
            Some(_ended) = connections.join_next() => {}
        }
    }
}

/// How a client ends is the client's affair.
async fn greet(mut stream: TcpStream, name: String) {
    if stream.write_all(name.as_bytes()).await.is_err() {
        return;
    }
    let mut bytes = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(bytes.get(..length).unwrap_or_default()).await.is_err() {
            return;
        }
    }
}
