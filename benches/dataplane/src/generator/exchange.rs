//! Requests and answers over one connection, one after the other.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::time::Instant;

use crate::header::Header;
use crate::reactor::{EventFlags, Reactor};
use crate::wire::{Trust, Wire, would_block};
use evenkeel_bench::failed::Failed;
use evenkeel_bench::number::{count, length};

/// What is sent: a header once, then the request each time.
pub(super) struct Message {
    bytes: Vec<u8>,
    request: usize,
    answer: u64,
}

impl Message {
    pub(super) fn new(request: u64, answer: u64) -> Rc<Self> {
        let mut bytes = Header::Echo { request, answer }.encode().to_vec();
        let request = length(request);
        bytes.resize(Header::LENGTH + request, 0);
        Rc::new(Self { bytes, request, answer })
    }
}

/// One connection.
pub(super) struct Exchange {
    wire: Wire,
    interest: EventFlags,
    message: Rc<Message>,
    unsent: usize,
    awaited: u64,
    /// When the request began that is under way.
    pub(super) began: Instant,
}

impl Exchange {
    /// Begins to connect and to send the first request, and watches the connection.
    pub(super) fn open(
        to: SocketAddr,
        trust: Option<&Trust>,
        message: &Rc<Message>,
        (reactor, index): (&Reactor, usize),
        began: Instant,
    ) -> io::Result<Self> {
        let mut new = Self {
            wire: Wire::connect(to, trust)?,
            interest: EventFlags::empty(),
            message: Rc::clone(message),
            unsent: message.bytes.len(),
            awaited: message.answer,
            began,
        };
        new.send()?;
        new.interest = new.wanted();
        reactor.add(&new.wire, index, new.interest).map_err(io::Error::other)?;
        Ok(new)
    }

    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        self.wire.set_nodelay()
    }

    /// Begins to send the next request.
    pub(super) fn next(&mut self, began: Instant) -> io::Result<()> {
        self.unsent = self.message.request;
        self.awaited = self.message.answer;
        self.began = began;
        self.send()
    }

    /// Does what an event allows. True: the answer is complete.
    pub(super) fn go_on(&mut self, flags: EventFlags, scratch: &mut [u8]) -> io::Result<bool> {
        if self.unsent > 0 || self.wire.is_blocked() {
            self.wire
                .flush()
                .or_else(|error| if would_block(&error) { Ok(()) } else { Err(error) })?;
            self.send()?;
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(false);
        }
        loop {
            let received = match self.wire.receive(scratch) {
                Err(error) if would_block(&error) => return Ok(false),
                received => received?,
            };
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let left = self.awaited.checked_sub(count(received));
            self.awaited = left.ok_or(io::ErrorKind::InvalidData)?;
            if self.awaited == 0 || !self.wire.is_secure() {
                return Ok(self.awaited == 0);
            }
        }
    }

    /// Watches the connection for what it now needs.
    pub(super) fn watch(&mut self, reactor: &Reactor, index: usize) -> Result<(), Failed> {
        let wanted = self.wanted();
        reactor.change(&self.wire, index, &mut self.interest, wanted)
    }

    fn wanted(&self) -> EventFlags {
        if self.unsent > 0 || self.wire.is_blocked() {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while self.unsent > 0 {
            let from = self.message.bytes.len() - self.unsent;
            match self.wire.send(self.message.bytes.get(from..).unwrap_or_default()) {
                Ok(sent) => self.unsent -= sent,
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
