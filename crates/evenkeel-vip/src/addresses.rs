//! The addresses of this host: lent by the kernel for a short time, again and again.
//!
//! An address that is held has a lifetime, which the kernel counts down. Whoever holds it renews it;
//! whoever is killed, stopped or stuck does not, and the kernel takes the address away: 1.0 to 1.2 s
//! after the last renewal for a lifetime of 1 s (measured, Linux 6.18). So a dead owner does not
//! answer for the address for ever.
//!
//! It is never the source of what the host sends by itself: see [`Addresses::hold`].

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rustix::io::Errno;

use crate::netlink::{Builder, Message, Netlink, ROUTE, attributes, libc_flags};

/// Who added an address (`IFA_PROTO`, since Linux 5.18) or a route (`rtm_protocol`): evenkeel, the
/// letter `e`. The numbers from 5 on are free for all; `/etc/iproute2/rt_protos` lists known users.
pub const PROTOCOL: u8 = 101;

/// How much later than its lifetime the kernel takes an address away, at most: it looks about once a
/// second, and rounds up (measured).
pub(crate) const LATE_EXPIRY: Duration = Duration::from_millis(300);

/// The index of the loopback link: the same in every network namespace (`LOOPBACK_IFINDEX`).
pub const LOOPBACK: u32 = 1;

/// An address that a link has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "flags of the kernel, each by itself")]
pub struct Assigned {
    /// The address.
    pub address: IpAddr,
    /// Bits of the subnet: 32 or 128 for an address alone.
    pub prefix_length: u8,
    /// The index of its link.
    pub link: u32,
    /// It has no lifetime.
    pub permanent: bool,
    /// We added it, or our process before this one did: it bears our [`PROTOCOL`]. A kernel before
    /// 5.18 keeps no such mark: there it is an address alone, deprecated, with a lifetime.
    pub ours: bool,
    /// IPv4: it is not the first one of its subnet on the link.
    pub secondary: bool,
    /// IPv6: not usable, because the kernel still asks whether another host has it, or one has.
    pub tentative: bool,
    /// It is not for new connections from this host.
    pub deprecated: bool,
}

impl Assigned {
    /// It is no VIP but the host's own: not ours, and in a subnet.
    fn is_own(&self) -> bool {
        let alone = if self.address.is_ipv4() { 32 } else { 128 };
        !self.ours && !self.secondary && self.prefix_length < alone
    }

    fn contains(&self, address: IpAddr) -> bool {
        let (own, other, bits) = match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits().into(), other.to_bits().into(), 32)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (own.to_bits(), other.to_bits(), 128),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return false,
        };
        let differ: u128 = own ^ other;
        let host = bits - u32::from(self.prefix_length).min(bits);
        differ.checked_shr(host).is_none_or(|differ| differ == 0)
    }
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index: another one each time that a link of this name is made.
    pub index: u32,
    /// Its name, for example `eth0`.
    pub name: String,
    /// Its hardware address; zeros where it has none of six bytes.
    pub mac: [u8; 6],
    /// It is switched on.
    pub up: bool,
    /// It is switched on and has a signal (`IFF_LOWER_UP`).
    pub carrier: bool,
    /// It is `lo`.
    pub loopback: bool,
}

/// The addresses that a link itself speaks from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Primary {
    /// The first usable one with its bits of subnet.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// The usable link-local one.
    pub ipv6: Option<Ipv6Addr>,
}

/// One `NETLINK_ROUTE` socket. It needs `CAP_NET_ADMIN` for all that changes something.
#[derive(Debug)]
pub struct Addresses {
    netlink: Netlink,
}

impl Addresses {
    /// Opens the socket.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn open() -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open(ROUTE)? })
    }

    /// Adds the address to the link, or renews it, for `lifetime`: whole seconds, rounded up.
    ///
    /// The host does not choose it as a source. IPv6 has a rule for that: it is deprecated
    /// (RFC 6724, rule 3). IPv4 has none: routes that name no source take the first address of the
    /// link (measured), and so do kubelets and CNI plugins that look for the address of the node. So
    /// it must not be the first: see [`Addresses::comes_first`]. With a greater scope than `global`
    /// no route takes it, and the kernel lists it first (measured), which is worse.
    ///
    /// An address of IPv4 works when this returns. One of IPv6 works when the kernel tells that it is
    /// new ([`Change::AddressNew`](crate::monitor::Change)): another thread of the kernel makes its
    /// route, 0.03 to 1.5 ms later (measured).
    ///
    /// IPv6 asks nobody whether he has it (`IFA_F_NODAD`: that takes a second, in which the address
    /// does not work), and makes no route of its own to the subnet of one address
    /// (`IFA_F_NOPREFIXROUTE`); for a `/32` of IPv4 the kernel makes none anyhow.
    ///
    /// # Errors
    /// If the kernel refuses: `PermissionDenied` without `CAP_NET_ADMIN`, or where the link has IPv6
    /// disabled; `ENODEV` if there is no such link.
    pub fn hold(&mut self, address: IpAddr, link: u32, lifetime: Duration) -> io::Result<()> {
        let seconds = lifetime.as_secs().saturating_add(u64::from(lifetime.subsec_nanos() > 0));
        // The greatest number means for ever.
        let valid = u32::try_from(seconds).unwrap_or(u32::MAX).clamp(1, u32::MAX - 1);
        let [v0, v1, v2, v3] = valid.to_ne_bytes();
        // Preferred for 0 s, valid for so long; then two times that only the kernel writes.
        let cache = [0, 0, 0, 0, v0, v1, v2, v3, 0, 0, 0, 0, 0, 0, 0, 0];
        let header = address_header(address, libc::RT_SCOPE_UNIVERSE, link);
        let flags = libc_flags(libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
        self.netlink.request(
            libc::RTM_NEWADDR,
            flags,
            &header,
            |builder| {
                local_and_remote(builder, address);
                if address.is_ipv6() {
                    let flags = libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE;
                    builder.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes());
                }
                builder.attribute(libc::IFA_CACHEINFO, &cache);
                builder.attribute(IFA_PROTO, &[PROTOCOL]);
            },
            |_message| {},
        )
    }

    /// Whether one of these IPv4 addresses that we hold comes before the link's own in `list`, as
    /// it does once that was removed and added again: then it is to be removed and held anew, which
    /// takes well under a millisecond.
    pub fn comes_first(list: &[Assigned], vip: &[IpAddr], link: u32) -> bool {
        let on_link = || list.iter().filter(|there| there.link == link && there.address.is_ipv4());
        let held = on_link().position(|there| there.ours && vip.contains(&there.address));
        let own = on_link().position(Assigned::is_own);
        matches!((held, own), (Some(held), Some(own)) if held < own)
    }

    /// Takes the address from the link; `false` if it was not there.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove(&mut self, address: IpAddr, link: u32) -> io::Result<bool> {
        let header = address_header(address, libc::RT_SCOPE_UNIVERSE, link);
        let removed = self.netlink.request(
            libc::RTM_DELADDR,
            0,
            &header,
            |builder| local_and_remote(builder, address),
            |_message| {},
        );
        // No address, no link, no IPv6 on the link.
        found(removed, &[Errno::ADDRNOTAVAIL, Errno::NODEV, Errno::NXIO])
    }

    /// Every address of this host.
    ///
    /// # Errors
    /// If the kernel refuses, or the addresses change faster than they can be read.
    pub fn list(&mut self) -> io::Result<Vec<Assigned>> {
        let mut marks = false;
        let mut list = self.netlink.dump(
            libc::RTM_GETADDR,
            &[0; ADDRESS_HEADER],
            |_| {},
            |message| {
                let (assigned, protocol) = read_address(message)?;
                // The kernel marks its own too: that of `lo`, and link-local ones.
                marks |= protocol.is_some();
                Some(assigned)
            },
        )?;
        if !marks {
            for assigned in &mut list {
                let alone = if assigned.address.is_ipv4() { 32 } else { 128 };
                assigned.ours =
                    !assigned.permanent && assigned.deprecated && assigned.prefix_length == alone;
            }
        }
        Ok(list)
    }

    /// The link of that name.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        // The kernel refuses longer names as malformed; there are none.
        if name.is_empty() || name.len() >= libc::IFNAMSIZ {
            return Ok(None);
        }
        self.read_link(0, |builder| builder.text(libc::IFLA_IFNAME, name))
    }

    /// The link of that index.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn link_at(&mut self, index: u32) -> io::Result<Option<Link>> {
        self.read_link(index, |_builder| {})
    }

    /// The addresses that the link speaks from: neither a VIP nor the second one of a subnet.
    ///
    /// # Errors
    /// As for [`Addresses::list`].
    pub fn primary(&mut self, link: u32) -> io::Result<Primary> {
        let mut primary = Primary::default();
        for assigned in self.list()?.into_iter().filter(|assigned| assigned.link == link) {
            match assigned.address {
                IpAddr::V4(address) if assigned.is_own() => {
                    primary.ipv4.get_or_insert((address, assigned.prefix_length));
                }
                IpAddr::V6(address) if address.is_unicast_link_local() => {
                    if assigned.is_own() && !assigned.tentative {
                        primary.ipv6.get_or_insert(address);
                    }
                }
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        }
        Ok(primary)
    }

    /// The link in whose subnet the address lies; of several, that of the smallest subnet.
    ///
    /// # Errors
    /// As for [`Addresses::list`].
    pub fn interface_for(&mut self, address: IpAddr) -> io::Result<Option<Link>> {
        let list = self.list()?;
        let around = list.iter().filter(|own| {
            // Every link has the link-local subnet: that says nothing.
            let anywhere = matches!(own.address, IpAddr::V6(own) if own.is_unicast_link_local());
            own.is_own() && !anywhere && own.link != LOOPBACK && own.contains(address)
        });
        match around.max_by_key(|own| own.prefix_length) {
            Some(own) => self.link_at(own.link),
            None => Ok(None),
        }
    }

    /// Lets the host accept what is for the address even without the address: a route of type
    /// `local`, which stays until [`Addresses::unkeep`]. Routing daemons look at addresses and
    /// withdraw theirs, while every connection goes on.
    ///
    /// It has no lifetime: whoever is killed leaves it. That harms nobody else, as nothing is sent
    /// here any more; at the next start, [`Addresses::remove_leftover_routes`].
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn keep_locally(&mut self, address: IpAddr) -> io::Result<()> {
        // Beside the route that the kernel made for the address itself, and not instead of it.
        let flags = libc_flags(libc::NLM_F_CREATE | libc::NLM_F_APPEND);
        let kept = self.route(libc::RTM_NEWROUTE, flags, address);
        found(kept, &[Errno::EXIST]).map(drop)
    }

    /// Ends [`Addresses::keep_locally`]; `false` if it was not so.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn unkeep(&mut self, address: IpAddr) -> io::Result<bool> {
        let removed = self.route(libc::RTM_DELROUTE, 0, address);
        found(removed, &[Errno::SRCH])
    }

    /// Removes every route that bears our [`PROTOCOL`], and says how many there were. It reads all
    /// routes of the host.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn remove_leftover_routes(&mut self) -> io::Result<usize> {
        let kept =
            self.netlink.dump(libc::RTM_GETROUTE, &[0; ROUTE_HEADER], |_builder| {}, read_kept)?;
        let mut removed = 0;
        for address in kept {
            removed += usize::from(self.unkeep(address)?);
        }
        Ok(removed)
    }

    fn route(&mut self, kind: u16, flags: u16, address: IpAddr) -> io::Result<()> {
        let (family, length) = family(address);
        let header = [
            family,
            length,
            0,
            0,
            libc::RT_TABLE_LOCAL,
            PROTOCOL,
            libc::RT_SCOPE_HOST,
            libc::RTN_LOCAL,
            0,
            0,
            0,
            0,
        ];
        self.netlink.request(
            kind,
            flags,
            &header,
            |builder| {
                address_attribute(builder, libc::RTA_DST, address);
                builder.attribute(libc::RTA_OIF, &LOOPBACK.to_ne_bytes());
            },
            |_message| {},
        )
    }

    fn read_link(
        &mut self,
        index: u32,
        fill: impl FnOnce(&mut Builder),
    ) -> io::Result<Option<Link>> {
        let mut header = [0; LINK_HEADER];
        if let Some(place) = header.get_mut(4..8) {
            place.copy_from_slice(&index.to_ne_bytes());
        }
        let mut link = None;
        let read = self.netlink.request(libc::RTM_GETLINK, 0, &header, fill, |message| {
            link = link.take().or_else(|| read_link(message));
        });
        Ok(if found(read, &[Errno::NODEV])? { link } else { None })
    }
}

/// `false` if the kernel says that there is no such thing, or one already.
fn found(answer: io::Result<()>, none: &[Errno]) -> io::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(error) => match Errno::from_io_error(&error) {
            Some(errno) if none.contains(&errno) => Ok(false),
            Some(_) | None => Err(error),
        },
    }
}

/// The number of the address family, and the bits of an address.
#[expect(clippy::cast_possible_truncation, reason = "a byte on the wire")]
fn family(address: IpAddr) -> (u8, u8) {
    match address {
        IpAddr::V4(_) => (libc::AF_INET as u8, 32),
        IpAddr::V6(_) => (libc::AF_INET6 as u8, 128),
    }
}

/// `struct ifaddrmsg`.
fn address_header(address: IpAddr, scope: u8, link: u32) -> [u8; ADDRESS_HEADER] {
    let (family, length) = family(address);
    let [l0, l1, l2, l3] = link.to_ne_bytes();
    [family, length, 0, scope, l0, l1, l2, l3]
}

fn local_and_remote(builder: &mut Builder, address: IpAddr) {
    address_attribute(builder, libc::IFA_LOCAL, address);
    address_attribute(builder, libc::IFA_ADDRESS, address);
}

fn address_attribute(builder: &mut Builder, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => builder.attribute(kind, &address.octets()),
        IpAddr::V6(address) => builder.attribute(kind, &address.octets()),
    }
}

/// An address that a message tells of, and who added it.
pub(crate) fn read_address(message: &Message<'_>) -> Option<(Assigned, Option<u8>)> {
    if message.kind != libc::RTM_NEWADDR && message.kind != libc::RTM_DELADDR {
        return None;
    }
    let (&[_family, prefix_length, flags, _scope, l0, l1, l2, l3], rest) =
        message.body.split_first_chunk::<ADDRESS_HEADER>()?;
    let mut flags = u32::from(flags);
    let (mut local, mut remote, mut protocol) = (None, None, None);
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFA_LOCAL => local = parse_address(value),
            libc::IFA_ADDRESS => remote = parse_address(value),
            libc::IFA_FLAGS => flags = u32::from_ne_bytes(*value.first_chunk()?),
            IFA_PROTO => protocol = value.first().copied(),
            _ => {}
        }
    }
    let has = |flag: u32| flags & flag != 0;
    let assigned = Assigned {
        // On a point-to-point link the other one is the address of the other end.
        address: local.or(remote)?,
        prefix_length,
        link: u32::from_ne_bytes([l0, l1, l2, l3]),
        permanent: has(libc::IFA_F_PERMANENT),
        ours: protocol == Some(PROTOCOL),
        secondary: has(libc::IFA_F_SECONDARY) && local.is_some_and(|local| local.is_ipv4()),
        tentative: has(libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED),
        deprecated: has(libc::IFA_F_DEPRECATED),
    };
    Some((assigned, protocol))
}

/// The address of a route that we have left.
fn read_kept(message: &Message<'_>) -> Option<IpAddr> {
    let (header, rest) = message.body.split_first_chunk::<ROUTE_HEADER>()?;
    let &[_family, _length, _, _, table, protocol, _scope, kind, ..] = header;
    let kept = table == libc::RT_TABLE_LOCAL && protocol == PROTOCOL && kind == libc::RTN_LOCAL;
    let destination = attributes(rest).find(|(kind, _)| *kind == libc::RTA_DST);
    if kept && message.kind == libc::RTM_NEWROUTE { parse_address(destination?.1) } else { None }
}

fn read_link(message: &Message<'_>) -> Option<Link> {
    let (index, flags, rest) = read_link_header(message)?;
    let mut link = Link {
        index,
        name: String::new(),
        mac: [0; 6],
        up: has_link_flag(flags, libc::IFF_UP),
        carrier: has_link_flag(flags, libc::IFF_LOWER_UP),
        loopback: has_link_flag(flags, libc::IFF_LOOPBACK),
    };
    for (kind, value) in attributes(rest) {
        match kind {
            libc::IFLA_IFNAME => {
                let name = value.strip_suffix(&[0]).unwrap_or(value);
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_ADDRESS => link.mac = value.try_into().unwrap_or_default(),
            _ => {}
        }
    }
    Some(link)
}

/// Index, flags and attributes of a message that tells of a link itself: not of its part in a
/// bridge, which is another family.
pub(crate) fn read_link_header<'a>(message: &Message<'a>) -> Option<(u32, u32, &'a [u8])> {
    if message.kind != libc::RTM_NEWLINK && message.kind != libc::RTM_DELLINK {
        return None;
    }
    let (header, rest) = message.body.split_first_chunk::<LINK_HEADER>()?;
    let &[family, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = header;
    let index = u32::from_ne_bytes([i0, i1, i2, i3]);
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    (i32::from(family) == libc::AF_UNSPEC).then_some((index, flags, rest))
}

/// Whether the flags of a link have this one.
pub(crate) fn has_link_flag(flags: u32, flag: libc::c_int) -> bool {
    flags & flag.cast_unsigned() != 0
}

fn parse_address(value: &[u8]) -> Option<IpAddr> {
    let ipv4 = <[u8; 4]>::try_from(value).map(IpAddr::from);
    ipv4.or_else(|_| <[u8; 16]>::try_from(value).map(IpAddr::from)).ok()
}

/// Bytes of `struct ifaddrmsg`.
const ADDRESS_HEADER: usize = 8;

/// Bytes of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

/// Bytes of `struct rtmsg`.
const ROUTE_HEADER: usize = 12;

/// Of `linux/if_addr.h`; libc does not have it.
const IFA_PROTO: u16 = 11;

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(address: &str, prefix_length: u8) -> Assigned {
        Assigned {
            address: address.parse().unwrap(),
            prefix_length,
            link: 2,
            permanent: true,
            ours: false,
            secondary: false,
            tentative: false,
            deprecated: false,
        }
    }

    #[test]
    fn a_subnet_contains_its_addresses_and_no_others() {
        let contains = |subnet: &str, length, address: &str| {
            assigned(subnet, length).contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.21", 24, "10.0.0.100"));
        assert!(!contains("10.0.0.21", 24, "10.0.1.100"));
        assert!(contains("10.0.0.21", 32, "10.0.0.21"));
        assert!(!contains("10.0.0.21", 32, "10.0.0.20"));
        assert!(contains("10.0.0.21", 0, "192.0.2.1"));
        assert!(contains("fd00::21", 64, "fd00::1:2"));
        assert!(!contains("fd00::21", 64, "fd00:0:0:1::1"));
        assert!(contains("fd00::21", 0, "2001:db8::1"));
        assert!(!contains("0.0.0.0", 0, "::1"));
    }

    #[test]
    fn an_own_address_has_a_subnet_and_comes_first_in_it() {
        assert!(assigned("10.0.0.21", 24).is_own());
        assert!(!assigned("10.0.0.21", 32).is_own());
        assert!(!Assigned { secondary: true, ..assigned("10.0.0.22", 24) }.is_own());
        assert!(!Assigned { ours: true, ..assigned("10.0.0.22", 24) }.is_own());
        assert!(!assigned("fd00::21", 128).is_own());
    }
}
