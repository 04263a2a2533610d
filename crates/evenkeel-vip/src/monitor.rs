//! What changes at the links and addresses of this host, told by the kernel as it happens.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_recv_buffer_size;

use crate::addresses::{has_link_flag, read_address, read_link_header};
use crate::netlink::{Message, ROUTE, messages, open, receive};

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// A link is like this now. It may have been so before: the kernel tells of other changes too.
    Link {
        /// Its index.
        index: u32,
        /// It is switched on.
        up: bool,
        /// It has a signal.
        carrier: bool,
    },
    /// A link is no more.
    LinkGone {
        /// Its index.
        index: u32,
    },
    /// An address was added, or renewed.
    AddressNew {
        /// The address.
        address: IpAddr,
        /// The index of its link.
        link: u32,
    },
    /// An address was removed, or its lifetime ran out.
    AddressGone {
        /// The address.
        address: IpAddr,
        /// The index of its link.
        link: u32,
    },
    /// More has changed than the socket had room for: look at everything anew.
    Lost,
}

/// A socket that hears of all links and addresses. It needs no capability.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
    received: Vec<u8>,
}

impl Monitor {
    /// Begins to listen. What changes from now on is told; what is now must be asked after this.
    ///
    /// # Errors
    /// If the kernel refuses the socket.
    pub fn open() -> io::Result<Self> {
        let groups = [libc::RTNLGRP_LINK, libc::RTNLGRP_IPV4_IFADDR, libc::RTNLGRP_IPV6_IFADDR];
        let groups = groups.iter().fold(0, |bits, group| bits | 1 << (group - 1));
        let socket = open(ROUTE, groups)?;
        set_socket_recv_buffer_size(&socket, ROOM)?;
        Ok(Self { socket, received: vec![0; DATAGRAM] })
    }

    /// Tells `tell` of what has changed since, without waiting for more. After [`MOST_CHANGES`] it
    /// leaves the rest for the next call: the socket stays readable.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn read(&mut self, mut tell: impl FnMut(Change)) -> io::Result<()> {
        for _datagram in 0..MOST_CHANGES {
            match receive(self.socket.as_fd(), &mut self.received) {
                Ok(datagram) => messages(datagram).filter_map(|m| change(&m)).for_each(&mut tell),
                Err(Errno::AGAIN) => return Ok(()),
                // It is said once, and what was in the socket before is still there.
                Err(Errno::NOBUFS | Errno::MSGSIZE) => tell(Change::Lost),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn change(message: &Message<'_>) -> Option<Change> {
    match message.kind {
        libc::RTM_NEWLINK => {
            let (index, flags, _) = read_link_header(message)?;
            let up = has_link_flag(flags, libc::IFF_UP);
            let carrier = has_link_flag(flags, libc::IFF_LOWER_UP);
            Some(Change::Link { index, up, carrier })
        }
        libc::RTM_DELLINK => {
            let (index, _, _) = read_link_header(message)?;
            Some(Change::LinkGone { index })
        }
        libc::RTM_NEWADDR => {
            let (assigned, _) = read_address(message)?;
            Some(Change::AddressNew { address: assigned.address, link: assigned.link })
        }
        libc::RTM_DELADDR => {
            let (assigned, _) = read_address(message)?;
            Some(Change::AddressGone { address: assigned.address, link: assigned.link })
        }
        _ => None,
    }
}

/// What one read tells at most, in datagrams; the kernel puts one change into each.
pub const MOST_CHANGES: usize = 64;

/// Room for changes that were not read yet. The kernel doubles it and counts its own bookkeeping,
/// about 1 KiB for an address and 2 to 4 KiB for a link: at least a hundred links at once.
const ROOM: usize = 256 * 1024;

/// Room for one change.
const DATAGRAM: usize = 32 * 1024;
