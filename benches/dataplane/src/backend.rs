//! The backend of a bench: one thread, one epoll, and no more work than it takes.
//!
//! ```text
//! Hello --echo--> Echo { got }        until the client closes
//!       --down--> Down { left }       sends, then closes
//!       --up----> Up { count }        at the client's end answers the count, then closes
//! ```
//!
//! A connection whose first byte is that of a TLS record is TLS, so one port serves both.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::net::{
    AddressFamily, SocketFlags, SocketType, accept_with, bind, ipproto, listen, socket_with,
    sockopt,
};

use crate::header::Header;
use crate::reactor::{EventFlags, Reactor};
use crate::wire::{Identity, Supply, Wire, would_block};
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::{count, length};

/// A listener and its connections.
pub(crate) struct Backend {
    listener: TcpListener,
    reactor: Reactor,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    tools: Tools,
}

/// What all connections share.
struct Tools {
    identity: Identity,
    supply: Supply,
    scratch: Vec<u8>,
    zeros: Vec<u8>,
}

impl Backend {
    /// Listens; port 0 is any free one.
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, Failed> {
        let listener = listener(address).doing(|| format!("listen on {address}"))?;
        let reactor = Reactor::new()?;
        reactor.add(&listener, LISTENER, EventFlags::IN)?;
        let tools = Tools {
            identity: Identity::new().doing(|| "make a certificate")?,
            supply: Supply::new().doing(|| "make a memfd")?,
            scratch: vec![0; SCRATCH],
            zeros: vec![0; SCRATCH],
        };
        Ok(Self { listener, reactor, clients: Vec::new(), free: Vec::new(), tools })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Result<SocketAddr, Failed> {
        self.listener.local_addr().doing(|| "ask where the backend listens")
    }

    /// The certificate that it shows.
    pub(crate) fn certificate(&self) -> &[u8] {
        self.tools.identity.certificate()
    }

    /// Serves until the process ends.
    pub(crate) fn run(mut self) -> Result<(), Failed> {
        loop {
            let Self { listener, reactor, clients, free, tools } = &mut self;
            reactor.wait(Duration::from_secs(60), |reactor, index, _flags| {
                if index == LISTENER {
                    return accept(listener, reactor, clients, free);
                }
                let Some(place) = clients.get_mut(index) else { return Ok(()) };
                let Some(client) = place else { return Ok(()) };
                if client.go_on(tools).is_ok_and(|goes_on| goes_on) {
                    let wanted = client.wanted();
                    return reactor.change(&client.wire, index, &mut client.interest, wanted);
                }
                // What the client did to its connection is no failure of ours.
                *place = None;
                free.push(index);
                Ok(())
            })?;
        }
    }
}

/// Takes what waits, but lets others have their turn.
fn accept(
    listener: &TcpListener,
    reactor: &Reactor,
    clients: &mut Vec<Option<Client>>,
    free: &mut Vec<usize>,
) -> Result<(), Failed> {
    for _ in 0..ACCEPTS {
        let socket = match accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(rustix::io::Errno::AGAIN) => return Ok(()),
            Err(rustix::io::Errno::CONNABORTED | rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).doing(|| "accept"),
        };
        let index = free.pop().unwrap_or(clients.len());
        reactor.add(&socket, index, EventFlags::IN)?;
        let client = Some(Client::new(socket));
        match clients.get_mut(index) {
            Some(place) => *place = client,
            None => clients.push(client),
        }
    }
    Ok(())
}

struct Client {
    wire: Wire,
    interest: EventFlags,
    state: State,
}

enum State {
    Hello { bytes: [u8; Header::LENGTH], got: usize },
    Echo(Echo),
    Down { supply: Supply, left: u64 },
    Up { count: u64 },
    Counted { bytes: [u8; 8], sent: usize },
}

impl Client {
    fn new(socket: OwnedFd) -> Self {
        let state = State::Hello { bytes: [0; Header::LENGTH], got: 0 };
        Self { wire: Wire::accepted(socket), interest: EventFlags::IN, state }
    }

    fn wanted(&self) -> EventFlags {
        let sends = match &self.state {
            State::Hello { .. } | State::Up { .. } => self.wire.is_blocked(),
            State::Echo(echo) => echo.unsent > 0 || self.wire.is_blocked(),
            // Nothing more is read, and hang-ups are told anyway.
            State::Down { .. } | State::Counted { .. } => return EventFlags::OUT,
        };
        if sends { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
    }

    /// Does what can be done now. False: the connection is over.
    fn go_on(&mut self, tools: &mut Tools) -> io::Result<bool> {
        self.wire.flush()?;
        loop {
            match self.step(tools) {
                Ok(Step::Again) => {}
                Ok(Step::Later) => return Ok(true),
                Ok(Step::Over) => return Ok(false),
                Err(error) if would_block(&error) => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn step(&mut self, tools: &mut Tools) -> io::Result<Step> {
        let Self { wire, state, .. } = self;
        match state {
            State::Hello { bytes, got } => {
                let received = wire.receive(&mut tools.scratch)?;
                let all = tools.scratch.get(..received).unwrap_or_default();
                if all.is_empty() {
                    return Ok(Step::Over);
                }
                if *got == 0 && all.first() == Some(&TLS_HANDSHAKE) && !wire.is_secure() {
                    wire.secure(&tools.identity, all)?;
                    return Ok(Step::Again);
                }
                let room = bytes.iter_mut().skip(*got);
                let used = room.zip(all).map(|(to, from)| *to = *from).count();
                *got += used;
                if *got < Header::LENGTH {
                    return Ok(after_receive(wire));
                }
                // What follows the header often comes with it.
                self.state = Self::begin(bytes, &tools.supply, received - used)?;
                Ok(Step::Again)
            }
            State::Echo(echo) => echo.step(wire, tools),
            State::Down { supply, left } => {
                if *left == 0 {
                    wire.finish()?;
                    return Ok(Step::Over);
                }
                *left -= count(wire.fill(supply, *left)?);
                Ok(if *left == 0 { Step::Again } else { Step::Later })
            }
            State::Up { count: all } => {
                let received = wire.discard(&mut tools.scratch)?;
                *all += count(received);
                if received == 0 {
                    self.state = State::Counted { bytes: all.to_le_bytes(), sent: 0 };
                    return Ok(Step::Again);
                }
                Ok(after_receive(wire))
            }
            State::Counted { bytes, sent } => {
                *sent += wire.send(bytes.get(*sent..).unwrap_or_default())?;
                if *sent < bytes.len() || wire.is_blocked() {
                    return Ok(Step::Later);
                }
                wire.finish()?;
                Ok(Step::Over)
            }
        }
    }

    /// What a header begins, of which `more` bytes have come already.
    fn begin(bytes: &[u8; Header::LENGTH], supply: &Supply, more: usize) -> io::Result<State> {
        match Header::decode(bytes) {
            Some(Header::Echo { request, answer }) => {
                let mut echo = Echo { request, answer, got: 0, unsent: 0 };
                echo.take(more);
                Ok(State::Echo(echo))
            }
            Some(Header::Down { total, from_memory }) => {
                Ok(State::Down { supply: supply.another(from_memory), left: total })
            }
            Some(Header::Up) => Ok(State::Up { count: count(more) }),
            None => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

struct Echo {
    request: u64,
    answer: u64,
    got: u64,
    unsent: u64,
}

impl Echo {
    fn take(&mut self, received: usize) {
        self.got += count(received);
        self.unsent += self.got / self.request * self.answer;
        self.got %= self.request;
    }

    fn step(&mut self, wire: &mut Wire, tools: &mut Tools) -> io::Result<Step> {
        if self.unsent == 0 {
            let received = wire.receive(&mut tools.scratch)?;
            if received == 0 {
                return Ok(Step::Over);
            }
            self.take(received);
        }
        while self.unsent > 0 {
            let piece = tools.zeros.get(..length(self.unsent)).unwrap_or(&tools.zeros);
            self.unsent -= count(wire.send(piece)?);
        }
        Ok(after_receive(wire))
    }
}

/// A bare socket that gave less than was asked for has no more for now; if it has, epoll says so
/// again. Of what TLS holds epoll knows nothing.
fn after_receive(wire: &Wire) -> Step {
    if wire.is_secure() { Step::Again } else { Step::Later }
}

/// What follows a step.
enum Step {
    Again,
    Later,
    Over,
}

/// std would take a backlog of 128.
fn listener(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(socket.as_fd(), &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

const LISTENER: usize = usize::MAX;
const BACKLOG: i32 = 65_535;
const ACCEPTS: usize = 64;
const SCRATCH: usize = 1 << 20;
const TLS_HANDSHAKE: u8 = 0x16;
