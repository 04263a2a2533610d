//! One bound socket: accepts clients until the process drains, and survives what accept throws.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use evenkeel_core::shutdown::Shutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use crate::config::{ListenAddress, RelayConfig};
use crate::connection::{self, Balancer};
use crate::socket;

/// Pause after the kernel had no descriptor or memory for us: long enough not to spin, short
/// enough that a client does not notice once there is one again.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("{address} is in use: another process listens there (`ss -ltnp` tells which)")]
    InUse {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The port is below 1024 and we may not.
    #[error("{address} needs the capability CAP_NET_BIND_SERVICE")]
    Denied {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The host does not have the address.
    #[error("{address} is no address of this host")]
    NotLocal {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// Anything else.
    #[error("could not listen on {address}")]
    Other {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BindError {
    fn of(address: SocketAddr, source: io::Error) -> Self {
        let kind = source.kind();
        if kind == io::ErrorKind::AddrInUse {
            Self::InUse { address, source }
        } else if kind == io::ErrorKind::PermissionDenied {
            Self::Denied { address, source }
        } else if kind == io::ErrorKind::AddrNotAvailable {
            Self::NotLocal { address, source }
        } else {
            Self::Other { address, source }
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    /// One descriptor in reserve: with none left a client could not even be told so.
    spare: Option<File>,
}

impl Listener {
    /// Binds the address. Must be called within a runtime.
    ///
    /// # Errors
    /// By what is to be done about it.
    pub fn bind(address: ListenAddress, relay: &RelayConfig) -> Result<Self, BindError> {
        let address = address.address();
        socket::listen(address, relay)
            .and_then(|socket| Ok((socket.local_addr()?, TcpListener::from_std(socket)?)))
            .map(|(address, socket)| Self { socket, address, spare: spare() })
            .map_err(|source| BindError::of(address, source))
    }

    /// The address it is bound to, with the port that the kernel chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts clients until `drain`; then the socket closes, and the open connections go on.
    pub async fn run(mut self, balancer: Arc<Balancer>, shutdown: Shutdown) {
        let mut failing = false;
        while let Some(accepted) = shutdown.drain.run_until_cancelled(self.socket.accept()).await {
            match accepted {
                Ok((client, address)) => {
                    failing = false;
                    admit(&balancer, client, address);
                }
                Err(error) => {
                    let trouble = Trouble::of(&error);
                    balancer.metrics.accept_failed(trouble.reason());
                    match trouble {
                        Trouble::ClientGone => {}
                        Trouble::NoDescriptors | Trouble::Other => {
                            if !failing {
                                tracing::error!(
                                    service = %balancer.name,
                                    listener = %self.address,
                                    error = &error as &dyn std::error::Error,
                                    "clients cannot be accepted"
                                );
                                failing = true;
                            }
                            self.turn_one_away();
                            sleep(EXHAUSTED_PAUSE).await;
                        }
                    }
                }
            }
        }
    }

    /// Uses the spare descriptor to reset the first client in the queue, which would otherwise
    /// wait for as long as we have none.
    fn turn_one_away(&mut self) {
        drop(self.spare.take());
        // Only one that waits already: no waker.
        if let Poll::Ready(Ok((client, _))) =
            self.socket.poll_accept(&mut Context::from_waker(Waker::noop()))
        {
            socket::reset(client);
        }
        self.spare = spare();
    }
}

fn admit(balancer: &Arc<Balancer>, client: TcpStream, address: SocketAddr) {
    // Where nobody is served, nobody waits, and no task is made.
    if balancer.pool.snapshot().serving().is_empty() {
        socket::reset(client);
        balancer.metrics.rejected("no_backend");
        return;
    }
    let Some(permit) = balancer.admission.admit() else {
        socket::reset(client);
        balancer.metrics.rejected("limit");
        return;
    };
    balancer.metrics.accepted();
    let task = connection::serve(balancer.clone(), client, address, permit);
    balancer.tasks.spawn("connection", task);
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// What an error of accept means for us (accept(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// This client has gone already; the next may be fine.
    ClientGone,
    /// The process or the system has no descriptor or memory left.
    NoDescriptors,
    /// Anything else; it may pass.
    Other,
}

impl Trouble {
    fn of(error: &io::Error) -> Self {
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        const ENOMEM: i32 = 12;
        const ENOBUFS: i32 = 105;
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset, _) => {
                Self::ClientGone
            }
            (_, Some(ENFILE | EMFILE | ENOMEM | ENOBUFS)) => Self::NoDescriptors,
            _ => Self::Other,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::NoDescriptors => "no_descriptors",
            Self::Other => "other",
        }
    }
}
