//! What to ask of a hook, and when; pure.
//!
//! ```text
//!        wanted                 done                 it is ours
//! Away ----------> Acquire -----------> Confirm ------------------> Held <-+ each verifyInterval:
//!  ^               ^  ^  |                |  another's, for too long | |   | still ours
//!  |               |  |  | failed         v                          | +---+
//!  |  another's    |  |  v             (Acquire)                     | another's
//!  |               |  Doubt                                       (Acquire)
//!  |               Limited: too many in this hour
//!  +-- Release <-- from everywhere, as soon as it is not wanted any more
//! ```
//!
//! Rules:
//! - One call at a time. A changed wish ends the call in flight: the newest wish counts, and what
//!   the ended call may have done is found by `owner`.
//! - What `acquire` says is not believed. Only `owner` makes the address ours.
//! - After an `acquire` that failed, `owner` is asked before the next: it may have worked all the
//!   same. So a provider that does not answer costs no moves. Where `owner` fails as well, the
//!   address is acquired unseen, but then no more often than the hour's moves spread evenly.
//! - An `owner` that fails says nothing. It never takes an address from us.
//! - `release` is called only when nobody has taken the address a while after we gave it up, so
//!   that it is not without an owner while another node is about to take it.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::Backoff;
use super::config::HookConfig;
use super::request::Operation;

/// Decides what is called. See the head of this file.
#[derive(Debug)]
pub struct HookDriver {
    rules: Rules,
    wanted: bool,
    draining: bool,
    phase: Phase,
    in_flight: Option<InFlight>,
    /// Whether an `acquire` began since we last knew that the address is not ours.
    may_be_ours: bool,
    /// Since when the address is wanted and not known to be ours.
    wanting_since: Instant,
    /// Until when the limit was told to last, as long as the address is not ours.
    limit_told: Option<Instant>,
    /// When each `acquire` of the last hour began, oldest first; at most `max_moves_per_hour`.
    moves: VecDeque<Instant>,
    /// After failures.
    retries: Backoff,
    /// While an `acquire` that is done does not show yet.
    polls: Backoff,
    epoch: u64,
    /// An instant, and what the wall clock said then, in milliseconds since 1970.
    clock: (Instant, u64),
}

/// The part of the config that decides.
#[derive(Clone, Debug)]
struct Rules {
    node: String,
    timeout: Duration,
    verify_interval: Duration,
    max_moves_per_hour: usize,
    release: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not wanted, and not ours as far as we know.
    Away,
    /// `acquire` at this time, if the limit allows it.
    Acquire { at: Instant },
    /// `acquire` said that it is done. `owner` is asked until it says the same.
    Confirm { at: Instant, until: Instant },
    /// `acquire` failed, or nobody knows. `owner` is asked before the next.
    Doubt { at: Instant },
    /// Ours.
    Held { at: Instant },
    /// No `acquire` before `until`.
    Limited { at: Instant, until: Instant },
    /// Not wanted any more. `owner` is asked whether there is anything to release.
    GiveUp { at: Instant },
    /// Not wanted any more, and still ours.
    Release,
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    operation: Operation,
    since: Instant,
}

/// What the driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Whether this node is the elected owner.
    Wanted(bool),
    /// The process ends as soon as the address is given up.
    Drain,
    /// The call in flight has ended: with the owner's name, if it was `owner` and there is one, or
    /// with the reason why it failed. A call that was abandoned does not end.
    Ended(Result<Option<String>, String>),
    /// It is time.
    Tick,
}

/// What to do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// End the call in flight; nobody waits for it any more. Before `begin`.
    pub abandon: bool,
    /// Begin this call. There is no other.
    pub begin: Option<Begin>,
    /// When to come back with [`Event::Tick`]; `None` if only another event can change anything.
    pub wake: Option<Instant>,
    /// What happened, in order.
    pub told: Vec<HookTold>,
    /// Nothing is left to do: the address is given up, and the process ends.
    pub finished: bool,
}

/// A call to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begin {
    /// Which.
    pub operation: Operation,
    /// Greater with each `acquire`; the same for the calls until the next. About the time of the
    /// `acquire` in milliseconds since 1970, so that it also grows over a restart.
    pub epoch: u64,
    /// How long it may take.
    pub timeout: Duration,
}

/// What a hook does and meets, for logs, events and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HookTold {
    /// A call has ended. For counters; what it means is told beside it.
    Called {
        /// Which.
        operation: Operation,
        /// How.
        end: CallEnd,
        /// How long it took.
        took: Duration,
    },
    /// The address is ours: `owner` says so.
    Acquired {
        /// Time since it was wanted, or since it was found lost.
        took: Duration,
        /// The epoch of the last `acquire`.
        epoch: u64,
    },
    /// Something went wrong.
    Failed {
        /// Which call; `Acquire` also if `owner` contradicts an `acquire` that said it was done.
        operation: Operation,
        /// Why, in words.
        why: String,
        /// When it is tried again; `None` if it is not.
        retry_in: Option<Duration>,
    },
    /// It was ours, and still is.
    Verified,
    /// It was ours, and is not any more, though this node is the elected owner. It is acquired
    /// again.
    Lost {
        /// Who has it, if anybody.
        owner: Option<String>,
    },
    /// There were as many `acquire`s in this hour as are allowed; told once each time. Somebody
    /// must look into it.
    RateLimited {
        /// When the next is allowed.
        until: Instant,
    },
    /// The address was given up, and is not ours any more.
    Released {
        /// Who has taken it; `None` if it was released.
        owner: Option<String>,
    },
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallEnd {
    /// In order.
    Done,
    /// With an error, or it took too long.
    Failed,
    /// Ended by us, since the wish changed.
    Abandoned,
}

/// What an answer to `owner` means.
enum Answer {
    Ours,
    Others(Option<String>),
    Unknown(String),
}

const HOUR: Duration = Duration::from_secs(3600);

/// Pauses after failures.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Pauses while an `acquire` does not show yet: providers need 5 to 60 s.
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(5));

/// How long after the address was given up another node has to take it, before it is released.
const GRACE: Duration = Duration::from_secs(5);

impl HookDriver {
    /// A driver for this node's name. `unix_ms` is the wall clock's time now, in milliseconds
    /// since 1970; `seed` sets the jitter.
    pub fn new(config: &HookConfig, node: &str, now: Instant, unix_ms: u64, seed: u64) -> Self {
        Self {
            rules: Rules {
                node: node.to_owned(),
                timeout: config.timeout.duration(),
                verify_interval: config.verify_interval.duration(),
                max_moves_per_hour: usize::try_from(config.max_moves_per_hour).unwrap_or(1).max(1),
                release: config.release,
            },
            wanted: false,
            draining: false,
            phase: Phase::Away,
            in_flight: None,
            may_be_ours: false,
            wanting_since: now,
            limit_told: None,
            moves: VecDeque::new(),
            retries: Backoff::new(RETRY.0, RETRY.1, seed),
            polls: Backoff::new(POLL.0, POLL.1, seed.wrapping_add(1)),
            epoch: 0,
            clock: (now, unix_ms),
        }
    }

    /// Takes in an event, and says what to do.
    pub fn step(&mut self, event: Event, now: Instant) -> Step {
        let mut step = Step::default();
        match event {
            Event::Wanted(wanted) if wanted != self.wanted => self.turn(wanted, now, &mut step),
            Event::Wanted(_) | Event::Tick => {}
            Event::Drain => {
                self.draining = true;
                if let Phase::GiveUp { at } = &mut self.phase {
                    *at = now;
                }
            }
            Event::Ended(result) => self.ended(result, now, &mut step),
        }
        if self.in_flight.is_none() {
            self.go_on(now, &mut step);
        }
        step.wake = self.wake();
        step.finished = self.draining && !self.wanted && self.phase == Phase::Away;
        step
    }

    /// The wish has changed.
    fn turn(&mut self, wanted: bool, now: Instant, step: &mut Step) {
        self.wanted = wanted;
        if let Some(call) = self.in_flight.take() {
            step.abandon = true;
            step.told.push(call.told(CallEnd::Abandoned, now));
        }
        self.retries.reset();
        self.limit_told = None;
        self.phase = if wanted {
            self.wanting_since = now;
            Phase::Acquire { at: now }
        } else if self.may_be_ours && self.rules.release {
            Phase::GiveUp { at: if self.draining { now } else { now + GRACE } }
        } else {
            self.may_be_ours = false;
            Phase::Away
        };
    }

    fn ended(&mut self, result: Result<Option<String>, String>, now: Instant, step: &mut Step) {
        // Nothing in flight: an abandoned call, of which nobody wants to hear.
        let Some(call) = self.in_flight.take() else { return };
        let end = if result.is_ok() { CallEnd::Done } else { CallEnd::Failed };
        step.told.push(call.told(end, now));
        match call.operation {
            Operation::Acquire => self.acquire_ended(result, now, step),
            Operation::Owner => self.owner_ended(result, now, step),
            Operation::Release => {
                match result {
                    Ok(_) => step.told.push(HookTold::Released { owner: None }),
                    Err(why) => step.told.push(failed(call.operation, why, None)),
                }
                self.away();
            }
        }
    }

    fn acquire_ended(
        &mut self,
        result: Result<Option<String>, String>,
        now: Instant,
        step: &mut Step,
    ) {
        self.phase = match result {
            Ok(_) => {
                self.retries.reset();
                self.polls.reset();
                Phase::Confirm { at: now, until: now + self.rules.timeout }
            }
            Err(why) => {
                let pause = self.retries.pause();
                step.told.push(failed(Operation::Acquire, why, Some(pause)));
                Phase::Doubt { at: now + pause }
            }
        };
    }

    fn owner_ended(
        &mut self,
        result: Result<Option<String>, String>,
        now: Instant,
        step: &mut Step,
    ) {
        let answer = match result {
            Ok(Some(owner)) if owner == self.rules.node => Answer::Ours,
            Ok(other) => Answer::Others(other),
            Err(why) => Answer::Unknown(why),
        };
        match (self.phase, answer) {
            (Phase::Confirm { .. } | Phase::Doubt { .. } | Phase::Limited { .. }, Answer::Ours) => {
                let took = now.saturating_duration_since(self.wanting_since);
                step.told.push(HookTold::Acquired { took, epoch: self.epoch });
                self.hold(now);
            }
            (Phase::Held { .. }, Answer::Ours) => {
                step.told.push(HookTold::Verified);
                self.hold(now);
            }
            (Phase::GiveUp { .. }, Answer::Ours) => self.phase = Phase::Release,

            (Phase::Confirm { until, .. }, Answer::Others(_)) if now < until => {
                let at = (now + self.polls.pause()).min(until);
                self.phase = Phase::Confirm { at, until };
            }
            (Phase::Confirm { .. }, Answer::Others(owner)) => {
                let pause = self.retries.pause();
                let why = format!("done, but the owner is {}", name(owner.as_deref()));
                step.told.push(failed(Operation::Acquire, why, Some(pause)));
                self.phase = Phase::Acquire { at: now + pause };
            }
            (Phase::Doubt { .. }, Answer::Others(_)) => self.phase = Phase::Acquire { at: now },
            (Phase::Held { .. }, Answer::Others(owner)) => {
                step.told.push(HookTold::Lost { owner });
                self.wanting_since = now;
                self.phase = Phase::Acquire { at: now };
            }
            (Phase::Limited { until, .. }, Answer::Others(_)) => {
                self.phase = Phase::Limited { at: now + self.rules.verify_interval, until };
            }
            (Phase::GiveUp { .. }, Answer::Others(owner)) => {
                step.told.push(HookTold::Released { owner });
                self.away();
            }

            (Phase::Confirm { until, .. }, Answer::Unknown(_)) if now < until => {
                let at = (now + self.polls.pause()).min(until);
                self.phase = Phase::Confirm { at, until };
            }
            // It said that it is done, and nothing says otherwise: no reason to do it again.
            (Phase::Confirm { until, .. }, Answer::Unknown(why)) => {
                let at = self.retry_owner(why, RETRY.1, now, step);
                self.phase = Phase::Confirm { at, until };
            }
            (Phase::Doubt { .. }, Answer::Unknown(why)) => {
                let at = self.retry_owner(why, RETRY.1, now, step);
                let last = self.moves.back().copied();
                self.phase = if last.is_none_or(|last| last + self.even_pace() <= at) {
                    Phase::Acquire { at }
                } else {
                    Phase::Doubt { at }
                };
            }
            (Phase::Held { .. }, Answer::Unknown(why)) => {
                let at = self.retry_owner(why, self.rules.verify_interval, now, step);
                self.phase = Phase::Held { at };
            }
            (Phase::Limited { until, .. }, Answer::Unknown(why)) => {
                let at = self.retry_owner(why, self.rules.verify_interval, now, step);
                self.phase = Phase::Limited { at, until };
            }
            // Nothing depends on the release.
            (Phase::GiveUp { .. }, Answer::Unknown(why)) => {
                step.told.push(failed(Operation::Owner, why, None));
                self.away();
            }

            // `owner` is asked in none of these.
            (Phase::Away | Phase::Acquire { .. } | Phase::Release, _) => {}
        }
    }

    fn hold(&mut self, now: Instant) {
        self.retries.reset();
        self.limit_told = None;
        self.phase = Phase::Held { at: now + self.rules.verify_interval };
    }

    fn away(&mut self) {
        self.may_be_ours = false;
        self.phase = Phase::Away;
    }

    /// Tells that `owner` failed, and says when to ask again.
    fn retry_owner(
        &mut self,
        why: String,
        longest: Duration,
        now: Instant,
        step: &mut Step,
    ) -> Instant {
        let pause = self.retries.pause().min(longest);
        step.told.push(failed(Operation::Owner, why, Some(pause)));
        now + pause
    }

    /// Begins what is due.
    fn go_on(&mut self, now: Instant, step: &mut Step) {
        if let Phase::Limited { until, .. } = self.phase
            && until <= now
        {
            self.phase = Phase::Acquire { at: until };
        }
        match self.phase {
            Phase::Acquire { at } if at <= now => match self.next_move(now) {
                None => {
                    self.may_be_ours = true;
                    self.moves.push_back(now);
                    self.epoch = self.next_epoch(now);
                    self.begin(Operation::Acquire, now, step);
                }
                Some(until) => {
                    if self.limit_told.is_none() {
                        self.limit_told = Some(until);
                        step.told.push(HookTold::RateLimited { until });
                    }
                    let at = (now + self.rules.verify_interval).min(until);
                    self.phase = Phase::Limited { at, until };
                }
            },
            Phase::Confirm { at, .. }
            | Phase::Doubt { at }
            | Phase::Held { at }
            | Phase::Limited { at, .. }
            | Phase::GiveUp { at }
                if at <= now =>
            {
                self.begin(Operation::Owner, now, step);
            }
            Phase::Release => self.begin(Operation::Release, now, step),
            Phase::Away
            | Phase::Acquire { .. }
            | Phase::Confirm { .. }
            | Phase::Doubt { .. }
            | Phase::Held { .. }
            | Phase::Limited { .. }
            | Phase::GiveUp { .. } => {}
        }
    }

    fn begin(&mut self, operation: Operation, now: Instant, step: &mut Step) {
        self.in_flight = Some(InFlight { operation, since: now });
        let (epoch, timeout) = (self.epoch, self.rules.timeout);
        step.begin = Some(Begin { operation, epoch, timeout });
    }

    /// When the next `acquire` is allowed; `None` if now.
    fn next_move(&mut self, now: Instant) -> Option<Instant> {
        while self.moves.front().is_some_and(|oldest| *oldest + HOUR <= now) {
            self.moves.pop_front();
        }
        let oldest = self.moves.front().filter(|_| self.is_exhausted())?;
        Some(*oldest + HOUR)
    }

    fn is_exhausted(&self) -> bool {
        self.moves.len() >= self.rules.max_moves_per_hour
    }

    /// The hour's moves, spread evenly.
    fn even_pace(&self) -> Duration {
        HOUR.div_f64(f64::from(u32::try_from(self.rules.max_moves_per_hour).unwrap_or(u32::MAX)))
    }

    fn next_epoch(&self, now: Instant) -> u64 {
        let (then, unix_ms) = self.clock;
        let since = now.saturating_duration_since(then).as_millis();
        let by_clock = unix_ms.saturating_add(u64::try_from(since).unwrap_or(u64::MAX));
        by_clock.max(self.epoch.saturating_add(1))
    }

    fn wake(&self) -> Option<Instant> {
        // The end of the call comes as an event, at the latest when its time is up.
        if self.in_flight.is_some() {
            return None;
        }
        match self.phase {
            Phase::Away | Phase::Release => None,
            Phase::Acquire { at }
            | Phase::Confirm { at, .. }
            | Phase::Doubt { at }
            | Phase::Held { at }
            | Phase::GiveUp { at } => Some(at),
            Phase::Limited { at, until } => Some(at.min(until)),
        }
    }
}

impl InFlight {
    fn told(self, end: CallEnd, now: Instant) -> HookTold {
        let took = now.saturating_duration_since(self.since);
        HookTold::Called { operation: self.operation, end, took }
    }
}

fn failed(operation: Operation, why: String, retry_in: Option<Duration>) -> HookTold {
    HookTold::Failed { operation, why, retry_in }
}

fn name(owner: Option<&str>) -> &str {
    owner.unwrap_or("nobody")
}

#[cfg(test)]
mod tests;
