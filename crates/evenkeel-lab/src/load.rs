//! Clients of an address, and what they feel: new connections, kept ones, and watches.
//!
//! ```text
//! new    every 25 ms: connect, TLS, GET /version, close       each in a task of its own
//! kept   connect, then GET /version every 100 ms              a task a client
//! watch  connect, then read what comes every 100 ms           a task a client
//!                └─ Event ─> Recorder ─> Felt
//! ```

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::Resumption;
use rustls_pki_types::{InvalidDnsNameError, ServerName};
use tokio::time::{self, Instant, MissedTickBehavior};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::certificates::Identity;
use crate::client::Client;
use crate::failure::Failure;
use crate::tls::{self, TlsError};

mod felt;
mod latency;
mod window;

pub use felt::{ClientKind, FailureFelt, Felt, NewFelt, OpenFelt};

use window::{Clients, Event, Recorder, Window, lock};

/// Which clients a load has.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Time from one new connection to the next. Default 25 ms.
    pub new_interval: Duration,
    /// The longest that opening a connection and its first answer may take. Default 5 s.
    pub limit: Duration,
    /// The number of clients that keep a connection and ask every 100 ms. Default 4.
    pub kept: usize,
    /// The number of watches. Default 4.
    pub watches: usize,
    /// How long a kept client or a watch waits for something to come before it gives its
    /// connection up. Default 45 s, as client-go by its HTTP/2 pings.
    pub patience: Duration,
    /// What new and kept connections ask for. Default `/version`.
    pub path: String,
    /// What watches ask for: an answer that has no end and speaks at least every 100 ms. Default
    /// `/lab/ticks`.
    pub watch_path: String,
    /// The name that the server has to prove. Default `kubernetes.default.svc`.
    pub server_name: String,
    /// The client certificate to present. Default none.
    pub identity: Option<Identity>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            new_interval: Duration::from_millis(25),
            limit: Duration::from_secs(5),
            kept: 4,
            watches: 4,
            patience: Duration::from_secs(45),
            path: "/version".to_owned(),
            watch_path: "/lab/ticks".to_owned(),
            server_name: "kubernetes.default.svc".to_owned(),
            identity: None,
        }
    }
}

/// Why a load was not started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The certificates cannot be put to use.
    #[error("the clients have no TLS")]
    Tls(#[from] TlsError),
    /// The name is neither a DNS name nor an address.
    #[error("the server name cannot be verified")]
    ServerName(#[from] InvalidDnsNameError),
}

/// Clients at work. Dropping it ends them too, without waiting.
#[derive(Debug)]
pub struct Load {
    recorder: Arc<Recorder>,
    tasks: TaskTracker,
    shutdown: DropGuard,
}

impl Load {
    /// Starts the clients of `address`; they trust the authority `ca_pem` alone. Needs a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// - [`LoadError::Tls`]: a certificate is not valid.
    /// - [`LoadError::ServerName`]: the server name is not valid.
    pub fn start(
        address: SocketAddr,
        ca_pem: &str,
        options: LoadOptions,
    ) -> Result<Self, LoadError> {
        let mut config = tls::client(ca_pem, options.identity.as_ref())?;
        // Each connection stands for another process, which has no session to resume.
        config.resumption = Resumption::disabled();
        let server_name = ServerName::try_from(options.server_name.clone())?;
        let clients = Clients { kept: options.kept, watches: options.watches };
        let recorder = Arc::new(Recorder::new(clients, Instant::now()));
        let tasks = TaskTracker::new();
        let shutdown = CancellationToken::new();
        let crew = Arc::new(Crew {
            address,
            tls: TlsConnector::from(Arc::new(config)),
            server_name,
            options,
            recorder: Arc::clone(&recorder),
            shutdown: shutdown.clone(),
        });
        tasks.spawn(crew.clone().until_shutdown(crew.clone().open(tasks.clone())));
        for place in 0..clients.kept {
            tasks.spawn(crew.clone().until_shutdown(crew.clone().keep(place)));
        }
        for place in 0..clients.watches {
            tasks.spawn(crew.clone().until_shutdown(crew.clone().watch(place)));
        }
        Ok(Self { recorder, tasks, shutdown: shutdown.drop_guard() })
    }

    /// Tells what was felt since the start.
    pub fn felt(&self) -> Felt {
        self.recorder.felt()
    }

    /// Begins a window of time. What was begun before and is felt after belongs to it.
    pub fn mark(&self) -> Mark {
        Mark(self.recorder.mark())
    }

    /// Tells what was felt since the mark.
    pub fn felt_since(&self, mark: &Mark) -> Felt {
        lock(&mark.0).felt(Instant::now())
    }

    /// Ends all clients, and tells what was felt from the start to now. What was under way is not
    /// counted.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the clients end also if this is dropped.
    pub async fn stop(self) -> Felt {
        let felt = self.recorder.felt();
        drop(self.shutdown);
        self.tasks.close();
        self.tasks.wait().await;
        felt
    }
}

/// The beginning of a window of time; the window is kept as long as this is held.
#[derive(Debug)]
pub struct Mark(Arc<Mutex<Window>>);

/// What all clients of a load know.
struct Crew {
    address: SocketAddr,
    tls: TlsConnector,
    server_name: ServerName<'static>,
    options: LoadOptions,
    recorder: Arc<Recorder>,
    shutdown: CancellationToken,
}

impl Crew {
    async fn until_shutdown(self: Arc<Self>, client: impl Future<Output = ()>) {
        let _ended = self.shutdown.run_until_cancelled(client).await;
    }

    /// Opens new connections, none of which waits for another. `limit` over `new_interval` bounds
    /// how many there are at once.
    async fn open(self: Arc<Self>, tasks: TaskTracker) {
        let mut ticks = time::interval(self.options.new_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            tasks.spawn(self.clone().until_shutdown(self.clone().open_one()));
        }
    }

    async fn open_one(self: Arc<Self>) {
        let begun = Instant::now();
        let client = within(self.options.limit, async {
            let mut client = self.connect().await?;
            accept_200(client.get(&self.options.path).await?.status().as_u16())?;
            Ok(client)
        });
        match client.await {
            Ok(client) => {
                self.recorder.record(Event::Opened(begun.elapsed()));
                // It was answered: how the connection then ends is no failure.
                let _in_good_order = within(self.options.limit, client.close()).await.is_ok();
            }
            Err(reason) => self.recorder.record(Event::Failed(ClientKind::New, reason)),
        }
    }

    async fn keep(self: Arc<Self>, place: usize) {
        let kind = ClientKind::Kept;
        loop {
            let mut client = self.connect_until_open(kind).await;
            let mut ticks = time::interval(BEAT);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let reason = loop {
                ticks.tick().await;
                match within(self.options.patience, client.get(&self.options.path)).await {
                    Ok(answer) => match accept_200(answer.status().as_u16()) {
                        Ok(()) => self.recorder.record(Event::Heard(kind, place)),
                        Err(reason) => self.recorder.record(Event::Failed(kind, reason)),
                    },
                    Err(reason) => break reason,
                }
            };
            self.recorder.record(Event::Lost(kind, reason));
        }
    }

    async fn watch(self: Arc<Self>, place: usize) {
        let kind = ClientKind::Watch;
        loop {
            let mut client = self.connect_until_open(kind).await;
            let opened = within(self.options.limit, client.open(&self.options.watch_path)).await;
            let opened = opened.and_then(|answer| {
                accept_200(answer.status().as_u16())?;
                Ok(answer.into_body())
            });
            let mut body = match opened {
                Ok(body) => body,
                Err(reason) => {
                    self.recorder.record(Event::Failed(kind, reason));
                    time::sleep(RETRY_PAUSE).await;
                    continue;
                }
            };
            loop {
                match within(self.options.patience, client.chunk(&mut body)).await {
                    Ok(Some(_)) => self.recorder.record(Event::Heard(kind, place)),
                    // A watch may end in good order at any time; its client asks anew.
                    Ok(None) => break,
                    Err(reason) => {
                        self.recorder.record(Event::Lost(kind, reason));
                        break;
                    }
                }
            }
        }
    }

    /// Connects at once, and after a failure again and again.
    async fn connect_until_open(&self, kind: ClientKind) -> Client {
        loop {
            match within(self.options.limit, self.connect()).await {
                Ok(client) => return client,
                Err(reason) => {
                    self.recorder.record(Event::Failed(kind, reason));
                    time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<Client, Failure> {
        Client::connect(self.address, &self.tls, &self.server_name).await
    }
}

async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    time::timeout(limit, what).await.unwrap_or(Err(Failure::Silent))
}

fn accept_200(status: u16) -> Result<(), Failure> {
    if status == 200 { Ok(()) } else { Err(Failure::Status(status)) }
}

/// Time from one request of a kept client to the next.
const BEAT: Duration = Duration::from_millis(100);
/// A refusal comes at once; without a pause its client would do nothing but be refused.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
