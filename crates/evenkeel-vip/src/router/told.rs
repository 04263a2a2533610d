//! What a router tells people, with its reasons.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::Peer;
use crate::class::Class;

/// What a router is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    /// It cannot hold the address.
    Down,
    /// Somebody else has it, or nobody.
    Backup,
    /// It has the address.
    Owner,
    /// It has the address, and is about to hand it over.
    Yielding,
    /// It is over.
    Ended,
}

impl StateName {
    /// Its name in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Backup => "backup",
            Self::Owner => "owner",
            Self::Yielding => "yielding",
            Self::Ended => "ended",
        }
    }
}

/// Why the interface cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There is no such interface.
    NoInterface,
    /// It is down, or its cable is unplugged.
    NoCarrier,
    /// It has no address of its own to send from.
    NoSource,
    /// None of its addresses is among the peers that the config names.
    NotAPeer,
    /// The address is there already, for good, and not by us.
    Permanent,
    /// The sockets that it takes cannot be opened.
    NoSocket,
}

impl Obstacle {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoInterface => "there is no such interface",
            Self::NoCarrier => "the interface is down or has no carrier",
            Self::NoSource => "the interface has no address of its own to send from",
            Self::NotAPeer => {
                "none of this host's addresses is among the `peers`, from which the others hear it"
            }
            Self::Permanent => {
                "the address is configured on this host already, and not by evenkeel: remove it there"
            }
            Self::NoSocket => "its sockets cannot be opened",
        }
    }
}

/// Why a router is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The interface cannot be used.
    Obstacle(Obstacle),
    /// The interface can be used.
    Link,
    /// Nobody was heard.
    Nobody,
    /// The owner was not heard any more.
    Silence {
        /// The owner.
        source: IpAddr,
        /// How long not.
        silent: Duration,
    },
    /// The owner said that it leaves.
    Left(IpAddr),
    /// The owner is of a lesser class than we are.
    LesserClass(Peer),
    /// It needs nobody's consent: every healthy node holds the address.
    Alone,
    /// Another owner is better.
    Better {
        /// Which.
        source: IpAddr,
        /// Its class.
        class: Class,
    },
    /// Another owner was heard by its announcements alone.
    Rival([u8; 6]),
    /// It was not run for so long that somebody else must have taken over.
    Stalled(Duration),
    /// It was asked to move.
    Asked,
    /// Asked to move, it found nobody to take over.
    NobodyTookOver,
    /// The data plane does not turn.
    Wedged,
    /// It is of a class that must not hold the address.
    Class(Class),
    /// Another router has taken over.
    HandedOver(IpAddr),
    /// It gave way to a rival.
    GaveWay,
    /// The kernel refused to add the address.
    Refused,
    /// The process ends.
    Ended,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obstacle(obstacle) => f.write_str(obstacle.as_str()),
            Self::Link => f.write_str("the interface is up"),
            Self::Nobody => f.write_str("no owner was heard"),
            Self::Silence { source, silent } => {
                write!(f, "the owner {source} was not heard for {} ms", silent.as_millis())
            }
            Self::Left(source) => write!(f, "the owner {source} gave it up"),
            Self::LesserClass(peer) => {
                write!(f, "the owner {} is only {}", peer.source, peer.class)
            }
            Self::Alone => f.write_str("this node serves"),
            Self::Better { source, class } => {
                write!(f, "{source} has it, which is {class} and goes before")
            }
            Self::Rival(mac) => write!(f, "{} has it, though its adverts are not heard", Mac(*mac)),
            Self::Stalled(asleep) => {
                write!(f, "this process stood still for {} ms", asleep.as_millis())
            }
            Self::Asked => f.write_str("a move was asked for"),
            Self::NobodyTookOver => f.write_str("no other node took it over"),
            Self::Wedged => f.write_str("the data plane does not turn"),
            Self::Class(class) => write!(f, "this node is {class}"),
            Self::HandedOver(source) => write!(f, "{source} has taken over"),
            Self::GaveWay => f.write_str("it gave way to another owner"),
            Self::Refused => f.write_str("the kernel refused to add the address"),
            Self::Ended => f.write_str("the process ends"),
        }
    }
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is in another state.
    State(StateName, Why),
    /// Another owner is heard than before, or none.
    Peer(Option<Peer>),
    /// A lesser owner was heard while we are one.
    Lesser {
        /// Which.
        source: IpAddr,
        /// Its class.
        class: Class,
    },
    /// Somebody else uses the address while we do.
    Rival {
        /// With this link-layer address.
        mac: [u8; 6],
        /// We give way.
        yields: bool,
    },
    /// Somebody answers for the address: it is not claimed.
    Taken([u8; 6]),
    /// Somebody took the address from the interface; it was added again.
    AddedAgain,
    /// A move was asked for, and this node has nothing to hand over.
    NotMoved,
    /// The address was offered, and nobody took it.
    NobodyTookOver,
}

/// A link-layer address as people write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let octets = self.0.map(|octet| format!("{octet:02x}"));
        f.write_str(&octets.join(":"))
    }
}
