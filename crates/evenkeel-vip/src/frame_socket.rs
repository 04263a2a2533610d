//! Announcements out, and claims of others in.
//!
//! ```text
//! sender   AF_PACKET, hears nothing; each frame names the interface
//! arp      AF_PACKET, ARP of the interface whose sender address is one of ours
//! na       raw ICMPv6, neighbour advertisements of the interface for one of ours
//! ```
//!
//! Both that hear have a filter in the kernel, so that the ARP of a large network wakes nobody.
//! Neither hears what this node sends: the kernel gives outgoing frames only to sockets of all
//! protocols.
//!
//! No safe library makes a `sockaddr_ll`. But getifaddrs(3) gives that of every interface, with its
//! index and without a protocol, and that is the one to bind and to send to.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, bind, recvfrom, recvmsg, sendto};
use socket2::{Domain, SockFilter, Socket};

use crate::announcement::{Heard, Mac};
use crate::open::{Ancillary, OpenError, filter, raw};

/// More than ARP or a neighbour advertisement of any sense.
const BUFFER: usize = 512;

/// Claims that are skipped in one call, because they cannot be read, before it lets others run.
const MOST_SKIPPED: usize = 64;

/// Sends frames, and hears who else claims our addresses.
#[derive(Debug)]
pub struct FrameSocket {
    interface: LinkAddr,
    mac: Mac,
    sender: Socket,
    arp: Option<Socket>,
    na: Option<Socket>,
    buffer: [u8; BUFFER],
    ancillary: Ancillary,
}

impl FrameSocket {
    /// Opens them for the interface of that name and index, to hear of `addresses`: ARP only if one
    /// of them is IPv4, neighbour advertisements only if one is IPv6.
    ///
    /// # Errors
    /// If one of them could not be made.
    pub fn open(interface: &str, index: u32, addresses: &[IpAddr]) -> Result<Self, OpenError> {
        let gone = |source| OpenError::Interface { interface: interface.to_owned(), source };
        let link = link(index).map_err(gone)?;
        let mac = link.addr().filter(|_| link.halen() == size_of::<Mac>());
        let mac = mac.ok_or_else(|| OpenError::NotEthernet { interface: interface.to_owned() })?;

        let sender = raw(Domain::PACKET, 0, interface, &[])?;
        let (v4, v6) = by_family(addresses);
        let arp = if v4.is_empty() {
            None
        } else {
            let protocol = i32::from(u16::to_be(ETHERTYPE_ARP));
            let socket = raw(Domain::PACKET, protocol, interface, &arp_filter(&v4))?;
            bind(socket.as_raw_fd(), &link).map_err(|error| gone(error.into()))?;
            Some(socket)
        };
        let na = if v6.is_empty() {
            None
        } else {
            let socket = raw(Domain::IPV6, ICMP_V6, interface, &na_filter(&v6))?;
            socket.set_recv_hoplimit_v6(true).map_err(OpenError::Option)?;
            Some(socket)
        };
        let (buffer, ancillary) = ([0; BUFFER], Ancillary::new());
        Ok(Self { interface: link, mac, sender, arp, na, buffer, ancillary })
    }

    /// The address of the network card when this was opened.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// If the kernel refuses, for example because the interface is down, or gone.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        sendto(self.sender.as_raw_fd(), frame, &self.interface, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// What to wait for: each is readable when [`FrameSocket::receive`] may have something to say.
    pub fn readable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.arp.iter().chain(&self.na).map(Socket::as_fd)
    }

    /// The next claim to one of the addresses; `None` if none waits.
    ///
    /// # Errors
    /// If the kernel says so, for example once after the interface has gone down.
    pub fn receive(&mut self) -> io::Result<Option<Heard>> {
        for _ in 0..MOST_SKIPPED {
            let arp = match &self.arp {
                Some(socket) => waits(receive_arp(socket, &self.interface, &mut self.buffer))?,
                None => None,
            };
            let next = match (arp, &self.na) {
                (None, Some(socket)) => {
                    waits(receive_na(socket, &mut self.buffer, &mut self.ancillary))?
                }
                (arp, _) => arp,
            };
            match next {
                Some(Some(heard)) => return Ok(Some(heard)),
                Some(None) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// The `sockaddr_ll` of an interface.
fn link(index: u32) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter_map(|entry| entry.address?.as_link_addr().copied())
        .find(|link| u32::try_from(link.ifindex()) == Ok(index))
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
}

fn by_family(addresses: &[IpAddr]) -> (Vec<Ipv4Addr>, Vec<Ipv6Addr>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(*address),
            IpAddr::V6(address) => v6.push(*address),
        }
    }
    (v4, v6)
}

/// Keeps frames of ARP whose sender address is one of `addresses`.
fn arp_filter(addresses: &[Ipv4Addr]) -> Vec<SockFilter> {
    let mut filter = vec![filter::load_word(SENDER_AT)];
    for address in addresses {
        filter.extend([filter::is(u32::from(*address), 1), filter::keep()]);
    }
    filter.push(filter::ignore());
    filter
}

/// Keeps `ICMPv6` neighbour advertisements whose target is one of `addresses`.
fn na_filter(addresses: &[Ipv6Addr]) -> Vec<SockFilter> {
    let mut filter =
        vec![filter::load_byte(0), filter::is_not(NEIGHBOUR_ADVERTISEMENT, 1), filter::ignore()];
    for address in addresses {
        let octets = address.octets();
        let (words, _) = octets.as_chunks::<4>();
        // How many instructions are left of those for this address.
        let places = (TARGET_AT..).step_by(4).zip([7, 5, 3, 1]);
        for (word, (at, otherwise)) in words.iter().zip(places) {
            filter
                .extend([filter::load_word(at), filter::is(u32::from_be_bytes(*word), otherwise)]);
        }
        filter.push(filter::keep());
    }
    filter.push(filter::ignore());
    filter
}

/// `None` where the kernel says that nothing waits.
fn waits<T>(received: nix::Result<T>) -> io::Result<Option<T>> {
    match received {
        Ok(received) => Ok(Some(received)),
        Err(nix::errno::Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn receive_arp(
    socket: &Socket,
    interface: &LinkAddr,
    buffer: &mut [u8],
) -> nix::Result<Option<Heard>> {
    let (length, from) = recvfrom::<LinkAddr>(socket.as_raw_fd(), buffer)?;
    // Before it was bound, the socket heard all interfaces.
    let ours = from.is_some_and(|from| {
        from.ifindex() == interface.ifindex() && from.pkttype() != libc::PACKET_OUTGOING
    });
    Ok(buffer.get(..length).filter(|_| ours).and_then(Heard::read_arp))
}

fn receive_na(
    socket: &Socket,
    buffer: &mut [u8],
    ancillary: &mut Ancillary,
) -> nix::Result<Option<Heard>> {
    let mut hop_limit = None;
    let length = {
        let mut buffers = [io::IoSliceMut::new(buffer)];
        let flags = MsgFlags::MSG_DONTWAIT;
        let message =
            recvmsg::<()>(socket.as_raw_fd(), &mut buffers, Some(&mut ancillary.0), flags)?;
        for said in message.cmsgs()? {
            if let ControlMessageOwned::Ipv6HopLimit(limit) = said {
                hop_limit = u8::try_from(limit).ok();
            }
        }
        message.bytes
    };
    let read = |hop_limit| {
        let message = buffer.get(..length)?;
        Heard::read_neighbour_advertisement(message, hop_limit)
    };
    Ok(hop_limit.and_then(read))
}

const ETHERTYPE_ARP: u16 = 0x0806;
/// Where a frame of ARP has the address of its sender.
const SENDER_AT: u32 = 14 + 14;
const ICMP_V6: i32 = 58;
const NEIGHBOUR_ADVERTISEMENT: u32 = 136;
/// Where a neighbour advertisement has the address that it is about.
const TARGET_AT: u32 = 8;
