//! The listener of the admin endpoint. It ends last, so that `/readyz` can say "draining".

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::AdminConfig;
use crate::observe::Observe;
use crate::routes::{Shared, router};

/// Connections at a time. The next waits in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// Longest wait for the head of a request; also for the next request of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head, the smallest that hyper takes.
const MAX_HEAD: usize = 8192;
/// Longest life of a connection, however busy.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an answer that is being written may take once the process ends.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// Pause after a failed accept: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often samples that nobody has scraped are folded, or they pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The admin endpoint, not bound yet.
pub struct Server {
    config: AdminConfig,
    shared: Shared,
}

/// Why the admin endpoint has no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process has the port: often another evenkeel.
    #[error(
        "{0} is taken, perhaps by another evenkeel: end that, or set `admin.listen` to another port or to off"
    )]
    Taken(SocketAddr),
    /// The address cannot be listened on.
    #[error("could not listen on {address} (`admin.listen`)")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl Server {
    /// Answers from `observer` and `prometheus`.
    pub fn new(
        config: AdminConfig,
        prometheus: PrometheusHandle,
        observer: Arc<dyn Observe>,
    ) -> Self {
        Self { config, shared: Shared { observer, prometheus } }
    }

    /// Binds the listener, so that a conflict is known at start. With `listen: off` there is none
    /// to bind.
    ///
    /// # Errors
    /// Says whether the port is taken, or what else is wrong with the address.
    pub async fn bind(self) -> Result<BoundServer, BindError> {
        let listener = match self.config.listen.address() {
            None => None,
            Some(address) => match TcpListener::bind(address).await {
                Ok(listener) => Some(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                    return Err(BindError::Taken(address));
                }
                Err(source) => return Err(BindError::Failed { address, source }),
            },
        };
        let prometheus = self.shared.prometheus.clone();
        Ok(BoundServer { listener, router: router(self.shared), prometheus })
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The admin endpoint with its listener.
pub struct BoundServer {
    listener: Option<TcpListener>,
    router: Router,
    prometheus: PrometheusHandle,
}

impl BoundServer {
    /// The address that is listened on, with the port that the kernel gave for port 0; `None` if
    /// the endpoint is off.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.as_ref().and_then(|listener| listener.local_addr().ok())
    }

    /// Answers until `stop`, then lets answers that are being written end, for a second. Also keeps
    /// the metrics tidy, and so is run even if the endpoint is off.
    ///
    /// # Cancel safety
    /// May be dropped: its connections end with it.
    pub async fn run(self, stop: CancellationToken) {
        let Self { listener, router, prometheus } = self;
        let mut connections = JoinSet::new();
        let mut upkeep = interval(UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = upkeep.tick() => prometheus.run_upkeep(),
                Some(ended) = connections.join_next() => log_panic(ended),
                client = accept(listener.as_ref()), if connections.len() < MAX_CONNECTIONS => {
                    connections.spawn(serve(client, router.clone(), stop.clone()));
                }
            }
        }
        drop(listener);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if timeout(LAST_ANSWER, all_ended).await.is_err() {
            tracing::debug!("admin connections cut off");
        }
    }
}

impl std::fmt::Debug for BoundServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundServer").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// The next client; never, without a listener. A failed accept is no reason to end: it is one of a
/// client gone already, or of descriptors that come back.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            Err(error) => {
                tracing::debug!(%error, "admin connection not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Answers the requests of one connection.
async fn serve(client: TcpStream, router: Router, stop: CancellationToken) {
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(client), TowerToHyperService::new(router))
    );
    let ended = timeout(CONNECTION_TIMEOUT, async {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            () = stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        connection.await
    });
    match ended.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin connection ended"),
        Err(_elapsed) => tracing::debug!("admin connection ended for its age"),
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "admin connection panicked");
    }
}

#[cfg(test)]
mod tests;
