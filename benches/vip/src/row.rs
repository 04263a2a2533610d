//! The rows of the table: what befalls the owner, and what the clients are like.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

/// What befalls the owner, or all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Fault {
    /// It is asked to end (SIGTERM).
    Planned,
    /// One after the other is asked to end and started again, the owner first.
    Rolling,
    /// Its port drops everything: nobody is told.
    Silence,
    /// Its port goes down: its own interface loses the carrier.
    Carrier,
    /// All its processes are killed. Its kernel lives, and so may the address.
    Kill,
    /// All its processes stop where they are for a while.
    Freeze,
    /// It is alone; the other two are with the clients.
    Partition,
    /// Nobody hears an advert, while all else passes.
    Filtered,
    /// All CPUs are busy. Nothing fails.
    Load,
}

impl Fault {
    /// How long it lasts, and how long it is watched after that. A load lasts as long as is asked.
    pub(crate) fn lasts(self, load: Duration) -> Lasts {
        let seconds = |fault, after| Lasts {
            fault: Duration::from_secs(fault),
            after: Duration::from_secs(after),
        };
        match self {
            // The defaults of keepalived take 3.6 s.
            Self::Silence | Self::Carrier => seconds(6, 3),
            Self::Planned => seconds(5, 0),
            // Nobody comes back by itself.
            Self::Kill => seconds(6, 0),
            Self::Freeze => seconds(5, 4),
            Self::Partition | Self::Filtered => seconds(10, 5),
            Self::Rolling => seconds(0, 0),
            Self::Load => Lasts { fault: load, after: Duration::ZERO },
        }
    }
}

/// How long a fault lasts, and how long the clients go on after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lasts {
    /// From the fault until it is undone.
    pub(crate) fault: Duration,
    /// From then until the clients stop.
    pub(crate) after: Duration,
}

/// The family that the clients use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Family {
    /// IPv4, with ARP.
    V4,
    /// IPv6, with neighbour discovery.
    V6,
}

impl Family {
    /// The virtual address.
    pub(crate) fn vip(self) -> IpAddr {
        match self {
            Self::V4 => VIP4.into(),
            Self::V6 => VIP6.into(),
        }
    }

    /// What the clients connect to.
    pub(crate) fn service(self) -> SocketAddr {
        (self.vip(), PORT).into()
    }
}

/// Whether the clients remember whose the address is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Resolver {
    /// They do, as the kernel does.
    Warm,
    /// They ask before every connection, as a client does that was never there.
    Cold,
}

/// When the first owner was plugged into the switch. A broadcast reaches first who was plugged in
/// last, so the answer to ARP of that one comes first, which is the one that Linux believes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Port {
    /// Before the others.
    First,
    /// After the others.
    Last,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Row {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What it is, for who reads the table.
    pub(crate) title: &'static str,
    /// What happens.
    pub(crate) fault: Fault,
    /// How the clients come.
    pub(crate) family: Family,
    /// What they know.
    pub(crate) resolver: Resolver,
    /// Where the first owner is.
    pub(crate) port: Port,
    /// Whether the hosts pass on what is not for them, as a node of Kubernetes does.
    pub(crate) forwards: bool,
}

impl Row {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 16] = [
        Self::of("planned", "SIGTERM of the owner", Fault::Planned),
        Self {
            forwards: true,
            ..Self::of("planned-forward", "SIGTERM of the owner, ip_forward=1", Fault::Planned)
        },
        Self {
            family: Family::V6,
            ..Self::of("planned-v6", "SIGTERM of the owner, IPv6", Fault::Planned)
        },
        Self::of("rolling", "rolling restart of all three, owner first", Fault::Rolling),
        Self::of("silence", "owner cut off, nobody is told", Fault::Silence),
        Self {
            family: Family::V6,
            ..Self::of("silence-v6", "owner cut off, nobody is told, IPv6", Fault::Silence)
        },
        Self::of("carrier", "owner's port down", Fault::Carrier),
        Self::of("kill", "kill -9 of all on the owner", Fault::Kill),
        Self::cold("kill-cold-first", "kill -9, cold resolver, owner on the first port"),
        Self {
            port: Port::Last,
            ..Self::cold("kill-cold-last", "kill -9, cold resolver, owner on the last port")
        },
        Self {
            family: Family::V6,
            ..Self::cold("kill-cold-first-v6", "kill -9, cold, owner on the first port, IPv6")
        },
        Self {
            family: Family::V6,
            port: Port::Last,
            ..Self::cold("kill-cold-last-v6", "kill -9, cold, owner on the last port, IPv6")
        },
        Self::of("freeze", "SIGSTOP of all on the owner for 5 s", Fault::Freeze),
        Self::of("partition", "owner alone for 10 s, two with the clients", Fault::Partition),
        Self::of("filtered", "VRRP filtered for 10 s, all else passes", Fault::Filtered),
        Self::of("load", "all CPUs busy", Fault::Load),
    ];

    /// The row of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name == name)
    }

    const fn of(name: &'static str, title: &'static str, fault: Fault) -> Self {
        Self {
            name,
            title,
            fault,
            family: Family::V4,
            resolver: Resolver::Warm,
            port: Port::First,
            forwards: false,
        }
    }

    const fn cold(name: &'static str, title: &'static str) -> Self {
        Self { resolver: Resolver::Cold, ..Self::of(name, title, Fault::Kill) }
    }
}

/// The virtual addresses.
pub(crate) const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
/// The port that is served on them.
pub(crate) const PORT: u16 = 6443;
