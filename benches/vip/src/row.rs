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
    /// What it is, for who reads the table.
    fn title(self) -> &'static str {
        match self {
            Self::Planned => "SIGTERM of the owner",
            Self::Rolling => "rolling restart of all three, owner first",
            Self::Silence => "owner cut off, nobody is told",
            Self::Carrier => "owner's port down",
            Self::Kill => "kill -9 of all on the owner",
            Self::Freeze => "SIGSTOP of all on the owner for 5 s",
            Self::Partition => "owner alone for 10 s, two with the clients",
            Self::Filtered => "VRRP filtered for 10 s, all else passes",
            Self::Load => "all CPUs busy",
        }
    }

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
    pub(crate) const ALL: [Self; 26] = [
        PLANNED,
        PLANNED.v6("planned-v6"),
        PLANNED.forward("planned-forward"),
        PLANNED.forward("planned-forward").v6("planned-forward-v6"),
        ROLLING,
        ROLLING.v6("rolling-v6"),
        ROLLING.forward("rolling-forward"),
        ROLLING.forward("rolling-forward").v6("rolling-forward-v6"),
        SILENCE,
        SILENCE.v6("silence-v6"),
        CARRIER,
        CARRIER.v6("carrier-v6"),
        KILL,
        KILL.v6("kill-v6"),
        KILL.cold("kill-cold-first", Port::First),
        KILL.cold("kill-cold-first", Port::First).v6("kill-cold-first-v6"),
        KILL.cold("kill-cold-last", Port::Last),
        KILL.cold("kill-cold-last", Port::Last).v6("kill-cold-last-v6"),
        FREEZE,
        FREEZE.v6("freeze-v6"),
        PARTITION,
        PARTITION.v6("partition-v6"),
        FILTERED,
        FILTERED.v6("filtered-v6"),
        LOAD,
        LOAD.v6("load-v6"),
    ];

    /// The row of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|row| row.name == name)
    }

    /// What it is, for who reads the table.
    pub(crate) fn title(self) -> String {
        let resolver = match (self.resolver, self.port) {
            (Resolver::Warm, _) => "",
            (Resolver::Cold, Port::First) => ", cold resolver, owner on the first port",
            (Resolver::Cold, Port::Last) => ", cold resolver, owner on the last port",
        };
        let forwards = if self.forwards { ", hosts forward" } else { "" };
        let family = match self.family {
            Family::V4 => "",
            Family::V6 => ", IPv6",
        };
        [self.fault.title(), resolver, forwards, family].concat()
    }

    const fn of(name: &'static str, fault: Fault) -> Self {
        Self {
            name,
            fault,
            family: Family::V4,
            resolver: Resolver::Warm,
            port: Port::First,
            forwards: false,
        }
    }

    const fn v6(self, name: &'static str) -> Self {
        Self { name, family: Family::V6, ..self }
    }

    const fn forward(self, name: &'static str) -> Self {
        Self { name, forwards: true, ..self }
    }

    const fn cold(self, name: &'static str, port: Port) -> Self {
        Self { name, resolver: Resolver::Cold, port, ..self }
    }
}

const PLANNED: Row = Row::of("planned", Fault::Planned);
const ROLLING: Row = Row::of("rolling", Fault::Rolling);
const SILENCE: Row = Row::of("silence", Fault::Silence);
const CARRIER: Row = Row::of("carrier", Fault::Carrier);
const KILL: Row = Row::of("kill", Fault::Kill);
const FREEZE: Row = Row::of("freeze", Fault::Freeze);
const PARTITION: Row = Row::of("partition", Fault::Partition);
const FILTERED: Row = Row::of("filtered", Fault::Filtered);
const LOAD: Row = Row::of("load", Fault::Load);

/// The routers with their numbers on the network; the first one is the owner.
pub(crate) const ROUTERS: [(&str, u8); 3] = [("router-1", 21), ("router-2", 22), ("router-3", 23)];

/// The virtual addresses.
pub(crate) const VIP4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
/// The port that is served on them.
pub(crate) const PORT: u16 = 6443;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_row_has_a_name_and_a_title_of_its_own() {
        let names: BTreeSet<&str> = Row::ALL.iter().map(|row| row.name).collect();
        let titles: BTreeSet<String> = Row::ALL.iter().map(|row| row.title()).collect();
        assert_eq!((names.len(), titles.len()), (Row::ALL.len(), Row::ALL.len()));
    }

    #[test]
    fn each_row_is_there_in_both_families() {
        for row in Row::ALL {
            let other = match row.family {
                Family::V4 => Row::named(&format!("{}-v6", row.name)),
                Family::V6 => row.name.strip_suffix("-v6").and_then(Row::named),
            };
            let other = other.unwrap();
            assert_ne!(other.family, row.family, "{}", row.name);
            assert_eq!(Row { name: row.name, family: row.family, ..other }, row);
        }
    }
}
