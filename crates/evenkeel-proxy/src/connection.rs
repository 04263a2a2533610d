//! One connection, from accept to account.
//!
//! ```text
//! opening ──> relaying ──> flushing ──> over
//!    │            └─ both sides have said all, or the client is gone ─> over
//!    └─ no backend for it: reset ─> over
//! ```
//!
//! Where the address moves that the client had come to, it is over at once, from wherever it is.
//!
//! It is driven by its thread: told what its sockets are ready for, and run until it would have to
//! wait.

use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use evenkeel_core::backend::{Backend, Slot};
use tokio::time::Instant;

use crate::account::{Book, Ended, EntryNumber, PageNumber, Record};
use crate::admission::Permit;
use crate::balancer::Balancer;
use crate::connect::ConnectError;
use crate::first_flight::Replay;
use crate::metrics::Rejected;
use crate::opening::{Opened, Opening, Settled, With};
use crate::relay::drive::{Driven, Mover, Owed, Wire};
use crate::relay::{Got, Readiness, Side, Verdict, Way};
use crate::socket::{self, STAYS};

/// Longest wait for a client to take what it is owed before we reset it.
const FLUSH: Duration = Duration::from_secs(1);

/// Pieces that a client says in vain before others have their turn.
const LINGER_READS: usize = 4;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    client: OwnedFd,
    address: SocketAddr,
    pub(crate) page: PageNumber,
    started: Instant,
    phase: Phase,
    _permit: Permit,
}

#[derive(Debug)]
enum Phase {
    // In a box of its own, which is gone once the backend speaks: most connections live for hours
    // after it.
    Opening(Box<Opening>, Readiness),
    Relaying(Relaying),
    Flushing(Box<Flushing>),
    Over,
}

#[derive(Debug)]
struct Relaying {
    backend: OwnedFd,
    slot: Slot,
    entry: EntryNumber,
    /// The backend's side has the options of a connection that stays.
    kept: bool,
    wire: Wire,
    said: u64,
    /// When a byte last moved.
    moved_at: Instant,
    /// It is ended so that its client comes back elsewhere.
    shed: bool,
}

/// The backend's side is gone, and the client is still given what it is owed before it is reset.
#[derive(Debug)]
struct Flushing {
    owed: Owed,
    until: Instant,
    /// All of it is with the kernel, which says when it was sent.
    sending: bool,
    /// It has its FIN: the kernel calls it writable whatever is unsent, so that only its own end
    /// tells that it has all.
    has_fin: bool,
    slot: Slot,
    entry: EntryNumber,
    to_backend: u64,
    ended: Ended,
}

/// What a thread lends to a connection while it runs.
pub(crate) struct Tools<'a> {
    pub(crate) balancer: &'a Balancer,
    pub(crate) book: &'a mut Book,
    pub(crate) mover: &'a mut Mover,
    pub(crate) now: Instant,
    pub(crate) aborting: bool,
    /// Registers the backend's side with the poller.
    pub(crate) register: &'a dyn Fn(&OwnedFd) -> rustix::io::Result<()>,
    /// Has the poller tell of the client's side again.
    pub(crate) tell_again: &'a dyn Fn(&OwnedFd) -> rustix::io::Result<()>,
}

/// What a change of the pool is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swept {
    /// Nothing.
    Stays,
    /// It is to be run.
    RunNow,
    /// It is to be reset, when it is its turn.
    ResetInTurn,
}

/// What came of running a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It waits for a side, or until then.
    Waits(Option<Instant>),
    /// It goes on once others have had their turn.
    Yields,
    /// It is over, and accounted for.
    Over,
}

impl Connection {
    /// A client that has just been accepted.
    pub(crate) fn new(
        client: OwnedFd,
        address: SocketAddr,
        page: PageNumber,
        permit: Permit,
        replay: Replay,
        now: Instant,
    ) -> Self {
        let phase = Phase::Opening(Box::new(Opening::new(now, replay)), Readiness::default());
        Self { client, address, page, started: now, phase, _permit: permit }
    }

    /// Its client's side.
    pub(crate) fn client(&self) -> &OwnedFd {
        &self.client
    }

    /// What the poller says of a side.
    pub(crate) fn ready(&mut self, side: Side, readiness: Readiness) {
        match &mut self.phase {
            Phase::Opening(opening, client_ready) => match side {
                Side::Client => client_ready.add(readiness),
                Side::Backend => opening.backend_ready(readiness),
            },
            Phase::Relaying(relaying) => relaying.wire.relay.ready(side, readiness),
            Phase::Flushing(flushing) => {
                if readiness.writable || readiness.failed {
                    flushing.owed.writable();
                }
            }
            Phase::Over => {}
        }
    }

    /// What a change of its service's pool is to it.
    pub(crate) fn swept(&mut self, idle: Duration, now: Instant) -> Swept {
        match &mut self.phase {
            // Its backend may be one to be left by now, which costs the client nothing.
            Phase::Opening(..) => Swept::RunNow,
            Phase::Relaying(relaying) if relaying.slot.is_reset() => Swept::ResetInTurn,
            Phase::Relaying(relaying) if relaying.may_be_shed(idle, now) => {
                relaying.shed = true;
                Swept::RunNow
            }
            Phase::Relaying(_) | Phase::Flushing(_) | Phase::Over => Swept::Stays,
        }
    }

    /// The backend that it has sent something since the given moment, with the socket.
    pub(crate) fn has_asked(&self, since: Instant) -> Option<(&Backend, BorrowedFd<'_>)> {
        match &self.phase {
            Phase::Opening(opening, _) => {
                let (backend, socket, asked_at) = opening.waits_for()?;
                (asked_at >= since).then_some((backend, socket))
            }
            Phase::Relaying(relaying) if relaying.moved_at >= since => {
                Some((relaying.slot.backend(), relaying.backend.as_fd()))
            }
            Phase::Relaying(_) | Phase::Flushing(_) | Phase::Over => None,
        }
    }

    /// Goes on as far as it can without waiting.
    pub(crate) fn run(&mut self, tools: &mut Tools<'_>) -> Ran {
        let mut first = Way::ToBackend;
        loop {
            let next = match &mut self.phase {
                Phase::Opening(..) if tools.aborting => {
                    self.reject(&ConnectError::Aborted, tools.balancer);
                    self.phase = Phase::Over;
                    continue;
                }
                Phase::Opening(opening, ready) => {
                    let mut with = With {
                        balancer: tools.balancer,
                        book: &mut *tools.book,
                        page: self.page,
                        mover: &mut *tools.mover,
                        now: tools.now,
                        register: tools.register,
                    };
                    match opening.advance(&self.client, ready, &mut with) {
                        Opened::Waits => return Ran::Waits(opening.due(tools.balancer)),
                        Opened::Settled(settled) => {
                            first = settled.first;
                            self.phase = Phase::Relaying(self.settle(settled, tools));
                        }
                        Opened::Failed(error) => {
                            self.reject(&error, tools.balancer);
                            self.phase = Phase::Over;
                        }
                    }
                    continue;
                }
                Phase::Relaying(relaying) => {
                    relaying.run(self.client.as_fd(), self.page, self.started, first, tools)
                }
                Phase::Flushing(flushing) => flushing.run(&self.client, self.page, tools),
                Phase::Over => return Ran::Over,
            };
            match next {
                Next::Ran(ran) => return ran,
                Next::End(ended) => self.end(ended, tools),
                Next::Over(ended) => self.over(ended, tools),
            }
        }
    }

    /// Ends it now, whatever it does: the address that its client had come to leaves this host.
    ///
    /// Nothing is flushed. What the kernel could send it has sent, and the rest waits for the client
    /// to take more: by the time that it does, the kernel may be unable to send from that address,
    /// and the reset would be lost too. It is the reset by which a client learns, after
    /// milliseconds and not after minutes of silence, that it is to come back.
    pub(crate) fn leave(&mut self, tools: &mut Tools<'_>) -> Ran {
        match &self.phase {
            Phase::Opening(..) => {
                self.reject(&ConnectError::Moved, tools.balancer);
                self.phase = Phase::Over;
            }
            Phase::Relaying(_) => self.over(Ended::Moved, tools),
            // What ended it remains what ended it.
            Phase::Flushing(flushing) => self.over(flushing.ended, tools),
            Phase::Over => {}
        }
        Ran::Over
    }

    fn settle(&self, settled: Settled, tools: &mut Tools<'_>) -> Relaying {
        let Settled { backend, slot, entry, wire, first: _, said } = settled;
        tools.book.settled(self.page, entry, said);
        Relaying { backend, slot, entry, kept: false, wire, said, moved_at: tools.now, shed: false }
    }

    /// Ends it by our own doing: the backend at once, the client once it has what it is owed.
    fn end(&mut self, ended: Ended, tools: &mut Tools<'_>) {
        let Phase::Relaying(relaying) = std::mem::replace(&mut self.phase, Phase::Over) else {
            return;
        };
        let Relaying { backend, slot, entry, wire, said, .. } = relaying;
        socket::reset(backend);
        let to_backend = wire.relay.to_backend.moved().saturating_add(said);
        let has_fin = wire.relay.to_client.is_ended();
        self.phase = Phase::Flushing(Box::new(Flushing {
            owed: wire.owed(),
            until: tools.now + FLUSH,
            sending: false,
            has_fin,
            slot,
            entry,
            to_backend,
            ended,
        }));
    }

    /// It is over: both sides have said all, or there is nobody to say anything to.
    fn over(&mut self, ended: Ended, tools: &mut Tools<'_>) {
        match std::mem::replace(&mut self.phase, Phase::Over) {
            Phase::Relaying(relaying) => {
                let Relaying { backend, slot, entry, wire, said, .. } = relaying;
                let to_backend = wire.relay.to_backend.moved().saturating_add(said);
                let to_client = wire.relay.to_client.moved();
                if ended != Ended::Finished {
                    // So that the backend sees that it was cut off.
                    socket::reset(backend);
                    socket::close_with_reset(&self.client);
                }
                self.account(&slot, entry, (to_backend, to_client), ended, tools);
            }
            Phase::Flushing(flushing) => {
                let Flushing { owed, slot, entry, to_backend, .. } = *flushing;
                let to_client = owed.moved();
                socket::close_with_reset(&self.client);
                self.account(&slot, entry, (to_backend, to_client), ended, tools);
            }
            Phase::Opening(..) | Phase::Over => {}
        }
    }

    fn account(
        &self,
        slot: &Slot,
        entry: EntryNumber,
        (to_backend, to_client): (u64, u64),
        ended: Ended,
        tools: &mut Tools<'_>,
    ) {
        let record = Record {
            client: self.address,
            backend: slot.backend().endpoint(),
            duration: tools.now - self.started,
            to_backend,
            to_client,
            ended,
        };
        tools.book.ended(self.page, entry, &record);
    }

    fn reject(&self, error: &ConnectError, balancer: &Balancer) {
        let reason = match error {
            ConnectError::NoneServed => Rejected::NoBackend,
            ConnectError::AllFailed { .. } | ConnectError::AllLost { .. } => Rejected::AllFailed,
            ConnectError::Idle { .. } => Rejected::Idle,
            ConnectError::Timeout { .. } => Rejected::Timeout,
            ConnectError::Exhausted(_) => Rejected::NoDescriptors,
            ConnectError::ClientGone => Rejected::ClientGone,
            ConnectError::Moved => Rejected::Moved,
            ConnectError::Aborted => Rejected::Aborted,
        };
        balancer.metrics.rejected(reason);
        tracing::debug!(
            service = %balancer.name,
            client = %self.address,
            error = error as &dyn std::error::Error,
            "client reset: no backend"
        );
        socket::close_with_reset(&self.client);
    }
}

/// What becomes of a connection next.
enum Next {
    Ran(Ran),
    /// We end it: the client is given what it is owed first.
    End(Ended),
    /// It is over.
    Over(Ended),
}

impl Relaying {
    /// Whether its backend is to have fewer connections, and this one is not in use.
    fn may_be_shed(&self, idle: Duration, now: Instant) -> bool {
        let is_idle = now.saturating_duration_since(self.moved_at) >= idle;
        !self.shed
            && is_idle
            && !self.wire.relay.is_half_closed()
            && self.slot.backend().take_shed()
    }

    /// Moves what can be moved.
    fn run(
        &mut self,
        client: BorrowedFd<'_>,
        page: PageNumber,
        started: Instant,
        first: Way,
        tools: &mut Tools<'_>,
    ) -> Next {
        let relay = &self.wire.relay;
        let before = (relay.to_backend.moved(), relay.to_client.moved());
        let come = relay.to_client.come();
        let was_half_closed = relay.is_half_closed();
        let driven = self.wire.drive(client, self.backend.as_fd(), tools.mover, first);
        let relay = &self.wire.relay;
        let to_backend = relay.to_backend.moved() - before.0;
        let to_client = relay.to_client.moved() - before.1;
        if !was_half_closed && relay.is_half_closed() {
            // Its time begins with the FIN, however long it was quiet before.
            self.moved_at = tools.now;
        }
        if to_backend + to_client > 0 {
            self.moved_at = tools.now;
            // It is in use.
            self.shed = false;
            tools.book.moved(page, self.entry, to_backend, to_client);
        }
        // What a slow client takes of what came long ago is no sign of the backend's life; its end
        // is one.
        let ends = Driven::Ended(Verdict::Finished) == driven
            || Driven::Ended(Verdict::BackendReset) == driven;
        if relay.to_client.come() > come || ends {
            tools.book.heard(page, self.entry, tools.now);
        }
        if to_backend > 0 {
            tools.book.asked(page, self.entry, tools.now);
        }
        match driven {
            // While the client is still sending, even an orderly close would throw away what it
            // has not been sent yet.
            Driven::Ended(Verdict::Finished) if relay.to_backend.is_deaf() => {
                Next::End(Ended::Finished)
            }
            Driven::Ended(Verdict::Finished) => Next::Over(Ended::Finished),
            Driven::Ended(Verdict::ClientReset) => Next::Over(Ended::ClientReset),
            Driven::Ended(Verdict::BackendReset) => Next::End(Ended::BackendReset),
            Driven::Waits | Driven::Yields if self.slot.is_reset() => Next::End(Ended::Reset),
            Driven::Waits | Driven::Yields if tools.aborting => Next::End(Ended::Aborted),
            Driven::Waits | Driven::Yields if self.shed => Next::End(Ended::Rebalanced),
            Driven::Yields => Next::Ran(Ran::Yields),
            Driven::Waits => self.wait(started, tools),
        }
    }

    /// Sees to what depends on time.
    fn wait(&mut self, started: Instant, tools: &Tools<'_>) -> Next {
        let config = &tools.balancer.relay;
        let mut due: Option<Instant> = None;
        let half_closed = self.wire.relay.is_half_closed().then_some(config.half_closed_timeout);
        for quiet in [config.idle_timeout, half_closed].into_iter().flatten() {
            let until = self.moved_at + quiet.duration();
            if until <= tools.now {
                return Next::End(Ended::Idle);
            }
            due = Some(due.map_or(until, |due| due.min(until)));
        }
        if !self.kept {
            let stays = started + STAYS;
            if stays <= tools.now {
                self.kept = true;
                if let Err(error) = socket::keep_backend(&self.backend, config) {
                    tracing::debug!(%error, "no keepalive");
                }
            } else {
                due = Some(due.map_or(stays, |due| due.min(stays)));
            }
        }
        Next::Ran(Ran::Waits(due))
    }
}

impl Flushing {
    /// Gives the client what it is owed.
    fn run(&mut self, client: &OwnedFd, page: PageNumber, tools: &mut Tools<'_>) -> Next {
        if self.has_fin {
            return self.linger(client, tools);
        }
        let sent = if self.sending {
            // It is writable only once everything is sent.
            self.owed.takes_more()
        } else {
            let before = self.owed.moved();
            let given = self.owed.give(client.as_fd(), tools.mover);
            let moved = self.owed.moved() - before;
            tools.book.moved(page, self.entry, 0, moved);
            self.sending = given;
            if given {
                self.owed.full();
            }
            given
                && (socket::writable_when_all_is_sent(client).is_err()
                    || (tools.tell_again)(client).is_err())
        };
        if sent || tools.now >= self.until {
            Next::Over(self.ended)
        } else {
            Next::Ran(Ran::Waits(Some(self.until)))
        }
    }

    /// Hears out a client that has been told the end, and throws away what it says: closed with
    /// anything unread, our side would reset it, and take back what it has not got yet.
    fn linger(&mut self, client: &OwnedFd, tools: &mut Tools<'_>) -> Next {
        for _ in 0..LINGER_READS {
            match tools.mover.receive(client.as_fd()) {
                Got::Moved(..) => {}
                Got::Blocked if tools.now < self.until => {
                    return Next::Ran(Ran::Waits(Some(self.until)));
                }
                Got::Blocked | Got::End | Got::Failed | Got::NoPipe | Got::Refused => {
                    return Next::Over(self.ended);
                }
            }
        }
        if tools.now < self.until { Next::Ran(Ran::Yields) } else { Next::Over(self.ended) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_costs_little_while_it_is_idle() {
        let size = size_of::<Connection>();
        assert!(size <= 400, "a connection has {size} bytes");
    }
}
