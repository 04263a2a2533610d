//! A bound address, with a socket for each data thread, and what accept(2) may say.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::config::{ListenAddress, RelayConfig};
use crate::socket;

/// What a listener is bound to. Made of a [`ListenAddress`] it is that address, which the host must
/// have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The address that clients know.
    pub address: ListenAddress,
    /// The port that the kernel has for it.
    pub port: BindPort,
    /// Whether the host may be without the address, now or at times: it then takes clients whenever
    /// the host has it (`IP_FREEBIND`, ip(7)).
    pub freebind: bool,
}

/// Which port of its IP address a listener is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindPort {
    /// The one that clients know.
    Own,
    /// One that the kernel chooses: where another process has the port that clients know, for every
    /// address of the host, and a rule of the kernel's leads them to [`Listener::bound`].
    Chosen,
}

impl From<ListenAddress> for Bind {
    fn from(address: ListenAddress) -> Self {
        Self { address, port: BindPort::Own, freebind: false }
    }
}

impl Bind {
    /// What the kernel is asked for.
    fn asked(self) -> SocketAddr {
        let address = self.address.address();
        match self.port {
            BindPort::Own => address,
            BindPort::Chosen => {
                let mut chosen = address;
                chosen.set_port(0);
                chosen
            }
        }
    }
}

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
    fn of(bind: Bind, source: io::Error) -> Self {
        let address = bind.address.address();
        let kind = source.kind();
        // Where the kernel was to choose, nobody has the port: there is none left.
        let in_use = kind == io::ErrorKind::AddrInUse && bind.port == BindPort::Own;
        if in_use && lends(address.port()) {
            Self::Lent { address, source }
        } else if in_use {
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
    pub(crate) bound: SocketAddr,
}

impl Listener {
    /// Binds the address for `threads` data threads.
    ///
    /// # Errors
    /// By what is to be done about it.
    pub fn bind(bind: Bind, relay: &RelayConfig, threads: usize) -> Result<Self, BindError> {
        let listens = socket::listen(bind.asked(), bind.freebind, relay, threads);
        let listener = listens.and_then(|sockets| {
            let first = sockets.first().ok_or(io::ErrorKind::InvalidInput)?;
            let bound = SocketAddr::try_from(rustix::net::getsockname(first)?)?;
            let address = match bind.port {
                // With the port that the kernel chose if 0 was asked for.
                BindPort::Own => bound,
                BindPort::Chosen => bind.address.address(),
            };
            Ok(Self { sockets, address, bound })
        });
        listener.map_err(|source| BindError::of(bind, source))
    }

    /// The address that clients know, for logs, metrics and status.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address it is bound to: another port than [`address`](Self::address) has if the kernel
    /// chose it.
    pub fn bound(&self) -> SocketAddr {
        self.bound
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_the_kernel_was_to_choose_is_never_said_to_be_in_use() {
        let own = Bind::from(ListenAddress::new(([192, 0, 2, 1], 443).into()));
        let chosen = Bind { port: BindPort::Chosen, ..own };
        assert_eq!((own.asked().port(), chosen.asked().port()), (443, 0));
        let error = |bind| BindError::of(bind, io::ErrorKind::AddrInUse.into());
        assert!(matches!(error(own), BindError::InUse { .. }));
        assert!(matches!(error(chosen), BindError::Other { .. }));
    }
}
