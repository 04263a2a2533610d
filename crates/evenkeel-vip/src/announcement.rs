//! How neighbours learn which network card has an address: gratuitous ARP, unsolicited neighbour
//! advertisements, and questions that only the owner answers. Frames <-> values; pure.
//!
//! | Frame | Form | To |
//! |---|---|---|
//! | [`arp_request`] | spa = tpa = VIP, tha = ff (RFC 5227 3) | broadcast |
//! | [`arp_reply`] | spa = tpa = VIP, tha = sha (RFC 5944 4.6) | broadcast |
//! | [`neighbour_advertisement`] | Override only, target link-layer address (RFC 4861 7.2.6) | `ff02::1` |
//! | [`arp_probe`] | spa = 0, tpa = VIP (RFC 5227 2.1.1) | broadcast |
//! | [`neighbour_probe`] | solicitation from our link-local address (RFC 4861 7.2.2) | its solicited-node group |
//!
//! Linux ignores a gratuitous ARP of any other form where its entry is younger than 1 s (`locktime`),
//! and learns from the first two at once. Neither makes an entry where there is none.
//!
//! Announcements carry a [`Rank`] where others have padding (ARP) or an option that they must ignore
//! (IPv6): owners whose adverts are filtered hear of each other nevertheless, and all but one
//! yield.
//!
//! ```text
//! after the 28 bytes of ARP:  E V K L | 1 | VRID | priority | 0 | IPv4 address | six zeros
//! option of the advert:  253 | 4 | E V K L | 1 | VRID | priority | seven zeros | IPv6 address
//! ```
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bytes::Bytes;
use crate::checksum::Sum;

/// The address of a network card.
pub type Mac = [u8; 6];

/// An Ethernet frame, without its checksum.
pub type Frame = Bytes<LONGEST>;

/// Who announces: as much of its advert as it takes to yield to it, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rank {
    /// Which virtual router: 1 to 255.
    pub vrid: u8,
    /// The priority of its adverts.
    pub priority: u8,
    /// The address that its adverts come from. Where it is of another family than the address that
    /// is announced, the announcement goes without a rank.
    pub source: IpAddr,
}

/// Everything that tells the neighbours that `address` is at `mac`, in the order to send.
pub fn announcements(mac: Mac, address: IpAddr, rank: Rank) -> impl Iterator<Item = Frame> {
    let frames = match address {
        IpAddr::V4(address) => {
            [Some(arp_request(mac, address, rank)), Some(arp_reply(mac, address, rank))]
        }
        IpAddr::V6(address) => [Some(neighbour_advertisement(mac, address, rank)), None],
    };
    frames.into_iter().flatten()
}

/// The question whether anybody has `address`. It changes no entry of any neighbour, and the kernel
/// of the owner answers it, to us alone; see [`Heard`]. `None` if `source`, where our adverts come
/// from, is of another family.
pub fn probe(mac: Mac, source: IpAddr, address: IpAddr) -> Option<Frame> {
    match (address, source) {
        (IpAddr::V4(address), IpAddr::V4(_)) => Some(arp_probe(mac, address)),
        (IpAddr::V6(address), IpAddr::V6(source)) => Some(neighbour_probe(mac, source, address)),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Gratuitous ARP as a request, as keepalived sends it.
pub fn arp_request(mac: Mac, address: Ipv4Addr, rank: Rank) -> Frame {
    let mut frame = arp(Operation::Request, mac, address, BROADCAST, address);
    frame.push(&trailer(rank));
    frame
}

/// Gratuitous ARP as a reply.
pub fn arp_reply(mac: Mac, address: Ipv4Addr, rank: Rank) -> Frame {
    let mut frame = arp(Operation::Reply, mac, address, mac, address);
    frame.push(&trailer(rank));
    frame
}

/// An ARP probe.
pub fn arp_probe(mac: Mac, address: Ipv4Addr) -> Frame {
    let mut frame = arp(Operation::Request, mac, Ipv4Addr::UNSPECIFIED, [0; 6], address);
    frame.push(&[0; PADDING]);
    frame
}

/// An unsolicited neighbour advertisement from the address itself.
pub fn neighbour_advertisement(mac: Mac, address: Ipv6Addr, rank: Rank) -> Frame {
    let mut message = Bytes::<{ ADVERTISEMENT + 8 + OPTION }>::new();
    message.push(&[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0]);
    message.push(&address.octets());
    message.push(&[TARGET_LINK_LAYER_ADDRESS, 1]);
    message.push(&mac);
    if let IpAddr::V6(source) = rank.source {
        message.push(&[EXPERIMENT, OPTION_UNITS]);
        message.push(&head(rank));
        message.push(&[0; 7]);
        message.push(&source.octets());
    }
    icmp(mac, address, ALL_NODES, message)
}

/// A neighbour solicitation as any host sends it, from an address that is not about to move.
///
/// Not from `::`, as duplicate address detection does it: the answer to that goes to all nodes and
/// overrides what they know (RFC 4861 7.2.4). A new owner that asked so while the old one still has
/// the address would have it take all its clients back.
pub fn neighbour_probe(mac: Mac, source: Ipv6Addr, address: Ipv6Addr) -> Frame {
    let mut message = Bytes::<{ ADVERTISEMENT + 8 }>::new();
    message.push(&[NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0]);
    message.push(&address.octets());
    message.push(&[SOURCE_LINK_LAYER_ADDRESS, 1]);
    message.push(&mac);
    let [.., a, b, c] = address.octets();
    // RFC 4291 2.7.1.
    let [ab, bc] = [u16::from_be_bytes([0xff, a]), u16::from_be_bytes([b, c])];
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, ab, bc);
    icmp(mac, source, group, message)
}

/// Somebody said, by whatever frame, that it has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// On what occasion.
    pub kind: Kind,
    /// The address that it says it has.
    pub address: IpAddr,
    /// The network card that it says has it.
    pub mac: Mac,
    /// Who it is, if it is one of us and its announcement came whole.
    pub rank: Option<Rank>,
}

/// On what occasion somebody said that it has an address. All are claims alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unasked: ARP with spa = tpa, of either operation; a neighbour advertisement without the flag
    /// Solicited.
    Announced,
    /// It was asked: an ARP reply with spa other than tpa, also to an [`arp_probe`]; a neighbour
    /// advertisement with the flag Solicited, also to a [`neighbour_probe`].
    Answered,
    /// It asked for another address, from this one: an ARP request with spa other than tpa. A node
    /// does that which uses the address and does not announce it.
    Asked,
}

impl Heard {
    /// Reads an Ethernet frame. `None` if it is no ARP of IPv4 over Ethernet, or claims nothing: a
    /// probe.
    pub fn read_arp(frame: &[u8]) -> Option<Self> {
        let (_macs, rest) = frame.split_first_chunk::<12>()?;
        let (head, rest) = rest.split_first_chunk::<10>()?;
        let (mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (_target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target, trailer) = rest.split_first_chunk::<4>()?;
        let operation = Operation::ALL.into_iter().find(|operation| operation.head() == *head)?;
        let address = Ipv4Addr::from(*sender);
        if address.is_unspecified() {
            return None;
        }
        let kind = match operation {
            _ if sender == target => Kind::Announced,
            Operation::Request => Kind::Asked,
            Operation::Reply => Kind::Answered,
        };
        let rank = read_trailer(trailer);
        Some(Self { kind, address: address.into(), mac: *mac, rank })
    }

    /// Reads an `ICMPv6` message that came with `hop_limit`; its checksum was right, which the kernel
    /// sees to. `None` if it is no neighbour advertisement, or not a valid one (RFC 4861 7.1.2), or
    /// one that names no network card.
    pub fn read_neighbour_advertisement(message: &[u8], hop_limit: u8) -> Option<Self> {
        let (head, rest) = message.split_first_chunk::<8>()?;
        let (target, mut options) = rest.split_first_chunk::<16>()?;
        let [NEIGHBOUR_ADVERTISEMENT, 0, _, _, flags, ..] = *head else { return None };
        let address = Ipv6Addr::from(*target);
        let solicited = flags & SOLICITED != 0;
        if hop_limit != HOP_LIMIT || address.is_multicast() {
            return None;
        }
        let mut mac = None;
        let mut rank = None;
        while let Some(&[kind, units]) = options.first_chunk::<2>() {
            let length = usize::from(units).saturating_mul(8);
            let (option, more) = options.split_at_checked(length)?;
            match (kind, option.get(2..)?) {
                (TARGET_LINK_LAYER_ADDRESS, content) => {
                    mac = mac.or_else(|| Mac::try_from(content).ok());
                }
                (EXPERIMENT, content) => rank = rank.or_else(|| read_option(content)),
                _ => {}
            }
            options = more;
        }
        if !options.is_empty() {
            return None;
        }
        let kind = if solicited { Kind::Answered } else { Kind::Announced };
        Some(Self { kind, address: address.into(), mac: mac?, rank })
    }
}

/// What an ARP packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Request,
    Reply,
}

impl Operation {
    const ALL: [Self; 2] = [Self::Request, Self::Reply];

    /// What comes before the first address: the type of the frame, Ethernet, IPv4, the lengths of
    /// their addresses, the operation.
    const fn head(self) -> [u8; 10] {
        let operation = match self {
            Self::Request => 1,
            Self::Reply => 2,
        };
        [0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, operation]
    }
}

/// A frame to all, up to the padding.
fn arp(
    operation: Operation,
    mac: Mac,
    sender: Ipv4Addr,
    target_mac: Mac,
    target: Ipv4Addr,
) -> Frame {
    let mut frame = Frame::new();
    frame.push(&BROADCAST);
    frame.push(&mac);
    frame.push(&operation.head());
    frame.push(&mac);
    frame.push(&sender.octets());
    frame.push(&target_mac);
    frame.push(&target.octets());
    frame
}

/// A frame with `message`, after its checksum is set.
fn icmp<const MOST: usize>(
    mac: Mac,
    source: Ipv6Addr,
    destination: Ipv6Addr,
    mut message: Bytes<MOST>,
) -> Frame {
    let header =
        Sum::default().pseudo_header(source.into(), destination.into(), ICMP, message.len());
    let checksum = header.bytes(&message).checksum();
    message.set_u16(2, checksum);
    let length = u16::try_from(message.len()).unwrap_or(0).to_be_bytes();
    let [.., a, b, c, d] = destination.octets();

    let mut frame = Frame::new();
    // RFC 2464 7.
    frame.push(&[0x33, 0x33, a, b, c, d]);
    frame.push(&mac);
    frame.push(&[0x86, 0xdd]);
    frame.push(&[0x60, 0, 0, 0]);
    frame.push(&length);
    frame.push(&[ICMP, HOP_LIMIT]);
    frame.push(&source.octets());
    frame.push(&destination.octets());
    frame.push(&message);
    frame
}

/// What a rank begins with.
fn head(rank: Rank) -> [u8; 7] {
    let [e, v, k, l] = *MAGIC;
    [e, v, k, l, VERSION, rank.vrid, rank.priority]
}

fn trailer(rank: Rank) -> Bytes<PADDING> {
    let mut trailer = Bytes::new();
    if let IpAddr::V4(source) = rank.source {
        trailer.push(&head(rank));
        trailer.push(&[0]);
        trailer.push(&source.octets());
        trailer.push(&[0; 6]);
    } else {
        trailer.push(&[0; PADDING]);
    }
    trailer
}

/// The rank in the padding. What follows it is ours to give a meaning later.
fn read_trailer(trailer: &[u8]) -> Option<Rank> {
    let (head, rest) = trailer.split_first_chunk::<7>()?;
    let (_reserved, rest) = rest.split_first_chunk::<1>()?;
    let source = rest.first_chunk::<4>()?;
    read_head(*head, Ipv4Addr::from(*source).into())
}

/// The rank in an option, without its type and length.
fn read_option(content: &[u8]) -> Option<Rank> {
    let (head, rest) = content.split_first_chunk::<7>()?;
    let (_reserved, rest) = rest.split_first_chunk::<7>()?;
    let source = rest.first_chunk::<16>()?;
    read_head(*head, Ipv6Addr::from(*source).into())
}

fn read_head([e, v, k, l, version, vrid, priority]: [u8; 7], source: IpAddr) -> Option<Rank> {
    let ours = [e, v, k, l] == *MAGIC && version == VERSION && vrid != 0;
    ours.then_some(Rank { vrid, priority, source })
}

const BROADCAST: Mac = [0xff; 6];
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const MAGIC: &[u8; 4] = b"EVKL";
const VERSION: u8 = 1;

/// What ARP lacks of the 60 bytes that a frame of Ethernet has at least.
const PADDING: usize = 18;

/// `ICMPv6` (RFC 4443 1).
const ICMP: u8 = 58;
/// RFC 4861 4.3 and 4.4.
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
/// Of every message of neighbour discovery: no router has forwarded it.
const HOP_LIMIT: u8 = 255;
/// RFC 4861 4.6.1.
const SOURCE_LINK_LAYER_ADDRESS: u8 = 1;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// For experiments (RFC 4727). Who does not know an option ignores it (RFC 4861 4.6).
const EXPERIMENT: u8 = 253;

/// A solicitation or an advertisement without options.
const ADVERTISEMENT: usize = 24;
/// Our option: its length in units of 8 bytes, as it says itself, and in bytes.
const OPTION_UNITS: u8 = 4;
const OPTION: usize = OPTION_UNITS as usize * 8;
const LONGEST: usize = 14 + 40 + ADVERTISEMENT + 8 + OPTION;

#[cfg(test)]
mod tests;
