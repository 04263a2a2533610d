//! Which sockets are ready: epoll(7), and the tokens that tell them apart.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::relay::{Readiness, Side};

/// Events that one wait brings at most: the rest come with the next.
const EVENTS: usize = 512;

/// Whose event it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// Another thread has put something into the inbox.
    Inbox,
    /// A listener of this thread.
    Listener(u32),
    /// One side of a connection.
    Leg(ConnectionId, Side),
}

/// A connection of a thread: its place, which is used again, and its serial, which is not (it comes
/// round after 2^30 connections).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId {
    pub(super) place: u32,
    pub(super) serial: u32,
}

/// Serials have so many bits.
const SERIAL_BITS: u32 = 30;

impl ConnectionId {
    pub(super) fn new(place: u32, serial: u32) -> Self {
        Self { place, serial: serial & ((1 << SERIAL_BITS) - 1) }
    }
}

impl Token {
    fn data(self) -> EventData {
        let bits = |kind: u64, serial: u32, place: u32| {
            kind << 62 | u64::from(serial) << 32 | u64::from(place)
        };
        EventData::new_u64(match self {
            Self::Inbox => bits(0, 0, 0),
            Self::Listener(place) => bits(1, 0, place),
            Self::Leg(id, Side::Client) => bits(2, id.serial, id.place),
            Self::Leg(id, Side::Backend) => bits(3, id.serial, id.place),
        })
    }

    fn of(data: EventData) -> Self {
        let bits = data.u64();
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is the place")]
        let place = bits as u32;
        let serial = u32::try_from((bits >> 32) & ((1 << SERIAL_BITS) - 1)).unwrap_or(0);
        let id = ConnectionId { place, serial };
        match bits >> 62 {
            0 => Self::Inbox,
            1 => Self::Listener(place),
            2 => Self::Leg(id, Side::Client),
            _ => Self::Leg(id, Side::Backend),
        }
    }
}

/// The sockets of one thread.
#[derive(Debug)]
pub(super) struct Poller {
    epoll: OwnedFd,
}

/// Room for the events of one wait. Made on the thread itself, which it cannot leave.
pub(super) fn events() -> Vec<Event> {
    Vec::with_capacity(EVENTS)
}

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Tells of this socket whenever it becomes ready, not as long as it is.
    pub(super) fn add_leg(
        &self,
        socket: impl AsFd,
        id: ConnectionId,
        side: Side,
    ) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, Token::Leg(id, side).data(), LEG)
    }

    /// Tells once more of a socket that is ready already.
    pub(super) fn tell_again(
        &self,
        socket: impl AsFd,
        id: ConnectionId,
        side: Side,
    ) -> Result<(), Errno> {
        epoll::modify(&self.epoll, socket, Token::Leg(id, side).data(), LEG)
    }

    /// Tells of the bell of the inbox each time it is rung, so that it need not be read.
    pub(super) fn add_bell(&self, bell: impl AsFd) -> Result<(), Errno> {
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&self.epoll, bell, Token::Inbox.data(), flags)
    }

    /// Tells of a listener as long as it is ready.
    pub(super) fn add(&self, socket: impl AsFd, token: Token) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, token.data(), EventFlags::IN)
    }

    /// Tells nothing of a listener for now, or again.
    pub(super) fn pause(&self, socket: impl AsFd, token: Token, pause: bool) -> Result<(), Errno> {
        let flags = if pause { EventFlags::empty() } else { EventFlags::IN };
        epoll::modify(&self.epoll, socket, token.data(), flags)
    }

    /// Waits for events, for `timeout` at most, and gives each to `tell`.
    pub(super) fn wait(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
        mut tell: impl FnMut(Token, Readiness),
    ) -> Result<(), Errno> {
        // Up to the next millisecond, which is what the kernel counts in: waking before something
        // is due would be waking twice.
        let timeout = timeout.map(|timeout| {
            let millis = timeout.as_nanos().div_ceil(1_000_000);
            let millis = i64::try_from(millis).unwrap_or(i64::MAX);
            Timespec { tv_sec: millis / 1000, tv_nsec: millis % 1000 * 1_000_000 }
        });
        events.clear();
        let waited =
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), timeout.as_ref());
        match waited {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in &*events {
            let flags = event.flags;
            let closed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            let readiness = Readiness {
                readable: flags.contains(EventFlags::IN) || closed,
                writable: flags.contains(EventFlags::OUT),
                // At an urgent mark a read stops short, too, with more behind it.
                ending: flags.intersects(EventFlags::RDHUP | EventFlags::PRI) || closed,
                failed: flags.contains(EventFlags::ERR),
            };
            tell(Token::of(event.data), readiness);
        }
        Ok(())
    }
}

const LEG: EventFlags = EventFlags::IN
    .union(EventFlags::PRI)
    .union(EventFlags::OUT)
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        let id = ConnectionId::new(u32::MAX, u32::MAX);
        let tokens = [
            Token::Inbox,
            Token::Listener(7),
            Token::Listener(u32::MAX),
            Token::Leg(id, Side::Client),
            Token::Leg(id, Side::Backend),
            Token::Leg(ConnectionId::new(3, 9), Side::Backend),
        ];
        for token in tokens {
            assert_eq!(Token::of(token.data()), token);
        }
    }
}
