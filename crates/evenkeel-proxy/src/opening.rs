//! Opens the backend side of a connection up to the point from which only that backend will do:
//! its first byte, or a first byte of the client that must not be said twice.
//!
//! ```text
//!   pick ──> connecting ──> waiting for its first byte ──┬─> settled
//!     ^          │ failed            │ lost              │
//!     └──────────┴───────────────────┴── the same bytes to the next backend
//! ```
//!
//! A connect alone proves little: the kernel of a frozen process accepts for it. So a backend that
//! fails before its first byte costs the client a moment, and no connection.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use evenkeel_core::backend::Slot;
use evenkeel_core::endpoint::Endpoint;
use rustix::net::sockopt::socket_error;
use tokio::time::Instant;

use crate::balancer::Balancer;
use crate::connect::{self, AttemptError, ConnectError};
use crate::connection::STAYS;
use crate::first_flight::FirstFlight;
use crate::relay::drive::{Mover, Stock, Wire, send_to};
use crate::relay::{Got, Readiness, Relay, Want, Way};
use crate::socket::{self, ConnectStart};

/// Silence after which the prober of the backend is asked to look, and then how often its verdict
/// is read.
const SILENCE: Duration = Duration::from_millis(250);

/// The longest such pause: a client that stops within its hello is not worth more.
const LONG_SILENCE: Duration = Duration::from_secs(2);

/// A backend that closes sooner than this, while the client owes it the rest of its hello, is going
/// down: another may be asked. One that closes later has waited for the client in vain.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection whose backend is not settled yet.
#[derive(Debug)]
pub(crate) struct Opening {
    flight: FirstFlight,
    /// Each backend is tried once at most.
    tried: Vec<Endpoint>,
    /// When `connect.timeout` runs out.
    until: Instant,
    last: Option<AttemptError>,
    attempt: Option<Attempt>,
}

#[derive(Debug)]
struct Attempt {
    backend: OwnedFd,
    slot: Slot,
    /// It is one of the reserve.
    reserve: bool,
    /// The backend's side has the options of a connection that stays.
    kept: bool,
    /// When the client last said something to it, or else it was begun.
    heard_at: Instant,
    ready: Readiness,
    started: Instant,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Connecting,
    Waiting {
        /// How much of the client's first flight it has been sent.
        said: usize,
        /// When its silence is looked at, if it was said anything, and after which pause again.
        silent_at: Instant,
        silence: Duration,
        /// Its prober was asked.
        asked: bool,
    },
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
    pub(crate) wire: Wire,
    /// The direction that the scratch buffer belongs to.
    pub(crate) first: Way,
    /// Bytes of the client that the backend has already been sent.
    pub(crate) said: u64,
}

/// What it opens with.
pub(crate) struct With<'a> {
    pub(crate) balancer: &'a Balancer,
    pub(crate) mover: &'a mut Mover,
    pub(crate) now: Instant,
    /// Registers the socket of an attempt with the poller.
    pub(crate) register: &'a dyn Fn(&OwnedFd) -> rustix::io::Result<()>,
}

/// What became of a backend that was waited for.
enum Heard {
    Nothing,
    Settled(Settled),
    /// It closed, was reset, or is held for dead or suspected.
    Lost,
    ClientGone,
    /// Nobody says anything.
    Idle,
}

impl Attempt {
    fn is_patient(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) >= PATIENCE
    }
}

/// When `relay.idleTimeout` is over for a client that says nothing.
fn idle_at(attempt: &Attempt, balancer: &Balancer) -> Option<Instant> {
    balancer.relay.idle_timeout.map(|idle| attempt.heard_at + idle.duration())
}

impl Opening {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            flight: FirstFlight::new(),
            tried: Vec::new(),
            until: now,
            last: None,
            attempt: None,
        }
    }

    /// What the poller says of the backend that is tried.
    pub(crate) fn backend_ready(&mut self, readiness: Readiness) {
        if let Some(attempt) = &mut self.attempt {
            attempt.ready.add(readiness);
        }
    }

    /// Whether its backend was reset, so that it must go on to another.
    pub(crate) fn must_move(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.slot.is_reset())
    }

    /// When it wants to be looked at, whatever else happens.
    pub(crate) fn due(&self, balancer: &Balancer) -> Option<Instant> {
        let attempt = self.attempt.as_ref()?;
        match attempt.stage {
            Stage::Connecting => Some(self.attempt_until(attempt, balancer)),
            Stage::Waiting { silent_at, .. } => {
                let silent_at = (!self.flight.bytes().is_empty()).then_some(silent_at);
                let stays = (!attempt.kept).then_some(attempt.started + STAYS);
                let idle = idle_at(attempt, balancer);
                [silent_at, stays, idle].into_iter().flatten().min()
            }
        }
    }

    fn attempt_until(&self, attempt: &Attempt, balancer: &Balancer) -> Instant {
        self.until.min(attempt.started + balancer.connect.attempt_timeout.duration())
    }

    /// Goes on as far as it can without waiting.
    pub(crate) fn advance(
        &mut self,
        client: &OwnedFd,
        client_ready: &mut Readiness,
        with: &mut With<'_>,
    ) -> Opened {
        loop {
            let Some(mut attempt) = self.attempt.take() else {
                match self.begin(with) {
                    Ok(()) => continue,
                    Err(error) => return Opened::Failed(error),
                }
            };
            if client_ready.failed && matches!(attempt.stage, Stage::Connecting) {
                return Opened::Failed(ConnectError::ClientGone);
            }
            match attempt.stage {
                Stage::Connecting => match self.connected(&attempt, with) {
                    Ok(true) => {
                        with.balancer.metrics.connected(with.now - attempt.started);
                        let silent_at = with.now + SILENCE;
                        let silence = SILENCE;
                        attempt.stage =
                            Stage::Waiting { said: 0, silent_at, silence, asked: false };
                        self.last = None;
                        self.attempt = Some(attempt);
                    }
                    Ok(false) => {
                        self.attempt = Some(attempt);
                        return Opened::Waits;
                    }
                    Err(error) => {
                        let endpoint = attempt.slot.backend().endpoint();
                        if let Err(error) = self.attempt_failed(endpoint, error, with) {
                            return Opened::Failed(error);
                        }
                    }
                },
                Stage::Waiting { .. } => match self.hear(attempt, client, client_ready, with) {
                    (Heard::Nothing, attempt) => {
                        self.attempt = attempt;
                        return Opened::Waits;
                    }
                    (Heard::Settled(settled), _) => return Opened::Settled(settled),
                    (Heard::ClientGone, _) => return Opened::Failed(ConnectError::ClientGone),
                    (Heard::Idle, _) => {
                        let after = with.balancer.relay.idle_timeout.unwrap_or_default();
                        let after = after.duration();
                        return Opened::Failed(ConnectError::Idle { after });
                    }
                    (Heard::Lost, attempt) => {
                        if let Some(attempt) = attempt {
                            self.lost(attempt.slot.backend().endpoint(), with);
                        }
                    }
                },
            }
        }
    }

    /// Begins the next attempt.
    fn begin(&mut self, with: &mut With<'_>) -> Result<(), ConnectError> {
        let balancer = with.balancer;
        let limit = balancer.connect.timeout.duration();
        if self.last.is_none() {
            self.until = with.now + limit;
        } else if with.now >= self.until {
            return Err(ConnectError::Timeout { after: limit });
        }
        loop {
            let Some((slot, reserve)) = connect::pick(balancer, &self.tried) else {
                let attempts = self.tried.len();
                return Err(match self.last.take() {
                    Some(last) => ConnectError::AllFailed { attempts, last },
                    None if attempts > 0 => ConnectError::AllLost { attempts },
                    None => ConnectError::NoneServed,
                });
            };
            let endpoint = slot.backend().endpoint();
            let begun = socket::begin_connect(endpoint.address()).and_then(|backend| {
                (with.register)(&backend).map_err(ConnectStart::NoSocket)?;
                Ok(backend)
            });
            match begun {
                Ok(backend) => {
                    self.attempt = Some(Attempt {
                        backend,
                        slot,
                        reserve,
                        kept: false,
                        heard_at: with.now,
                        ready: Readiness::default(),
                        started: with.now,
                        stage: Stage::Connecting,
                    });
                    return Ok(());
                }
                Err(ConnectStart::NoSocket(error)) => {
                    return Err(ConnectError::Exhausted(error.into()));
                }
                Err(ConnectStart::Refused(error)) => {
                    let error = AttemptError::Io { endpoint, source: error.into() };
                    self.attempt_failed(endpoint, error, with)?;
                }
            }
        }
    }

    /// Whether it is connected by now.
    fn connected(&self, attempt: &Attempt, with: &With<'_>) -> Result<bool, AttemptError> {
        let endpoint = attempt.slot.backend().endpoint();
        let Readiness { readable: _, writable, ending, failed } = attempt.ready;
        if attempt.slot.is_reset() {
            return Err(AttemptError::Reset { endpoint });
        }
        if ending || failed {
            // A hang-up may come before the connection does: only the error counts, and where there
            // is none, the first write decides.
            let error = match socket_error(&attempt.backend) {
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
        if with.now >= self.attempt_until(attempt, with.balancer) {
            let after = with.now - attempt.started;
            return Err(AttemptError::Timeout { endpoint, after });
        }
        Ok(false)
    }

    fn attempt_failed(
        &mut self,
        endpoint: Endpoint,
        error: AttemptError,
        with: &With<'_>,
    ) -> Result<(), ConnectError> {
        let balancer = with.balancer;
        balancer.metrics.backend(endpoint).connect_failed(&error);
        tracing::debug!(
            service = %balancer.name,
            backend = %endpoint,
            error = &error as &dyn std::error::Error,
            "backend not connected"
        );
        if !error.is_ours() {
            balancer.suspect(endpoint);
        }
        self.tried.push(endpoint);
        self.last = Some(error);
        if with.now >= self.until {
            return Err(ConnectError::Timeout { after: balancer.connect.timeout.duration() });
        }
        Ok(())
    }

    fn lost(&mut self, endpoint: Endpoint, with: &With<'_>) {
        let balancer = with.balancer;
        tracing::debug!(
            service = %balancer.name,
            backend = %endpoint,
            said = self.flight.bytes().len(),
            "backend lost before its first byte: the next one is asked"
        );
        balancer.metrics.backend(endpoint).lost_before_first_byte();
        balancer.suspect(endpoint);
        self.tried.push(endpoint);
    }

    /// Says to the backend what the client says, until the backend answers.
    fn hear(
        &mut self,
        mut attempt: Attempt,
        client: &OwnedFd,
        client_ready: &mut Readiness,
        with: &mut With<'_>,
    ) -> (Heard, Option<Attempt>) {
        if attempt.slot.is_reset() {
            return (Heard::Lost, Some(attempt));
        }
        loop {
            if self.say(&mut attempt) == Got::Failed {
                return (Heard::Lost, Some(attempt));
            }
            if attempt.ready.readable {
                let got = with.mover.receive(attempt.backend.as_fd());
                match got {
                    Got::Blocked => attempt.ready.readable = false,
                    // It has waited for the client long enough, and says so: that is an answer too.
                    Got::End if !self.flight.is_whole() && attempt.is_patient(with.now) => {
                        return (self.settle(attempt, *client_ready, Way::ToClient, got), None);
                    }
                    Got::Moved(..) => {
                        return (self.settle(attempt, *client_ready, Way::ToClient, got), None);
                    }
                    Got::End | Got::Failed | Got::NoPipe | Got::Refused => {
                        return (Heard::Lost, Some(attempt));
                    }
                }
            }
            if self.unsaid(&attempt) > 0 && client_ready.failed {
                return (Heard::ClientGone, None);
            }
            if !client_ready.readable || self.unsaid(&attempt) > 0 {
                break;
            }
            let got = with.mover.receive(client.as_fd());
            match got {
                Got::Blocked => client_ready.readable = false,
                Got::Moved(length, _) if self.flight.keep(with.mover.received(length)) => {
                    attempt.heard_at = with.now;
                    if let Stage::Waiting { silent_at, .. } = &mut attempt.stage {
                        *silent_at = with.now + SILENCE;
                    }
                }
                // It has no more to say, or what must not be said twice: from here on a failure is
                // the client's to see.
                Got::Moved(..) | Got::End => {
                    return (self.settle(attempt, *client_ready, Way::ToBackend, got), None);
                }
                Got::Failed | Got::NoPipe | Got::Refused => return (Heard::ClientGone, None),
            }
        }
        self.judge_silence(attempt, with)
    }

    /// Says what the backend has not been told yet, as far as it takes it.
    fn say(&self, attempt: &mut Attempt) -> Got {
        let Stage::Waiting { said, .. } = &mut attempt.stage else { return Got::Blocked };
        let rest = self.flight.bytes().get(*said..).unwrap_or_default();
        if rest.is_empty() || !attempt.ready.writable {
            return Got::Blocked;
        }
        let got = send_to(attempt.backend.as_fd(), rest);
        match got {
            Got::Moved(n, _) => *said = said.saturating_add(n),
            Got::Blocked => attempt.ready.writable = false,
            Got::End | Got::Failed | Got::NoPipe | Got::Refused => return Got::Failed,
        }
        got
    }

    fn unsaid(&self, attempt: &Attempt) -> usize {
        match attempt.stage {
            Stage::Connecting => 0,
            Stage::Waiting { said, .. } => self.flight.bytes().len().saturating_sub(said),
        }
    }

    fn judge_silence(&self, mut attempt: Attempt, with: &With<'_>) -> (Heard, Option<Attempt>) {
        let reserve = attempt.reserve;
        if let Stage::Waiting { silent_at, silence, asked, .. } = &mut attempt.stage
            && !self.flight.bytes().is_empty()
            && with.now >= *silent_at
        {
            let endpoint = attempt.slot.backend().endpoint();
            if *asked && !with.balancer.would_try(endpoint, reserve) {
                return (Heard::Lost, Some(attempt));
            }
            if !*asked {
                with.balancer.suspect(endpoint);
                *asked = true;
            }
            // A hello that is not whole yet is owed no answer.
            if !self.flight.is_whole() {
                *silence = (*silence * 2).min(LONG_SILENCE);
            }
            *silent_at = with.now + *silence;
        }
        if !attempt.kept && with.now >= attempt.started + STAYS {
            attempt.kept = true;
            if let Err(error) = socket::keep_backend(&attempt.backend, &with.balancer.relay) {
                tracing::debug!(%error, "no keepalive");
            }
        }
        if idle_at(&attempt, with.balancer).is_some_and(|at| at <= with.now) {
            return (Heard::Idle, None);
        }
        (Heard::Nothing, Some(attempt))
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
            wire: Wire::new(relay, stock),
            first: way,
            said: u64::try_from(said).unwrap_or(u64::MAX),
        })
    }
}
