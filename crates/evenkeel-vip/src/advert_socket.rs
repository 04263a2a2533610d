//! Adverts out and in: raw sockets of protocol 112, of one family on one interface.
//!
//! Two sockets. One sends, bound to the address that adverts come from, and hears nothing. The other
//! hears what comes to the group or to this node, from anywhere on the interface but this node
//! itself. Checksums are ours to write and to check, in IPv6 too (`IPV6_CHECKSUM` is off by
//! default): what the kernel drops nobody counts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use nix::sys::socket::sockopt::Ipv6RecvPacketInfo;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn6, recv, recvmsg, setsockopt};
use socket2::{Domain, InterfaceIndexOrAddress, SockAddr, Socket};

use crate::open::{Ancillary, OpenError, filter, raw};
use crate::packet::{Advert, Checksum, GROUP_V4, GROUP_V6, PROTOCOL, Rejected, TTL};

/// Internetwork control: what routers say among themselves (RFC 2474 4.2.2.1).
const TRAFFIC_CLASS: u8 = 0xc0;

/// `TC_PRIO_CONTROL` of the kernel: ahead of all else in the queue of the interface.
const PRIORITY: u32 = 7;

/// More than the longest advert that we accept with the longest header of IPv4; what is cut off was
/// too long anyway.
const BUFFER: usize = 512;

/// Sends and receives adverts.
#[derive(Debug)]
pub struct AdvertSocket {
    sender: Socket,
    receiver: Socket,
    index: u32,
    group: IpAddr,
    buffer: [u8; BUFFER],
    ancillary: Ancillary,
}

/// What came by the receiving socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it.
    pub source: IpAddr,
    /// The group, or an address of this node.
    pub destination: IpAddr,
    /// Its TTL or hop limit.
    pub ttl: u8,
    /// What follows its IP header.
    pub payload: &'a [u8],
}

impl Received<'_> {
    /// Reads the advert in it: see [`Advert::read`].
    ///
    /// # Errors
    /// The first check that it fails.
    pub fn advert(&self) -> Result<(Advert, Checksum), Rejected> {
        Advert::read(self.payload, self.source, self.destination, self.ttl)
    }
}

impl AdvertSocket {
    /// Opens both for the interface of that name and index. `source` is the address of its own that
    /// adverts come from, of IPv6 the link-local one; it says which family it is.
    ///
    /// # Errors
    /// If one of them could not be made. [`OpenError::Source`] and [`OpenError::Interface`] may
    /// pass by themselves.
    pub fn open(interface: &str, index: u32, source: IpAddr) -> Result<Self, OpenError> {
        let (sender, receiver) = match source {
            IpAddr::V4(_) => (sender_v4(interface)?, receiver_v4(interface, index)?),
            IpAddr::V6(_) => (sender_v6(interface, index)?, receiver_v6(interface, index)?),
        };
        // Not worth failing for.
        drop(sender.set_priority(PRIORITY));
        sender
            .bind(&socket_address(source, index))
            .map_err(|error| OpenError::Source { address: source, source: error })?;
        let group = group(source);
        let (buffer, ancillary) = ([0; BUFFER], Ancillary::new());
        Ok(Self { sender, receiver, index, group, buffer, ancillary })
    }

    /// Where adverts for everybody go.
    pub fn group(&self) -> IpAddr {
        self.group
    }

    /// Sends an advert to the group or to a peer, of the same family. Its checksum must be made for
    /// that destination.
    ///
    /// # Errors
    /// If the kernel refuses, for example because the interface is down or its queue is full.
    pub fn send(&self, advert: &[u8], destination: IpAddr) -> io::Result<()> {
        self.sender.send_to(advert, &socket_address(destination, self.index)).map(drop)
    }

    /// The next packet; `None` if none waits.
    ///
    /// # Errors
    /// If the kernel says so, for example once after the interface has gone down.
    pub fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let received = match self.group {
            IpAddr::V4(_) => receive_v4(&self.receiver, &mut self.buffer),
            IpAddr::V6(_) => receive_v6(&self.receiver, &mut self.buffer, &mut self.ancillary),
        };
        match received {
            Ok(received) => Ok(Some(received)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Readable when [`AdvertSocket::receive`] has something to say.
impl AsFd for AdvertSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

fn sender_v4(interface: &str) -> Result<Socket, OpenError> {
    let socket = raw(Domain::IPV4, PROTOCOL.into(), interface, &[filter::ignore()])?;
    let set_up = || {
        socket.set_multicast_ttl_v4(TTL.into())?;
        socket.set_ttl_v4(TTL.into())?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_tos_v4(TRAFFIC_CLASS.into())
    };
    set_up().map_err(OpenError::Option)?;
    Ok(socket)
}

fn sender_v6(interface: &str, index: u32) -> Result<Socket, OpenError> {
    let socket = raw(Domain::IPV6, PROTOCOL.into(), interface, &[filter::ignore()])?;
    let set_up = || {
        socket.set_multicast_hops_v6(TTL.into())?;
        socket.set_unicast_hops_v6(TTL.into())?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(index)?;
        socket.set_tclass_v6(TRAFFIC_CLASS.into())
    };
    set_up().map_err(OpenError::Option)?;
    Ok(socket)
}

fn receiver_v4(interface: &str, index: u32) -> Result<Socket, OpenError> {
    let socket = raw(Domain::IPV4, PROTOCOL.into(), interface, &[])?;
    // Else it hears the groups that other processes have joined.
    socket.set_multicast_all_v4(false).map_err(OpenError::Option)?;
    socket
        .join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))
        .map_err(|source| OpenError::Join { group: GROUP_V4.into(), source })?;
    Ok(socket)
}

fn receiver_v6(interface: &str, index: u32) -> Result<Socket, OpenError> {
    let socket = raw(Domain::IPV6, PROTOCOL.into(), interface, &[])?;
    let set_up = || {
        socket.set_multicast_all_v6(false)?;
        socket.set_recv_hoplimit_v6(true)?;
        setsockopt(&socket, Ipv6RecvPacketInfo, &true).map_err(io::Error::from)
    };
    set_up().map_err(OpenError::Option)?;
    socket
        .join_multicast_v6(&GROUP_V6, index)
        .map_err(|source| OpenError::Join { group: GROUP_V6.into(), source })?;
    Ok(socket)
}

/// A raw socket of IPv4 gives the header too.
fn receive_v4<'a>(socket: &Socket, buffer: &'a mut [u8]) -> io::Result<Received<'a>> {
    let length = recv(socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?;
    buffer.get(..length).and_then(after_header).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Splits off the header (RFC 791 3.1), with its options.
fn after_header(packet: &[u8]) -> Option<Received<'_>> {
    let [version_and_length, ..] = *packet.first_chunk::<20>()?;
    let length = usize::from(version_and_length & 0x0f).checked_mul(4)?;
    let (header, payload) = packet.split_at_checked(length)?;
    let (_, from_ttl) = header.split_at_checked(8)?;
    let ([ttl, _protocol, _, _], from_source) = from_ttl.split_first_chunk::<4>()?;
    let (source, from_destination) = from_source.split_first_chunk::<4>()?;
    let destination = from_destination.first_chunk::<4>()?;
    Some(Received {
        source: Ipv4Addr::from(*source).into(),
        destination: Ipv4Addr::from(*destination).into(),
        ttl: *ttl,
        payload,
    })
}

/// One of IPv6 does not: what it says comes beside the packet.
fn receive_v6<'a>(
    socket: &Socket,
    buffer: &'a mut [u8],
    ancillary: &mut Ancillary,
) -> io::Result<Received<'a>> {
    // What the kernel would leave out cannot pass the checks of an advert.
    let (mut ttl, mut destination) = (0, Ipv6Addr::UNSPECIFIED);
    let (length, source) = {
        let mut buffers = [io::IoSliceMut::new(buffer)];
        let message = recvmsg::<SockaddrIn6>(
            socket.as_raw_fd(),
            &mut buffers,
            Some(&mut ancillary.0),
            MsgFlags::MSG_DONTWAIT,
        )?;
        for said in message.cmsgs()? {
            #[expect(clippy::wildcard_enum_match_arm, reason = "not ours, and of 20 kinds")]
            match said {
                ControlMessageOwned::Ipv6HopLimit(limit) => ttl = u8::try_from(limit).unwrap_or(0),
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    destination = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                }
                _ => {}
            }
        }
        (message.bytes, message.address.map_or(Ipv6Addr::UNSPECIFIED, |source| source.ip()))
    };
    let payload = buffer.get(..length).unwrap_or_default();
    Ok(Received { source: source.into(), destination: destination.into(), ttl, payload })
}

fn group(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => GROUP_V4.into(),
        IpAddr::V6(_) => GROUP_V6.into(),
    }
}

/// The index says which link a link-local address is of; others do not mind it.
fn socket_address(address: IpAddr, index: u32) -> SockAddr {
    match address {
        IpAddr::V4(address) => SocketAddr::new(address.into(), 0).into(),
        IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, index).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 20] =
        [0x45, 0xc0, 0, 32, 0, 0, 0, 0, 255, 112, 0, 0, 10, 0, 0, 11, 224, 0, 0, 18];

    #[test]
    fn a_header_is_split_off_with_its_options() {
        for options in [0, 4, 40] {
            let mut packet = HEADER.to_vec();
            packet[0] += options / 4;
            packet.resize(20 + usize::from(options), 1);
            packet.extend(b"advert");
            let received = Received {
                source: Ipv4Addr::new(10, 0, 0, 11).into(),
                destination: GROUP_V4.into(),
                ttl: 255,
                payload: b"advert",
            };
            assert_eq!(after_header(&packet), Some(received), "{options} bytes of options");
        }
    }

    #[test]
    fn a_header_that_is_cut_off_is_none() {
        for length in 0..20 {
            assert_eq!(after_header(&HEADER[..length]), None);
        }
        for first in [0x40, 0x44, 0x46, 0x4f] {
            let mut packet = HEADER;
            packet[0] = first;
            assert_eq!(after_header(&packet), None, "{first:#x}");
        }
    }
}
