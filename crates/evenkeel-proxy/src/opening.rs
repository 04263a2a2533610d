//! Opens the backend side of a connection up to the point from which only that backend will do:
//! its first byte, or a first byte of the client that must not be said twice.
//!
//! ```text
//!   pick ──> racing ──> waiting for its first byte ──┬─> settled
//!     ^       │  │ failed          │ lost            │
//!     └───────┴──┴─────────────────┴── the same bytes to the next backend
//!      slow: the next one too
//! ```
//!
//! Whoever does not accept within `connect.attemptDelay` is not given up, but the next one is asked
//! as well, and the first that accepts has it (RFC 8305). A connect alone proves little: the kernel
//! of a frozen process accepts for it. So a backend that fails before its first byte costs the
//! client a moment, and no connection.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use evenkeel_core::backend::{Backend, Slot};
use evenkeel_core::endpoint::Endpoint;
use rustix::net::sockopt::socket_error;
use tokio::time::Instant;

use crate::account::{Book, EntryNumber, PageNumber};
use crate::balancer::Balancer;
use crate::connect::{self, AttemptError, ConnectError};
use crate::first_flight::{FirstFlight, Replay};
use crate::relay::drive::{Mover, Stock, Wire, send_to};
use crate::relay::{Got, Readiness, Relay, Want, Way};
use crate::socket::{self, ConnectStart, STAYS};

/// Silence after which the prober of the backend is asked to look, and then how often its verdict
/// is read.
const SILENCE: Duration = Duration::from_millis(150);

/// The longest such pause: a client that stops within its hello is not worth more.
const LONG_SILENCE: Duration = Duration::from_secs(2);

/// A backend that closes sooner than this, while the client owes it the rest of its hello, is going
/// down: another may be asked. One that closes later has waited for the client in vain.
const PATIENCE: Duration = Duration::from_secs(1);

/// Backends that are being connected for one client at once.
const MOST_RACERS: usize = 3;

/// A connection whose backend is not settled yet.
#[derive(Debug)]
pub(crate) struct Opening {
    flight: FirstFlight,
    /// Each backend is tried once at most.
    tried: Vec<Endpoint>,
    /// Since when the client has waited for us: its accept, the last it has said, or when a backend
    /// was lost.
    waits_since: Instant,
    last: Option<AttemptError>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Being connected, the oldest first. Whoever accepts first has it.
    Racing(Vec<Racer>),
    Waiting(Attempt),
}

/// A backend that has not accepted yet.
#[derive(Debug)]
struct Racer {
    backend: OwnedFd,
    slot: Slot,
    /// It is one of the reserve.
    reserve: bool,
    ready: Readiness,
    started: Instant,
    /// It is slow, and nobody else is left to be asked.
    alone: bool,
}

/// A backend that has accepted, and said nothing yet.
#[derive(Debug)]
struct Attempt {
    backend: OwnedFd,
    slot: Slot,
    entry: EntryNumber,
    reserve: bool,
    /// The backend's side has the options of a connection that stays.
    kept: bool,
    /// When the client last said something to it, or else it was begun.
    heard_at: Instant,
    ready: Readiness,
    started: Instant,
    /// How much of the client's first flight it has been sent.
    said: usize,
    /// When its silence is looked at, if it was said anything, and after which pause again.
    silent_at: Instant,
    silence: Duration,
    /// Its prober was asked.
    asked: bool,
}

/// How far it has come.
#[derive(Debug)]
pub(crate) enum Opened {
    /// It waits for a side, or until [`Opening::due`].
    Waits,
    /// Only this backend will do.
    Settled(Settled),
    /// There is no backend for this client.
    Failed(ConnectError),
}

/// A connection whose backend is settled.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) backend: OwnedFd,
    pub(crate) slot: Slot,
    pub(crate) entry: EntryNumber,
    pub(crate) wire: Wire,
    /// The direction that the scratch buffer belongs to.
    pub(crate) first: Way,
    /// Bytes of the client that the backend has already been sent.
    pub(crate) said: u64,
}

/// What it opens with.
pub(crate) struct With<'a> {
    pub(crate) balancer: &'a Balancer,
    pub(crate) book: &'a mut Book,
    pub(crate) page: PageNumber,
    pub(crate) mover: &'a mut Mover,
    pub(crate) now: Instant,
    /// Registers the socket of an attempt with the poller.
    pub(crate) register: &'a dyn Fn(&OwnedFd) -> rustix::io::Result<()>,
}

/// What became of a backend that was waited for.
enum Heard {
    Nothing(Attempt),
    Settled(Settled),
    /// It closed, was reset, or is held for dead or suspected.
    Lost(Slot),
    ClientGone,
    /// Nobody says anything.
    Idle,
}

/// What became of those being connected.
enum Raced {
    /// Nobody has accepted yet.
    On(Vec<Racer>),
    Won(Racer),
}

impl Attempt {
    fn is_patient(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) >= PATIENCE
    }

    /// When `relay.idleTimeout` is over for a client that says nothing.
    fn idle_at(&self, balancer: &Balancer) -> Option<Instant> {
        balancer.relay.idle_timeout.map(|idle| self.heard_at + idle.duration())
    }
}

impl Racer {
    /// When it has taken so long that another is asked as well.
    fn slow_at(&self, balancer: &Balancer) -> Instant {
        self.started + balancer.connect.attempt_delay.duration()
    }

    /// When it is given up, or the client is.
    fn until(&self, until: Instant, balancer: &Balancer) -> Instant {
        until.min(self.started + balancer.connect.attempt_timeout.duration())
    }

    /// Whether it is connected by now.
    fn is_connected(&self, until: Instant, with: &With<'_>) -> Result<bool, AttemptError> {
        let endpoint = self.slot.backend().endpoint();
        let Readiness { readable: _, writable, ending, failed } = self.ready;
        if self.slot.is_reset() {
            return Err(AttemptError::Reset { endpoint });
        }
        if ending || failed {
            // A hang-up may come before the connection does: only the error counts, and where there
            // is none, the first write decides.
            let error = match socket_error(&self.backend) {
                Ok(Ok(())) => None,
                Ok(Err(error)) | Err(error) => Some(io::Error::from(error)),
            };
            if let Some(source) = error {
                return Err(AttemptError::Io { endpoint, source });
            }
        }
        if writable {
            return Ok(true);
        }
        if with.now >= self.until(until, with.balancer) {
            let after = with.now - self.started;
            return Err(AttemptError::Timeout { endpoint, after });
        }
        Ok(false)
    }
}

impl Opening {
    pub(crate) fn new(now: Instant, replay: Replay) -> Self {
        Self {
            flight: FirstFlight::new(replay),
            tried: Vec::new(),
            waits_since: now,
            last: None,
            stage: Stage::Racing(Vec::new()),
        }
    }

    /// What the poller says of a backend. It cannot tell those apart that are being connected for
    /// one client: which of several it is, they are then asked themselves.
    pub(crate) fn backend_ready(&mut self, readiness: Readiness) {
        match &mut self.stage {
            Stage::Racing(racers) => {
                if let [racer] = racers.as_mut_slice() {
                    racer.ready.add(readiness);
                }
            }
            Stage::Waiting(attempt) => attempt.ready.add(readiness),
        }
    }

    /// The backend that has accepted and is waited for, if one does, with its socket.
    pub(crate) fn waits_for(&self) -> Option<(&Backend, BorrowedFd<'_>, Instant)> {
        match &self.stage {
            Stage::Racing(_) => None,
            Stage::Waiting(attempt) if attempt.said > 0 => {
                Some((attempt.slot.backend(), attempt.backend.as_fd(), attempt.heard_at))
            }
            Stage::Waiting(_) => None,
        }
    }

    /// When it wants to be looked at, whatever else happens.
    pub(crate) fn due(&self, balancer: &Balancer) -> Option<Instant> {
        match &self.stage {
            Stage::Racing(racers) => {
                let until = self.until(balancer);
                let given_up = racers.iter().map(|racer| racer.until(until, balancer));
                let slow = racers.last().filter(|racer| !racer.alone && racers.len() < MOST_RACERS);
                given_up.chain(slow.map(|racer| racer.slow_at(balancer))).min()
            }
            Stage::Waiting(attempt) => {
                let silent_at = (!self.flight.bytes().is_empty()).then_some(attempt.silent_at);
                let stays = (!attempt.kept).then_some(attempt.started + STAYS);
                let idle = attempt.idle_at(balancer);
                [silent_at, stays, idle].into_iter().flatten().min()
            }
        }
    }

    /// When `connect.timeout` is over for the client, if it is not connected by then.
    fn until(&self, balancer: &Balancer) -> Instant {
        self.waits_since + balancer.connect.timeout.duration()
    }

    /// Goes on as far as it can without waiting.
    pub(crate) fn advance(
        &mut self,
        client: &OwnedFd,
        client_ready: &mut Readiness,
        with: &mut With<'_>,
    ) -> Opened {
        let mut has_just_accepted = false;
        loop {
            match std::mem::replace(&mut self.stage, Stage::Racing(Vec::new())) {
                Stage::Racing(_) if client_ready.failed => {
                    return Opened::Failed(ConnectError::ClientGone);
                }
                Stage::Racing(racers) => match self.race(racers, with) {
                    Ok(Raced::On(racers)) => {
                        self.stage = Stage::Racing(racers);
                        return Opened::Waits;
                    }
                    Ok(Raced::Won(racer)) => {
                        self.stage = Stage::Waiting(self.accepted(racer, with));
                        has_just_accepted = true;
                    }
                    Err(error) => return Opened::Failed(error),
                },
                Stage::Waiting(attempt) => match self.hear(attempt, client, client_ready, with) {
                    Heard::Nothing(attempt) => {
                        if has_just_accepted && attempt.said == 0 {
                            socket::acknowledge(&attempt.backend);
                        }
                        self.stage = Stage::Waiting(attempt);
                        return Opened::Waits;
                    }
                    Heard::Settled(settled) => return Opened::Settled(settled),
                    Heard::ClientGone => return Opened::Failed(ConnectError::ClientGone),
                    Heard::Idle => {
                        let after = with.balancer.relay.idle_timeout.unwrap_or_default();
                        return Opened::Failed(ConnectError::Idle { after: after.duration() });
                    }
                    Heard::Lost(slot) => self.lost(slot.backend(), with),
                },
            }
        }
    }

    /// Lets those being connected run on, and adds one where the last is slow or none is left.
    fn race(&mut self, mut racers: Vec<Racer>, with: &With<'_>) -> Result<Raced, ConnectError> {
        if racers.len() > 1 {
            ask_each(&mut racers);
        }
        let until = self.until(with.balancer);
        let mut running = Vec::with_capacity(racers.len());
        let mut won = None;
        for racer in racers {
            if won.is_some() {
                // It may still be tried if the winner is lost.
                continue;
            }
            match racer.is_connected(until, with) {
                Ok(true) => won = Some(racer),
                Ok(false) => running.push(racer),
                Err(error) => self.attempt_failed(racer.slot.backend(), error, with),
            }
        }
        if let Some(won) = won {
            return Ok(Raced::Won(won));
        }
        if with.now >= until && running.is_empty() && self.last.is_some() {
            return Err(ConnectError::Timeout { after: with.balancer.connect.timeout.duration() });
        }
        let is_slow = |racer: &Racer| with.now >= racer.slow_at(with.balancer);
        if running.len() < MOST_RACERS && running.last().is_none_or(is_slow) {
            if let Some(slow) = running.last().filter(|racer| !racer.alone) {
                slow.slot.backend().signs().look();
            }
            if let Some(racer) = self.begin(&running, with)? {
                running.push(racer);
            } else if running.is_empty() {
                return Err(self.nobody());
            } else {
                for racer in &mut running {
                    racer.alone = true;
                }
            }
        }
        Ok(Raced::On(running))
    }

    /// Begins to connect one that is neither tried nor being connected; `None` if there is none.
    fn begin(&mut self, running: &[Racer], with: &With<'_>) -> Result<Option<Racer>, ConnectError> {
        loop {
            let mut not_these = self.tried.clone();
            not_these.extend(running.iter().map(|racer| racer.slot.backend().endpoint()));
            // Who is only slow has not failed.
            let may_reserve = !self.tried.is_empty() && running.is_empty();
            let picked = connect::pick(with.balancer, &not_these, may_reserve, with.now);
            let Some((slot, reserve)) = picked else { return Ok(None) };
            let endpoint = slot.backend().endpoint();
            let begun = socket::begin_connect(endpoint.address()).and_then(|backend| {
                (with.register)(&backend).map_err(ConnectStart::NoSocket)?;
                Ok(backend)
            });
            match begun {
                Ok(backend) => {
                    return Ok(Some(Racer {
                        backend,
                        slot,
                        reserve,
                        ready: Readiness::default(),
                        started: with.now,
                        alone: false,
                    }));
                }
                Err(ConnectStart::NoSocket(_)) if !running.is_empty() => return Ok(None),
                Err(ConnectStart::NoSocket(error)) => {
                    return Err(ConnectError::Exhausted(error.into()));
                }
                Err(ConnectStart::Refused(error)) => {
                    let error = AttemptError::Io { endpoint, source: error.into() };
                    self.attempt_failed(slot.backend(), error, with);
                }
            }
        }
    }

    /// Why there is nobody to be tried.
    fn nobody(&mut self) -> ConnectError {
        let attempts = self.tried.len();
        match self.last.take() {
            Some(last) => ConnectError::AllFailed { attempts, last },
            None if attempts > 0 => ConnectError::AllLost { attempts },
            None => ConnectError::NoneServed,
        }
    }

    fn attempt_failed(&mut self, backend: &Backend, error: AttemptError, with: &With<'_>) {
        let balancer = with.balancer;
        let endpoint = backend.endpoint();
        balancer.metrics.backend(endpoint).connect_failed(&error);
        tracing::debug!(
            service = %balancer.name,
            backend = %endpoint,
            error = &error as &dyn std::error::Error,
            "backend not connected"
        );
        if !error.is_ours() {
            backend.signs().look();
        }
        self.tried.push(endpoint);
        self.last = Some(error);
    }

    fn accepted(&mut self, racer: Racer, with: &mut With<'_>) -> Attempt {
        let Racer { backend, slot, reserve, ready, started, alone: _ } = racer;
        with.balancer.metrics.connected(with.now - started);
        self.last = None;
        let entry = with.book.entry_of(with.page, slot.backend());
        Attempt {
            backend,
            slot,
            entry,
            reserve,
            kept: false,
            heard_at: started,
            ready,
            started,
            said: 0,
            silent_at: with.now + SILENCE,
            silence: SILENCE,
            asked: false,
        }
    }

    fn lost(&mut self, backend: &Backend, with: &With<'_>) {
        let balancer = with.balancer;
        let endpoint = backend.endpoint();
        tracing::debug!(
            service = %balancer.name,
            backend = %endpoint,
            said = self.flight.bytes().len(),
            "backend lost before its first byte: the next one is asked"
        );
        balancer.metrics.backend(endpoint).lost_before_first_byte();
        backend.signs().look();
        self.tried.push(endpoint);
        // The next one has its time: each is lost at most once.
        self.waits_since = with.now;
    }

    /// Says to the backend what the client says, until the backend answers.
    fn hear(
        &mut self,
        mut attempt: Attempt,
        client: &OwnedFd,
        client_ready: &mut Readiness,
        with: &mut With<'_>,
    ) -> Heard {
        if attempt.slot.is_reset() {
            return Heard::Lost(attempt.slot);
        }
        loop {
            match self.say(&mut attempt) {
                Got::Moved(..) => with.book.asked(with.page, attempt.entry, with.now),
                Got::Failed => return Heard::Lost(attempt.slot),
                Got::Blocked | Got::End | Got::NoPipe | Got::Refused => {}
            }
            if attempt.ready.readable {
                let got = with.mover.receive(attempt.backend.as_fd());
                match got {
                    Got::Blocked => attempt.ready.readable = false,
                    // It has waited for the client long enough, and says so: that is an answer too.
                    Got::End if !self.flight.is_whole() && attempt.is_patient(with.now) => {
                        return self.settle(attempt, *client_ready, Way::ToClient, got);
                    }
                    Got::Moved(..) => {
                        with.book.heard(with.page, attempt.entry, with.now);
                        return self.settle(attempt, *client_ready, Way::ToClient, got);
                    }
                    Got::End | Got::Failed | Got::NoPipe | Got::Refused => {
                        // It says that it ends: its kernel does.
                        with.book.heard(with.page, attempt.entry, with.now);
                        return Heard::Lost(attempt.slot);
                    }
                }
            }
            if self.unsaid(&attempt) > 0 && client_ready.failed {
                return Heard::ClientGone;
            }
            if !client_ready.readable || self.unsaid(&attempt) > 0 {
                break;
            }
            let got = with.mover.receive(client.as_fd());
            match got {
                Got::Blocked => client_ready.readable = false,
                Got::Moved(length, _) if self.flight.keep(with.mover.received(length)) => {
                    attempt.heard_at = with.now;
                    attempt.silent_at = with.now + SILENCE;
                    self.waits_since = with.now;
                }
                // It has no more to say, or what must not be said twice: from here on a failure is
                // the client's to see.
                Got::Moved(..) | Got::End => {
                    return self.settle(attempt, *client_ready, Way::ToBackend, got);
                }
                Got::Failed | Got::NoPipe | Got::Refused => return Heard::ClientGone,
            }
        }
        self.judge_silence(attempt, with)
    }

    /// Says what the backend has not been told yet, as far as it takes it.
    fn say(&self, attempt: &mut Attempt) -> Got {
        let rest = self.flight.bytes().get(attempt.said..).unwrap_or_default();
        if rest.is_empty() || !attempt.ready.writable {
            return Got::Blocked;
        }
        let got = send_to(attempt.backend.as_fd(), rest);
        match got {
            Got::Moved(n, _) => attempt.said = attempt.said.saturating_add(n),
            Got::Blocked => attempt.ready.writable = false,
            Got::End | Got::Failed | Got::NoPipe | Got::Refused => return Got::Failed,
        }
        got
    }

    fn unsaid(&self, attempt: &Attempt) -> usize {
        self.flight.bytes().len().saturating_sub(attempt.said)
    }

    fn judge_silence(&self, mut attempt: Attempt, with: &With<'_>) -> Heard {
        let is_silent = !self.flight.bytes().is_empty() && with.now >= attempt.silent_at;
        if (attempt.asked || is_silent)
            && !with.balancer.would_try(attempt.slot.backend().endpoint(), attempt.reserve)
        {
            return Heard::Lost(attempt.slot);
        }
        if is_silent {
            if !attempt.asked {
                attempt.slot.backend().signs().look();
                attempt.asked = true;
            }
            // A hello that is not whole yet is owed no answer.
            if !self.flight.is_whole() {
                attempt.silence = (attempt.silence * 2).min(LONG_SILENCE);
            }
            attempt.silent_at = with.now + attempt.silence;
        }
        if !attempt.kept && with.now >= attempt.started + STAYS {
            attempt.kept = true;
            if let Err(error) = socket::keep_backend(&attempt.backend, &with.balancer.relay) {
                tracing::debug!(%error, "no keepalive");
            }
        }
        if attempt.idle_at(with.balancer).is_some_and(|at| at <= with.now) {
            return Heard::Idle;
        }
        Heard::Nothing(attempt)
    }

    /// Goes over to the relay, which `way` has just received `got`.
    fn settle(&self, attempt: Attempt, client: Readiness, way: Way, got: Got) -> Heard {
        let unsaid = self.unsaid(&attempt);
        let flight = self.flight.bytes();
        let said = flight.len().saturating_sub(unsaid);
        let mut relay = Relay::new(client, attempt.ready);
        relay.told(way, Want::Receive, got);
        let stock = Stock::keep(flight.get(said..).unwrap_or_default());
        if unsaid > 0 {
            relay.way(Way::ToBackend).owe(unsaid);
        }
        Heard::Settled(Settled {
            backend: attempt.backend,
            slot: attempt.slot,
            entry: attempt.entry,
            wire: Wire::new(relay, stock),
            first: way,
            said: u64::try_from(said).unwrap_or(u64::MAX),
        })
    }
}

/// Asks the sockets themselves how they are.
fn ask_each(racers: &mut [Racer]) {
    for racer in racers {
        if let Ok(readiness) = socket::readiness(&racer.backend) {
            racer.ready = readiness;
        }
    }
}
