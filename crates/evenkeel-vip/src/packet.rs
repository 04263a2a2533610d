//! Adverts of VRRP version 3 (RFC 9568 5.2): bytes <-> [`Advert`]. Pure.
//!
//! ```text
//! byte 0  version(4) = 3 | type(4) = 1    1  VRID    2  priority    3  count of addresses
//!      4  reserved(4) | interval(12), in centiseconds               6  checksum
//!      8  the addresses, 4 or 16 bytes each
//! ```
//!
//! [`Advert::read`] makes every check that needs no configuration, and says by [`Rejected`] which one
//! failed. Left to the caller: whether the VRID is ours ([`Advert::vrid`]), whether the addresses
//! are ([`AddressList::are`]), whether the source is ourselves or a peer that may speak.
#![cfg_attr(
    not(test),
    warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::expect_used)
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bytes::Bytes;
use crate::checksum::Sum;

/// The number of the protocol in the IP header: VRRP.
pub const PROTOCOL: u8 = 112;

/// Whom IPv4 adverts are for: all VRRP routers of the segment.
pub const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);

/// Whom IPv6 adverts are for: all VRRP routers of the segment.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);

/// The TTL or hop limit of adverts; a router that forwards one makes it less.
pub const TTL: u8 = 255;

/// The most addresses in an advert that we send or accept. The field has room for 255.
pub const MOST_ADDRESSES: usize = 20;

/// The longest interval that the field can say: 40.95 s.
pub const LONGEST_INTERVAL: Duration = Duration::from_millis(40_950);

const VERSION_AND_TYPE: u8 = 0x31;
const VERSION: u8 = 3;
/// Version 2 and type 1: `VRRPv2`, and CARP, which has the same protocol number and group.
const OLD: u8 = 0x21;
const HEADER: usize = 8;
const CHECKSUM_AT: usize = 6;
const LONGEST: usize = HEADER + MOST_ADDRESSES * 16;

/// An advert as it is on the wire, without the IP header.
pub type AdvertBytes = Bytes<LONGEST>;

/// What the owner of an address says of itself again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Which virtual router: 1 to 255.
    pub vrid: u8,
    /// How much it wants to be the owner; 0 says that it stops.
    pub priority: u8,
    /// Time from one of its adverts to the next: whole centiseconds, 1 to 4095. What else it is
    /// when written is rounded down, and brought within that range.
    pub interval: Duration,
    /// What it owns.
    pub addresses: AddressList,
}

impl Advert {
    /// The advert as bytes, with its checksum.
    ///
    /// `checksum` says what that of IPv4 covers. In IPv6 it always covers a pseudo-header.
    /// `destination` is where it is sent: [`GROUP_V4`] or [`GROUP_V6`], or a peer.
    pub fn write(&self, source: IpAddr, destination: IpAddr, checksum: Checksum) -> AdvertBytes {
        let [high, low] = centiseconds(self.interval).to_be_bytes();
        let count = self.addresses.count;
        let mut bytes = AdvertBytes::new();
        bytes.push(&[VERSION_AND_TYPE, self.vrid, self.priority, count, high, low, 0, 0]);
        for address in &*self.addresses {
            match address {
                IpAddr::V4(address) => bytes.push(&address.octets()),
                IpAddr::V6(address) => bytes.push(&address.octets()),
            }
        }
        let covered = match (source, checksum) {
            (IpAddr::V4(_), Checksum::Rfc9568) => Sum::default(),
            (IpAddr::V4(_), Checksum::Keepalived) | (IpAddr::V6(_), _) => {
                Sum::default().pseudo_header(source, destination, PROTOCOL, bytes.len())
            }
        };
        let checksum = covered.bytes(&bytes).checksum();
        bytes.set_u16(CHECKSUM_AT, checksum);
        bytes
    }

    /// Reads what came from `source` to `destination` with `ttl` (or that hop limit), without its IP
    /// header, and says which form of checksum it has: in IPv6, where there is only one, the
    /// default. Reserved bits are ignored, and so is the hop limit between link-local addresses:
    /// keepalived 2.2.7 sends unicast adverts of IPv6 with 64.
    ///
    /// # Errors
    /// The first check of RFC 9568 7.1 that it fails.
    pub fn read(
        bytes: &[u8],
        source: IpAddr,
        destination: IpAddr,
        ttl: u8,
    ) -> Result<(Self, Checksum), Rejected> {
        if ttl != TTL && !never_leaves_the_link(source, destination) {
            return Err(Rejected::Ttl);
        }
        let (first, _) = bytes.split_first().ok_or(Rejected::Length)?;
        match *first {
            VERSION_AND_TYPE => {}
            OLD => return Err(Rejected::OldVersion),
            other if other >> 4 == VERSION => return Err(Rejected::Type),
            _ => return Err(Rejected::Version),
        }
        let (header, list) = bytes.split_first_chunk::<HEADER>().ok_or(Rejected::Length)?;
        let [_, vrid, priority, count, high, low, _, _] = *header;
        if count == 0 {
            return Err(Rejected::NoAddresses);
        }
        if usize::from(count) > MOST_ADDRESSES {
            return Err(Rejected::TooManyAddresses);
        }
        let addresses = AddressList::read(list, count, source).ok_or(Rejected::Length)?;
        let checksum = checksum_of(bytes, source, destination).ok_or(Rejected::Checksum)?;
        let centiseconds = u16::from_be_bytes([high & 0x0f, low]);
        if centiseconds == 0 {
            return Err(Rejected::Interval);
        }
        if !addresses.begin_as_they_must() {
            return Err(Rejected::FirstNotLinkLocal);
        }
        let interval = Duration::from_millis(u64::from(centiseconds).saturating_mul(10));
        Ok((Self { vrid, priority, interval, addresses }, checksum))
    }
}

/// The addresses of an advert: 1 to [`MOST_ADDRESSES`], of one family; of IPv6 the first is
/// link-local. No allocation, so what a stranger sends costs no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressList {
    /// The first `count` of them, and [`UNUSED`] from there on.
    addresses: [IpAddr; MOST_ADDRESSES],
    count: u8,
}

impl AddressList {
    /// The list of `addresses` in their order.
    ///
    /// # Errors
    /// If no advert may have such a list.
    pub fn new(addresses: &[IpAddr]) -> Result<Self, AddressListError> {
        let first = addresses.first().ok_or(AddressListError::Empty)?;
        let mut list = Self { addresses: [UNUSED; MOST_ADDRESSES], count: 0 };
        let places = list.addresses.get_mut(..addresses.len());
        places.ok_or(AddressListError::TooMany)?.copy_from_slice(addresses);
        list.count = u8::try_from(addresses.len()).unwrap_or(0);
        if addresses.iter().any(|address| address.is_ipv4() != first.is_ipv4()) {
            return Err(AddressListError::TwoFamilies);
        }
        if !list.begin_as_they_must() {
            return Err(AddressListError::FirstNotLinkLocal);
        }
        Ok(list)
    }

    /// Whether they are exactly `ours`, in any order.
    pub fn are(&self, ours: &[IpAddr]) -> bool {
        self.len() == ours.len()
            && self.iter().all(|address| ours.contains(address))
            && ours.iter().all(|address| self.contains(address))
    }

    /// `count` addresses of the family of `source`, which fill `bytes`.
    fn read(bytes: &[u8], count: u8, source: IpAddr) -> Option<Self> {
        let mut list = Self { addresses: [UNUSED; MOST_ADDRESSES], count };
        let places = list.addresses.get_mut(..usize::from(count))?;
        let rest = match source {
            IpAddr::V4(_) => fill(places, bytes, |octets: [u8; 4]| IpAddr::from(octets)),
            IpAddr::V6(_) => fill(places, bytes, |octets: [u8; 16]| IpAddr::from(octets)),
        };
        rest?.is_empty().then_some(list)
    }

    fn begin_as_they_must(&self) -> bool {
        self.first().is_some_and(|first| match first {
            IpAddr::V4(_) => true,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        })
    }
}

impl Deref for AddressList {
    type Target = [IpAddr];

    fn deref(&self) -> &[IpAddr] {
        self.addresses.get(..usize::from(self.count)).unwrap_or_default()
    }
}

/// Why there is no such list in an advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressListError {
    /// There is none.
    #[error("an advert needs an address")]
    Empty,
    /// More than [`MOST_ADDRESSES`].
    #[error("an advert has at most {MOST_ADDRESSES} addresses")]
    TooMany,
    /// IPv4 and IPv6 in one.
    #[error("IPv4 and IPv6 addresses have adverts of their own")]
    TwoFamilies,
    /// RFC 9568 5.2.9.
    #[error("the first IPv6 address of an advert must be link-local")]
    FirstNotLinkLocal,
}

/// What the checksum of an IPv4 advert covers. We accept both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Checksum {
    /// The advert and a pseudo-header, as keepalived, FRR and tcpdump read RFC 5798. keepalived
    /// before 2.2.8 accepts nothing else.
    #[default]
    Keepalived,
    /// The advert alone (RFC 9568 5.2.8), as Cisco and Juniper always did.
    Rfc9568,
}

/// Why an advert is ignored. Many come from a misconfigured router, so they are counted and not
/// logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejected {
    /// Its TTL or hop limit is not [`TTL`]: a router has forwarded it, or someone far away forged it.
    Ttl,
    /// `VRRPv2` or CARP, which look alike. Both are at home in many networks.
    OldVersion,
    /// Another version.
    Version,
    /// Version 3, and no advert.
    Type,
    /// Shorter or longer than it says.
    Length,
    /// It names no address (erratum 8299).
    NoAddresses,
    /// It names more than [`MOST_ADDRESSES`].
    TooManyAddresses,
    /// The checksum is wrong in both forms.
    Checksum,
    /// Interval 0 (erratum 8301), by which keepalived 2.2.7 is made to flap.
    Interval,
    /// The first IPv6 address is not link-local (erratum 8300).
    FirstNotLinkLocal,
}

impl Rejected {
    /// All of them, in the order of the checks.
    pub const ALL: [Self; 10] = [
        Self::Ttl,
        Self::OldVersion,
        Self::Version,
        Self::Type,
        Self::Length,
        Self::NoAddresses,
        Self::TooManyAddresses,
        Self::Checksum,
        Self::Interval,
        Self::FirstNotLinkLocal,
    ];

    /// The value of the label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ttl => "ttl",
            Self::OldVersion => "old_version",
            Self::Version => "version",
            Self::Type => "type",
            Self::Length => "length",
            Self::NoAddresses => "no_addresses",
            Self::TooManyAddresses => "too_many_addresses",
            Self::Checksum => "checksum",
            Self::Interval => "interval",
            Self::FirstNotLinkLocal => "first_not_link_local",
        }
    }
}

/// Fills `places` from the front of `bytes`, and gives the rest.
fn fill<'a, const SIZE: usize>(
    places: &mut [IpAddr],
    mut bytes: &'a [u8],
    address: impl Fn([u8; SIZE]) -> IpAddr,
) -> Option<&'a [u8]> {
    for place in places {
        let (octets, rest) = bytes.split_first_chunk::<SIZE>()?;
        *place = address(*octets);
        bytes = rest;
    }
    Some(bytes)
}

/// Routers forward nothing from or to link-local addresses (RFC 4291 2.5.6).
fn never_leaves_the_link(source: IpAddr, destination: IpAddr) -> bool {
    let is_link_local = |address| match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => Ipv6Addr::is_unicast_link_local(&address),
    };
    is_link_local(source) && is_link_local(destination)
}

/// The form of checksum that is right, if one is.
fn checksum_of(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Option<Checksum> {
    let message = Sum::default().bytes(bytes);
    let with_header_to =
        |destination| message.pseudo_header(source, destination, PROTOCOL, bytes.len()).is_right();
    if with_header_to(destination) {
        return Some(Checksum::Keepalived);
    }
    // keepalived has a mode in which the pseudo-header of unicast names the group, and it sticks to
    // that mode with peers that do so.
    if source.is_ipv4() && with_header_to(GROUP_V4.into()) {
        return Some(Checksum::Keepalived);
    }
    (source.is_ipv4() && message.is_right()).then_some(Checksum::Rfc9568)
}

/// As the field says it.
fn centiseconds(interval: Duration) -> u16 {
    let interval = interval.clamp(Duration::from_millis(10), LONGEST_INTERVAL);
    u16::try_from(interval.as_millis() / 10).unwrap_or(u16::MAX)
}

const UNUSED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests;
