//! What the kernel of a client knows of its neighbours.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};

use evenkeel_testbed::Host;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourHeader, NeighbourMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::if_nametoindex;

use evenkeel_bench::failed::{Doing, Failed};

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

/// Whether the host believes that an address is at the interface of `owner`. None: it does not say.
pub(crate) fn believes(client: &Host, vip: Ipv4Addr, owner: &Host) -> Result<Option<bool>, Failed> {
    let table = client.within(|| fs::read_to_string("/proc/thread-self/net/arp"));
    let table = table.doing(|| "enter a host")?.doing(|| "read the neighbours of a host")?;
    let owner = owner.within(|| hardware_address("eth0")).doing(|| "enter a host")?;
    Ok(owner.and_then(|owner| Some(known(&table, vip)?.eq_ignore_ascii_case(&owner))))
}

/// The hardware address at which `/proc/net/arp` has an address.
fn known(table: &str, vip: Ipv4Addr) -> Option<&str> {
    let vip = vip.to_string();
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(&vip))?;
    line.split_whitespace().nth(3).filter(|known| *known != "00:00:00:00:00:00")
}

fn hardware_address(interface: &str) -> Option<String> {
    let mut all = getifaddrs().ok()?.filter(|one| one.interface_name == interface);
    let bytes = all.find_map(|one| one.address?.as_link_addr()?.addr())?;
    Some(bytes.map(|byte| format!("{byte:02x}")).join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
IP address       HW type     Flags       HW address            Mask     Device
10.0.0.10        0x1         0x2         d2:ac:00:00:00:10     *        eth0
10.0.0.100       0x1         0x2         d2:ac:57:9d:b7:b1     *        eth0
10.0.0.101       0x1         0x0         00:00:00:00:00:00     *        eth0
";

    #[test]
    fn what_is_not_resolved_is_not_known() {
        let of = |last| known(TABLE, Ipv4Addr::new(10, 0, 0, last));
        assert_eq!(of(100), Some("d2:ac:57:9d:b7:b1"));
        assert_eq!(of(101), None);
        assert_eq!(of(1), None);
    }
}
