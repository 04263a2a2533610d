//! What a VIP says on its network, and what it hears there.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use super::links::Place;
use crate::advert_socket::AdvertSocket;
use crate::announcement::{self, Kind, Rank};
use crate::config::{Mode, VipConfig};
use crate::frame_socket::FrameSocket;
use crate::metrics::{Counters, FOREIGN, OTHER_VRID, STRANGER};
use crate::packet::{AddressList, Advert, Checksum, TTL};
use crate::router::{Claim, Event};

/// Packets of a kind that are read in one turn, so that a flood does not put off our adverts.
const MOST_PACKETS: usize = 64;

/// What was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Event(Event),
    /// An advert of our VRID for other addresses.
    Foreign(IpAddr),
}

/// The next packet of a socket.
enum Next {
    None,
    /// It says nothing to us.
    Rejected,
    Heard(Heard),
}

/// The sockets of a VIP, as long as its interface can be used. None in the mode `route`.
#[derive(Debug, Default)]
pub(super) struct Wire {
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    vrid: u8,
    interval: Duration,
    checksum: Checksum,
    vip: Vec<IpAddr>,
    families: Vec<Family>,
    frames: Option<FrameSocket>,
}

/// The adverts of one family.
#[derive(Debug)]
struct Family {
    socket: AdvertSocket,
    /// Where they come from.
    source: IpAddr,
    /// Where they go beside the group.
    peers: Vec<IpAddr>,
    to_group: bool,
    /// Packets of peers may have crossed routers of a provider: then only theirs are heard.
    routed: bool,
    addresses: AddressList,
}

impl Wire {
    /// Opens what the VIP needs at that place, and closes what it had.
    pub(super) fn open(&mut self, place: &Place, config: &VipConfig) -> io::Result<()> {
        self.open = None;
        let (checksum, frames) = match &config.mode {
            Mode::L2(l2) => {
                let (name, index) = (&place.link.name, place.link.index);
                let frames = FrameSocket::open(name, index, &config.addresses);
                (l2.checksum, Some(frames.map_err(io::Error::other)?))
            }
            // Nobody on this link is asked where the address is.
            Mode::Hook(_) => (Checksum::default(), None),
            Mode::Route(_) => return Ok(()),
        };
        let family = |source: &IpAddr| Family::open(*source, place, config);
        let families = place.sources.iter().map(family).collect::<io::Result<Vec<_>>>()?;
        self.open = Some(Open {
            vrid: config.vrid(),
            interval: config.interval(),
            checksum,
            vip: config.addresses.clone(),
            families,
            frames,
        });
        Ok(())
    }

    pub(super) fn close(&mut self) {
        self.open = None;
    }

    /// What to wait for.
    pub(super) fn fds<'a>(&'a self, mut each: impl FnMut(BorrowedFd<'a>)) {
        let Some(open) = &self.open else { return };
        for family in &open.families {
            each(family.socket.as_fd());
        }
        open.frames.iter().flat_map(FrameSocket::readable).for_each(each);
    }

    /// Sends an advert in every family, to the group and to every peer.
    pub(super) fn advertise(&self, priority: u8) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let mut all = Ok(());
        for family in &open.families {
            let advert = Advert {
                vrid: open.vrid,
                priority,
                interval: open.interval,
                addresses: family.addresses,
            };
            let group = family.to_group.then(|| family.socket.group());
            for destination in group.into_iter().chain(family.peers.iter().copied()) {
                let bytes = advert.write(family.source, destination, open.checksum);
                // One that fails keeps none of the others.
                let sent = family.socket.send(&bytes, destination);
                all = all.and(sent);
            }
        }
        all
    }

    /// Tells the network where the addresses are.
    pub(super) fn announce(&self, priority: u8) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let Some(frames) = &open.frames else { return Ok(()) };
        let mut all = Ok(());
        for address in &open.vip {
            let Some(rank) = open.rank(*address, priority) else { continue };
            for frame in announcement::announcements(frames.mac(), *address, rank) {
                let sent = frames.send(&frame);
                all = all.and(sent);
            }
        }
        all
    }

    /// Asks the network whether somebody uses the addresses.
    pub(super) fn probe(&self) -> io::Result<()> {
        let Some(open) = &self.open else { return Ok(()) };
        let Some(frames) = &open.frames else { return Ok(()) };
        let mut all = Ok(());
        for address in &open.vip {
            let Some(source) = open.source(*address) else { continue };
            if let Some(frame) = announcement::probe(frames.mac(), source, *address) {
                let sent = frames.send(&frame);
                all = all.and(sent);
            }
        }
        all
    }

    /// Takes in what has come.
    pub(super) fn listen(&mut self, counters: &Counters, heard: &mut Vec<Heard>) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let mut all = Ok(());
        for family in &mut open.families {
            for _ in 0..MOST_PACKETS {
                match family.hear(open.vrid, counters) {
                    Ok(Next::Heard(one)) => heard.push(one),
                    Ok(Next::Rejected) => {}
                    Ok(Next::None) => break,
                    Err(error) => {
                        all = Err(error);
                        break;
                    }
                }
            }
        }
        let Some(frames) = &mut open.frames else { return all };
        for _ in 0..MOST_PACKETS {
            match frames.receive() {
                Ok(Some(claim)) => {
                    if claim.mac == frames.mac() || !open.vip.contains(&claim.address) {
                        continue;
                    }
                    let rank = claim.rank.filter(|rank| rank.vrid == open.vrid);
                    heard.push(Heard::Event(Event::Claim(Claim {
                        mac: claim.mac,
                        announced: claim.kind == Kind::Announced,
                        rank: rank.map(|rank| (rank.priority, rank.source)),
                    })));
                }
                Ok(None) => break,
                Err(error) => {
                    all = Err(error);
                    break;
                }
            }
        }
        all
    }
}

impl Open {
    fn rank(&self, address: IpAddr, priority: u8) -> Option<Rank> {
        Some(Rank { vrid: self.vrid, priority, source: self.source(address)? })
    }

    /// Where adverts for an address come from.
    fn source(&self, address: IpAddr) -> Option<IpAddr> {
        let family = self.families.iter().find(|f| f.source.is_ipv4() == address.is_ipv4())?;
        Some(family.source)
    }
}

impl Family {
    fn open(source: IpAddr, place: &Place, config: &VipConfig) -> io::Result<Self> {
        let same = |address: &&IpAddr| address.is_ipv4() == source.is_ipv4();
        let addresses = advertised(&config.addresses, source.is_ipv4(), config.vrid());
        let addresses = AddressList::new(&addresses).map_err(io::Error::other)?;
        let own = |address: &&IpAddr| !place.own.contains(address);
        let peers = config.peers().iter().filter(same).filter(own).copied().collect();
        let socket = AdvertSocket::open(&place.link.name, place.link.index, source)
            .map_err(io::Error::other)?;
        let routed = matches!(config.mode, Mode::Hook(_));
        Ok(Self { socket, source, peers, to_group: !routed, routed, addresses })
    }

    fn hear(&mut self, vrid: u8, counters: &Counters) -> io::Result<Next> {
        let Some(mut received) = self.socket.receive()? else { return Ok(Next::None) };
        let source = received.source;
        if self.routed {
            if !self.peers.contains(&source) {
                counters.rejected(STRANGER);
                return Ok(Next::Rejected);
            }
            received.ttl = TTL;
        }
        let (advert, _form) = match received.advert() {
            Ok(read) => read,
            Err(rejected) => {
                counters.rejected(rejected.as_str());
                return Ok(Next::Rejected);
            }
        };
        if advert.vrid != vrid || source == self.source {
            counters.rejected(OTHER_VRID);
            return Ok(Next::Rejected);
        }
        if !advert.addresses.are(&self.addresses) {
            counters.rejected(FOREIGN);
            return Ok(Next::Heard(Heard::Foreign(source)));
        }
        counters.received.increment(1);
        Ok(Next::Heard(Heard::Event(Event::Heard {
            source,
            priority: advert.priority,
            interval: advert.interval,
        })))
    }
}

/// The addresses of one family as adverts have them. Those of IPv6 must begin with a link-local
/// address (RFC 9568, 5.2.9): where the config has none, the one that the virtual router MAC address
/// of the group makes (7.3), which nobody holds.
fn advertised(vip: &[IpAddr], ipv4: bool, vrid: u8) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> =
        vip.iter().filter(|address| address.is_ipv4() == ipv4).copied().collect();
    if !ipv4 {
        let is_link_local = |address: &IpAddr| matches!(address, IpAddr::V6(address) if address.is_unicast_link_local());
        if let Some(place) = addresses.iter().position(is_link_local) {
            addresses.swap(0, place);
        } else {
            let made = [0xfe80, 0, 0, 0, 0x0200, 0x5eff, 0xfe00, 0x0200 + u16::from(vrid)];
            addresses.insert(0, Ipv6Addr::from(made).into());
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adverts_of_ipv6_begin_with_a_link_local_address() {
        let vip = ["10.0.0.100", "fd00::100", "fe80::100"].map(|a| a.parse().unwrap());
        assert_eq!(advertised(&vip, true, 100), vip[..1]);
        assert_eq!(advertised(&vip, false, 100), [vip[2], vip[1]]);
        let made: IpAddr = "fe80::200:5eff:fe00:264".parse().unwrap();
        assert_eq!(advertised(&vip[..2], false, 100), [made, vip[1]]);
    }
}
