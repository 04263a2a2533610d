//! A client that asks before every connection whose the address is.

use std::io;
use std::net::IpAddr;

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

/// Makes the host forget who has an address.
#[derive(Debug)]
pub(crate) struct Forgetter {
    socket: Socket,
    request: Vec<u8>,
}

impl Forgetter {
    /// For an address on an interface of the host on which this thread is.
    pub(crate) fn new(interface: &str, address: IpAddr) -> io::Result<Self> {
        let mut neighbour = NeighbourMessage::default();
        let (family, address) = match address {
            IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
            IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
        };
        neighbour.header = NeighbourHeader {
            family,
            ifindex: if_nametoindex(interface)?,
            ..NeighbourHeader::default()
        };
        neighbour.attributes = vec![NeighbourAttribute::Destination(address)];
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let payload = NetlinkPayload::from(RouteNetlinkMessage::DelNeighbour(neighbour));
        let mut message = NetlinkMessage::new(header, payload);
        message.finalize();
        let mut request = vec![0; message.buffer_len()];
        message.serialize(&mut request);
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, request })
    }

    /// Forgets. That there was nothing to forget is no error.
    pub(crate) fn forget(&self) -> io::Result<()> {
        self.socket.send(&self.request, 0)?;
        // The answer says that it is done, or that there was nothing.
        self.socket.recv_from_full().map(drop)
    }
}
