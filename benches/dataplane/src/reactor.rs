//! epoll, level-triggered, with the index of a connection as its index.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};

use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::{count, length};

pub(crate) use rustix::event::epoll::EventFlags;

/// One epoll descriptor and room for what it says.
pub(crate) struct Reactor {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Reactor {
    /// Makes one without sockets.
    pub(crate) fn new() -> Result<Self, Failed> {
        let epoll = epoll::create(CreateFlags::CLOEXEC).doing(|| "make an epoll descriptor")?;
        Ok(Self { epoll, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a socket.
    pub(crate) fn add(
        &self,
        socket: impl AsFd,
        index: usize,
        interest: EventFlags,
    ) -> Result<(), Failed> {
        epoll::add(&self.epoll, socket, EventData::new_u64(count(index)), interest)
            .doing(|| "watch a socket")
    }

    /// Watches a socket for something else, if it is something else.
    pub(crate) fn change(
        &self,
        socket: impl AsFd,
        index: usize,
        interest: &mut EventFlags,
        wanted: EventFlags,
    ) -> Result<(), Failed> {
        if *interest == wanted {
            return Ok(());
        }
        *interest = wanted;
        epoll::modify(&self.epoll, socket, EventData::new_u64(count(index)), wanted)
            .doing(|| "watch a socket for something else")
    }

    /// Waits, at most so long, and gives what happened to `each`.
    pub(crate) fn wait(
        &mut self,
        longest: Duration,
        mut each: impl FnMut(&Self, usize, EventFlags) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        let timeout = Timespec::try_from(longest).ok();
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, room, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).doing(|| "wait for events"),
        }
        let told = events.iter().try_for_each(|event| {
            let (data, flags) = (event.data, event.flags);
            each(self, length(data.u64()), flags)
        });
        self.events = events;
        told
    }
}

const EVENTS: usize = 512;
