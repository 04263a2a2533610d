//! A bound address, with a socket for each data thread, and what accept(2) may say.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::config::{ListenAddress, RelayConfig};
use crate::socket;

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
    /// Somebody has the port, and it is one that the kernel also lends to outgoing connections.
    #[error(
        "{address} is in use, by a listener (`ss -ltnp`) or an outgoing connection (`ss -tanp`): \
         the port is within net.ipv4.ip_local_port_range; keep it out of that by \
         `sysctl -w net.ipv4.ip_local_reserved_ports={port}`", port = .address.port()
    )]
    Lent {
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
        if kind == io::ErrorKind::AddrInUse && lends(address.port()) {
            Self::Lent { address, source }
        } else if kind == io::ErrorKind::AddrInUse {
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

/// Whether the kernel lends the port to outgoing connections, as far as it can be told.
fn lends(port: u16) -> bool {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let range = range.unwrap_or_default();
    let mut bounds = range.split_whitespace().filter_map(|bound| bound.parse::<u16>().ok());
    matches!((bounds.next(), bounds.next()), (Some(low), Some(high)) if (low..=high).contains(&port))
}

/// A bound address, on which nobody is accepted before the data plane serves it.
#[derive(Debug)]
pub struct Listener {
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) address: SocketAddr,
}

impl Listener {
    /// Binds the address for `threads` data threads.
    ///
    /// # Errors
    /// By what is to be done about it.
    pub fn bind(
        address: ListenAddress,
        relay: &RelayConfig,
        threads: usize,
    ) -> Result<Self, BindError> {
        let address = address.address();
        let bound = socket::listen(address, relay, threads).and_then(|sockets| {
            let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
            let address = SocketAddr::try_from(rustix::net::getsockname(first)?)?;
            Ok(Self { sockets, address })
        });
        bound.map_err(|source| BindError::of(address, source))
    }

    /// The address it is bound to, with the port that the kernel chose if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// What an error of accept means for us (accept(2)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// This client has gone already; the next may be fine.
    ClientGone,
    /// The process or the system has no descriptor or memory left.
    NoDescriptors,
    /// Anything else; it may pass.
    Other,
}

impl Trouble {
    pub(crate) fn of(error: Errno) -> Self {
        match error {
            // Linux passes on what had befallen the new connection already.
            Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP => Self::ClientGone,
            Errno::NFILE | Errno::MFILE | Errno::NOMEM | Errno::NOBUFS => Self::NoDescriptors,
            _ => Self::Other,
        }
    }

    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::ClientGone => "client_gone",
            Self::NoDescriptors => "no_descriptors",
            Self::Other => "other",
        }
    }
}
