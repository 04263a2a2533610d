//! Opening raw sockets. They need `CAP_NET_RAW` and nothing else; once open they need nothing.

use std::io;
use std::net::IpAddr;

use socket2::{Domain, Protocol, SockFilter, Socket, Type};

/// Why a socket is not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel makes raw sockets only for whom it trusts.
    #[error("no raw socket could be made: that takes CAP_NET_RAW")]
    Raw(#[source] io::Error),
    /// The interface is gone, or was renamed.
    #[error("no socket could be bound to the interface {interface}")]
    Interface {
        /// Its name.
        interface: String,
        /// Why not.
        source: io::Error,
    },
    /// Frames are for Ethernet, and for what looks like it.
    #[error("the interface {interface} is none of Ethernet")]
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// The interface does not have it, or in IPv6 not yet: duplicate address detection goes on.
    #[error("adverts cannot come from {address}")]
    Source {
        /// The address.
        address: IpAddr,
        /// Why not.
        source: io::Error,
    },
    /// The group could not be joined.
    #[error("the group {group} could not be joined")]
    Join {
        /// The group.
        group: IpAddr,
        /// Why not.
        source: io::Error,
    },
    /// An option of a socket was refused.
    #[error("a socket could not be set up")]
    Option(#[source] io::Error),
}

/// Room for what the kernel says beside a packet, aligned as its headers must be: an address with
/// an interface (40 bytes with its header) and a hop limit (24).
#[derive(Debug)]
#[repr(align(8))]
pub(crate) struct Ancillary(pub(crate) [u8; 64]);

impl Ancillary {
    pub(crate) const fn new() -> Self {
        Self([0; 64])
    }
}

/// A raw socket that hears only what passes `filter` and, unless it is one of packets, comes by
/// `interface`. It never blocks.
pub(crate) fn raw(
    domain: Domain,
    protocol: i32,
    interface: &str,
    filter: &[SockFilter],
) -> Result<Socket, OpenError> {
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)));
    let socket = socket.map_err(OpenError::Raw)?;
    if !filter.is_empty() {
        socket.attach_filter(filter).map_err(OpenError::Option)?;
    }
    if domain != Domain::PACKET {
        socket
            .bind_device(Some(interface.as_bytes()))
            .map_err(|source| OpenError::Interface { interface: interface.to_owned(), source })?;
    }
    socket.set_nonblocking(true).map_err(OpenError::Option)?;
    Ok(socket)
}

/// Instructions of filters (Linux, `Documentation/networking/filter.rst`).
pub(crate) mod filter {
    use super::SockFilter;

    /// Loads the byte at that offset.
    pub(crate) const fn load_byte(offset: u32) -> SockFilter {
        SockFilter::new(0x30, 0, 0, offset)
    }

    /// Loads the four bytes from that offset on.
    pub(crate) const fn load_word(offset: u32) -> SockFilter {
        SockFilter::new(0x20, 0, 0, offset)
    }

    /// Skips `otherwise` instructions unless what is loaded is `value`.
    pub(crate) const fn is(value: u32, otherwise: u8) -> SockFilter {
        SockFilter::new(0x15, 0, otherwise, value)
    }

    /// Skips `otherwise` instructions if what is loaded is `value`.
    pub(crate) const fn is_not(value: u32, otherwise: u8) -> SockFilter {
        SockFilter::new(0x15, otherwise, 0, value)
    }

    /// Ends: the packet is kept.
    pub(crate) const fn keep() -> SockFilter {
        SockFilter::new(0x06, 0, 0, u32::MAX)
    }

    /// Ends: the packet is not for us.
    pub(crate) const fn ignore() -> SockFilter {
        SockFilter::new(0x06, 0, 0, 0)
    }
}
