//! The interface of a VIP and its addresses, as the kernel has them.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::addresses::{Addresses, Assigned, Link};
use crate::config::{Mode, VipConfig};
use crate::monitor::{Change, Monitor};
use crate::router::Obstacle;

/// Where a VIP is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) link: Link,
    /// Where adverts come from: one address for each family of the VIP, IPv4 first.
    pub(super) sources: Vec<IpAddr>,
    /// Those of the configured peers that are this host itself.
    pub(super) own: Vec<IpAddr>,
}

/// What a look at the interface found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// What the last one found.
    Same,
    Unusable(Obstacle),
    Usable(Place),
}

/// How long the kernel is waited for that makes a new address work, in looks of a millisecond. It
/// takes 1.5 ms, and longer only where the CPUs are busy with more than it.
const LOOKS: usize = 20;
const A_LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// What has changed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// The interface must be looked at.
    pub(super) look: bool,
    /// An address of the VIP is not there any more.
    pub(super) address_gone: bool,
}

#[derive(Debug)]
pub(super) struct Links {
    addresses: Addresses,
    monitor: Monitor,
    last: Option<Result<Place, Obstacle>>,
    /// The index of the link that has, or had, the addresses.
    holder: Option<u32>,
    /// Clients are accepted for addresses that a routing daemon must not see any more.
    is_routed: bool,
    /// The addresses are put on the link; else they are none of the kernel's business.
    assigns: bool,
    /// Of so many addresses we will hear that they are gone, because we took them ourselves.
    taken: usize,
    /// The addresses are held, and the kernel has said that they work.
    works: bool,
}

impl Links {
    pub(super) fn open(config: &VipConfig) -> io::Result<Self> {
        Ok(Self {
            addresses: Addresses::open()?,
            monitor: Monitor::open()?,
            last: None,
            holder: None,
            is_routed: matches!(config.mode, Mode::Route(_)),
            assigns: config.assigns(),
            taken: 0,
            works: false,
        })
    }

    /// Removes what an evenkeel has left that was killed.
    pub(super) fn clean(&mut self, vip: &[IpAddr]) -> io::Result<()> {
        for left in self.addresses.list()? {
            if self.assigns && left.ours && vip.contains(&left.address) {
                self.addresses.remove(left.address, left.link)?;
            }
        }
        if self.is_routed {
            // Also those of addresses that are no VIP any more: they would never expire.
            self.addresses.remove_leftover_routes()?;
        }
        Ok(())
    }

    pub(super) fn monitor(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Reads what the kernel has told.
    pub(super) fn changes(&mut self, vip: &[IpAddr]) -> io::Result<Changes> {
        let mut changes = Changes::default();
        let holder = self.holder;
        let is_known = self.last.as_ref().is_some_and(Result::is_ok);
        let (taken, works) = (&mut self.taken, &mut self.works);
        self.monitor.read(|change| match change {
            Change::Link { index, .. } | Change::LinkGone { index } => {
                changes.look |= !is_known || holder == Some(index);
            }
            Change::AddressGone { address, .. } if *taken > 0 && vip.contains(&address) => {
                *taken -= 1;
            }
            Change::AddressGone { address, link } if vip.contains(&address) => {
                changes.address_gone |= holder == Some(link);
                changes.look |= !is_known;
                *works &= holder != Some(link);
            }
            // Ours is renewed all the time; another one is seen to by the look once a second.
            Change::AddressNew { address, .. } if vip.contains(&address) => {
                changes.look |= !is_known;
            }
            Change::AddressGone { link, .. } | Change::AddressNew { link, .. } => {
                changes.look |= !is_known || holder == Some(link);
            }
            Change::Lost => {
                *taken = 0;
                *works = false;
                changes.look = true;
                changes.address_gone = true;
            }
        })?;
        Ok(changes)
    }

    /// Looks at everything anew.
    pub(super) fn look(&mut self, config: &VipConfig) -> io::Result<Looked> {
        let found = self.find(config)?;
        if self.last.as_ref() == Some(&found) {
            return Ok(Looked::Same);
        }
        if let Ok(place) = &found {
            self.holder = Some(place.link.index);
        }
        self.last = Some(found.clone());
        Ok(match found {
            Ok(place) => Looked::Usable(place),
            Err(obstacle) => Looked::Unusable(obstacle),
        })
    }

    /// The next look finds something new.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    fn find(&mut self, config: &VipConfig) -> io::Result<Result<Place, Obstacle>> {
        let link = match (&config.interface, config.addresses.first()) {
            (Some(name), _) => self.addresses.link(name)?,
            (None, _) if self.is_routed => self.addresses.link("lo")?,
            (None, _) if matches!(config.mode, Mode::Hook(_)) => self.link_of_peers(config)?,
            (None, Some(address)) => self.addresses.interface_for(*address)?,
            (None, None) => None,
        };
        let Some(link) = link else { return Ok(Err(Obstacle::NoInterface)) };
        if !(link.up && link.carrier) {
            return Ok(Err(Obstacle::NoCarrier));
        }
        let all = self.addresses.list()?;
        if !self.is_routed && Addresses::comes_first(&all, &config.addresses, link.index) {
            self.put_last(config, &all, link.index)?;
        }
        let not_ours = all.iter().filter(|there| !there.ours);
        let mut own: Vec<IpAddr> = not_ours.map(|there| there.address).collect();
        if self.assigns && own.iter().any(|own| config.addresses.contains(own)) {
            return Ok(Err(Obstacle::Permanent));
        }
        // Others come and go, as pods do, and change nothing here.
        own.retain(|own| config.peers().contains(own));
        if self.is_routed {
            return Ok(Ok(Place { link, sources: Vec::new(), own }));
        }
        if matches!(config.mode, Mode::Hook(_)) {
            // Where the others expect adverts from.
            let families = [true, false].into_iter();
            let families = families
                .filter(|ipv4| config.addresses.iter().any(|address| address.is_ipv4() == *ipv4));
            let source = |ipv4: bool| own.iter().find(|own| own.is_ipv4() == ipv4).copied();
            let Some(sources) = families.map(source).collect() else {
                return Ok(Err(Obstacle::NotAPeer));
            };
            return Ok(Ok(Place { link, sources, own }));
        }
        let primary = self.addresses.primary(link.index)?;
        let mut sources = Vec::with_capacity(2);
        if config.addresses.iter().any(IpAddr::is_ipv4) {
            let Some((address, _)) = primary.ipv4 else { return Ok(Err(Obstacle::NoSource)) };
            sources.push(address.into());
        }
        if config.addresses.iter().any(IpAddr::is_ipv6) {
            let Some(address) = primary.ipv6 else { return Ok(Err(Obstacle::NoSource)) };
            sources.push(address.into());
        }
        Ok(Ok(Place { link, sources, own }))
    }

    /// Puts our IPv4 addresses behind the link's own.
    fn put_last(&mut self, config: &VipConfig, all: &[Assigned], link: u32) -> io::Result<()> {
        let held = all.iter().filter(|there| there.ours && there.link == link);
        let held = held.filter(|there| there.address.is_ipv4());
        for address in held.map(|there| there.address).filter(|a| config.addresses.contains(a)) {
            self.taken += usize::from(self.addresses.remove(address, link)?);
            self.addresses.hold(address, link, config.lifetime.duration())?;
        }
        Ok(())
    }

    /// The link with an address that is among the peers, or else in a subnet with one.
    fn link_of_peers(&mut self, config: &VipConfig) -> io::Result<Option<Link>> {
        let all = self.addresses.list()?;
        let own = all.iter().find(|there| !there.ours && config.peers().contains(&there.address));
        if let Some(own) = own {
            return self.addresses.link_at(own.link);
        }
        for peer in config.peers() {
            if let Some(link) = self.addresses.interface_for(*peer)? {
                return Ok(Some(link));
            }
        }
        Ok(None)
    }

    /// Adds the addresses, or renews them. What is new works when this returns: whoever hears of it
    /// comes at once, and says his SYN again only after a second.
    pub(super) fn hold(&mut self, vip: &[IpAddr], lifetime: Duration) -> io::Result<()> {
        let link = self.holder.ok_or(io::ErrorKind::NotFound)?;
        if !self.assigns {
            return Ok(());
        }
        // Of IPv4 a new address works at once. A monitor of its own, so that the other one still
        // tells all.
        let waits = !self.works && vip.iter().any(IpAddr::is_ipv6);
        let monitor = waits.then(Monitor::open).transpose()?;
        for address in vip {
            self.addresses.hold(*address, link, lifetime)?;
        }
        if let Some(monitor) = monitor {
            wait_for_new(monitor, vip, link)?;
        }
        self.works = true;
        Ok(())
    }

    /// Takes the addresses away, and accepts clients for them nevertheless.
    pub(super) fn withdraw(&mut self, vip: &[IpAddr]) -> io::Result<()> {
        for address in vip {
            self.addresses.keep_locally(*address)?;
        }
        self.remove(vip)
    }

    pub(super) fn release(&mut self, vip: &[IpAddr]) -> io::Result<()> {
        let removed = self.remove(vip);
        if self.is_routed {
            for address in vip {
                self.addresses.unkeep(*address)?;
            }
        }
        removed
    }

    fn remove(&mut self, vip: &[IpAddr]) -> io::Result<()> {
        let Some(link) = self.holder.filter(|_| self.assigns) else { return Ok(()) };
        self.works = false;
        let mut all = Ok(());
        for address in vip {
            // One that is refused keeps none of the others.
            let removed = self.addresses.remove(*address, link).map(drop);
            all = all.and(removed);
        }
        all
    }
}

/// Waits until the kernel has told of the addresses of IPv6, which is when they work; not for long.
fn wait_for_new(mut monitor: Monitor, vip: &[IpAddr], link: u32) -> io::Result<()> {
    let mut missing: Vec<IpAddr> =
        vip.iter().filter(|address| address.is_ipv6()).copied().collect();
    for _look in 0..LOOKS {
        let socket = PollFd::from_borrowed_fd(monitor.as_fd(), PollFlags::IN);
        match poll(&mut [socket], Some(&A_LOOK)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        monitor.read(|change| {
            if let Change::AddressNew { address, link: on } = change
                && on == link
            {
                missing.retain(|missing| *missing != address);
            }
        })?;
        if missing.is_empty() {
            break;
        }
    }
    Ok(())
}
