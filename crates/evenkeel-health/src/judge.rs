//! An endpoint on trial: when to look at it, and what to believe. Pure: `now` and what was seen are
//! arguments, so that a simulation drives the very code that a prober does.
//!
//! ```text
//! look ──> silent for `patience` ──> suspect, and a second look beside the first; where bytes
//!                                      │      come from it, only if that is silent too
//!                                      │
//!    traffic says the same             ├─ both silent for QUICK, nothing heard ──> dead
//!    no traffic, or none that says so  └─ `fall` looks run out, nothing heard ───> dead
//! ```
//!
//! Silence alone is slow to tell from a lost packet or a busy process. Two witnesses are not: a look
//! that nobody answers, and clients who are owed an answer on connections that have all fallen
//! silent. So traffic makes it look at once, and then believe it sooner; and a byte from the endpoint
//! proves that it lives, whatever the looks say.

use std::time::Duration;

use evenkeel_core::health::{Class, Evidence, Health};
use evenkeel_core::signs::Testimony;
use tokio::time::Instant;

pub use crate::attempt::Stage;
use crate::config::HealthConfig;
use crate::tracker::Tracker;

/// The least time from the end of one look to the start of the next: a storm of failed connects,
/// each of which asks for one, must not become a storm of probes.
pub const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Looks that may be in flight at once: those that wait for an answer, and [`OPINIONS`].
const MOST_LOOKS: usize = 5;

/// Silent looks in flight that are enough.
const OPINIONS: usize = 3;

/// A connect without an answer for so long is suspicious, where they took much less before: the
/// kernel answers it, however busy its processes are.
pub const CONNECT_PATIENCE: Duration = Duration::from_millis(100);

/// A handshake without an answer for so long is suspicious, where they took much less before.
pub const TLS_PATIENCE: Duration = Duration::from_millis(150);

/// Where nothing is known yet of how long they take.
pub const FIRST_PATIENCE: Duration = Duration::from_millis(500);

/// How much slower than usual is suspicious.
const SLOWER: u32 = 3;

/// Two looks silent for so long are enough where the kernel of the endpoint acknowledges nothing of
/// what clients send it either. It would within 40 ms (`TCP_DELACK_MIN`), 200 ms at most.
pub const QUICK_CONNECT: Duration = Duration::from_millis(200);

/// Two looks silent for so long are enough where it owes clients answers and is silent on all of
/// their connections.
pub const QUICK_TLS: Duration = Duration::from_millis(500);

/// How often silent looks are seen to. Whoever is this late has been held up himself, and what he
/// did not hear meanwhile proves nothing.
pub const TICK: Duration = Duration::from_millis(50);

/// Later than this is held up.
const HELD_UP: Duration = Duration::from_millis(50);

/// A look in flight.
#[derive(Clone, Debug)]
struct Look {
    number: u64,
    began: Instant,
    stage: Stage,
    /// When the stage began, as far as was seen; later by as long as we were held up meanwhile.
    stage_began: Instant,
    /// It has lost a packet, since another was answered meanwhile: its silence proves nothing.
    shaken: bool,
    /// For how long we were held up meanwhile.
    held_up: Duration,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Begin a look of this number.
    pub begin: Option<u64>,
    /// What is believed has changed by looks that are still in flight, or what it rests on.
    pub changed: bool,
    /// Step again then, if nothing happens before.
    pub wake: Instant,
}

/// What is believed of one endpoint, and the looks in flight.
#[derive(Clone, Debug)]
pub struct Judge {
    tracker: Tracker,
    interval: Duration,
    connect_timeout: Duration,
    tls_timeout: Duration,
    looks: Vec<Look>,
    begun: u64,
    /// When the next look is due by the interval.
    next: Option<Instant>,
    /// Before then none begins.
    earliest: Option<Instant>,
    asked: bool,
    /// The last look was silent, and the other opinion on that is still to come.
    owes_opinion: bool,
    /// When it said it wanted to be woken.
    wake: Option<Instant>,
    connects: Usual,
    handshakes: Usual,
    /// When the silence began that made it a suspect or dead.
    silent_since: Option<Instant>,
    /// When the two youngest looks began that were silent, the younger one first.
    silent_looks: [Option<Instant>; 2],
    /// When it last proved to be alive.
    alive_at: Option<Instant>,
}

impl Judge {
    /// Nothing is known yet.
    pub fn new(config: &HealthConfig) -> Self {
        Self {
            tracker: Tracker::new(config.rise, config.fall),
            interval: config.interval.into(),
            connect_timeout: config.connect_timeout.into(),
            tls_timeout: config.tls_timeout.into(),
            looks: Vec::new(),
            begun: 0,
            next: None,
            earliest: None,
            asked: false,
            owes_opinion: false,
            wake: None,
            connects: Usual::default(),
            handshakes: Usual::default(),
            silent_since: None,
            silent_looks: [None; 2],
            alive_at: None,
        }
    }

    /// What is believed now.
    pub fn evidence(&self) -> Evidence {
        self.tracker.evidence()
    }

    /// When the silence began that made it a suspect or dead.
    pub fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// When the last but one look began to which it has been silent for longer than is usual: one
    /// more was silent since, so that no single lost packet is the reason.
    pub fn silent_look(&self) -> Option<Instant> {
        let [_, last_but_one] = self.silent_looks;
        last_but_one
    }

    /// When a look last proved that it is alive.
    pub fn alive_at(&self) -> Option<Instant> {
        self.alive_at
    }

    /// Somebody wants it looked at now.
    pub fn ask(&mut self) {
        self.asked = true;
    }

    /// A look has come that far.
    pub fn progressed(&mut self, number: u64, stage: Stage, now: Instant) {
        if let Some(look) = self.looks.iter_mut().find(|look| look.number == number)
            && look.stage != stage
        {
            look.stage = stage;
            look.stage_began = now;
            if stage == Stage::Open {
                self.lives(now);
            }
        }
    }

    /// It has answered a look. Those that are silent beside that have lost a packet, and prove
    /// nothing.
    fn lives(&mut self, now: Instant) {
        self.alive_at = self.alive_at.max(Some(now));
        for look in self.looks.iter_mut().filter(|look| look.stage != Stage::Open) {
            look.shaken |= look.began < now;
        }
    }

    /// How long a connect and, where there was one, a handshake have taken.
    pub fn opened(&mut self, connect: Duration, handshake: Option<Duration>) {
        self.connects.add(connect);
        if let Some(handshake) = handshake {
            self.handshakes.add(handshake);
        }
    }

    /// A look has ended; `true` if what is believed is another afterwards.
    pub fn ended(
        &mut self,
        number: u64,
        class: Class,
        now: Instant,
        testimony: &Testimony,
    ) -> bool {
        self.mind_the_gap(now);
        let Some(place) = self.looks.iter().position(|look| look.number == number) else {
            return false;
        };
        let look = self.looks.remove(place);
        // It has had less time than it looks.
        let held_up = look.held_up > now.saturating_duration_since(look.began) / 4;
        self.earliest = Some(now + LEAST_PAUSE);
        // Where a look runs out as soon as it is suspicious, the other opinion comes after it.
        let is_silent = class.health() == Health::Dead;
        let is_late = self.patience(look.stage) >= self.timeout(look.stage);
        self.owes_opinion = is_silent && is_late && !self.owes_opinion;
        let before = self.evidence();
        match class.health() {
            Health::Dead if look.shaken || held_up => self.asked = true,
            Health::Dead if testimony.heard_since(look.began) => {
                self.silent_from(look.began, look.began, testimony);
                self.tracker.suspect(class);
            }
            Health::Dead => {
                self.silent_from(look.began, look.began, testimony);
                self.tracker.record(class);
            }
            Health::Unknown | Health::Ready | Health::Unready | Health::Foreign => {
                self.tracker.record(class);
                if class != Class::ProbeFault {
                    self.lives(now);
                    self.silent_since = None;
                    self.silent_looks = [None; 2];
                }
            }
        }
        self.evidence() != before
    }

    /// Sees to what depends on time. Whoever is told to begin a look steps again at once.
    pub fn step(&mut self, now: Instant, testimony: &Testimony) -> Step {
        let before = (self.evidence(), self.silent_look());
        self.mind_the_gap(now);
        self.weigh_silence(now, testimony);
        let changed = (self.evidence(), self.silent_look()) != before;
        let begin = self.wants_look(now).then(|| self.begin(now));
        let wake = if begin.is_some() { now } else { self.next_wake(now) };
        self.wake = Some(wake);
        Step { begin, changed, wake }
    }

    /// If it is woken late it was held up: a paused machine, or no CPU for it. Nothing could be heard
    /// meanwhile.
    fn mind_the_gap(&mut self, now: Instant) {
        let Some(wake) = self.wake.take() else { return };
        let late = now.saturating_duration_since(wake);
        if late > HELD_UP {
            for look in &mut self.looks {
                look.stage_began += late;
                look.held_up += late;
            }
            self.asked |= self.looks.iter().any(|look| look.stage != Stage::Open);
        }
    }

    fn weigh_silence(&mut self, now: Instant, testimony: &Testimony) {
        let silent = self.silent_looks();
        let Some((first, class)) = silent.first().copied() else { return };
        if !self.is_suspicious(first, now) {
            return;
        }
        let began = first.began;
        let quick = |look: &Look| {
            now >= look.stage_began + quick(look.stage, now, testimony)
                && !testimony.heard_since(look.began)
        };
        let quick = silent.iter().filter(|(look, _)| quick(look)).count();
        let owes = testimony.silent_since;
        let heard = testimony.heard_since(began);
        if heard && !silent.get(1).is_some_and(|(look, _)| self.is_suspicious(look, now)) {
            // It talks to others: one lost packet is the better explanation.
            return;
        }
        let suspicious: Vec<Instant> = silent
            .iter()
            .filter(|(look, _)| self.is_suspicious(look, now))
            .map(|(look, _)| look.began)
            .collect();
        let since = owes.map_or(began, |since| since.min(began));
        for look in suspicious {
            self.silent_from(since, look, testimony);
        }
        if quick >= 2 && owes.is_some() && !heard {
            self.tracker.die(class);
        } else {
            self.tracker.suspect(class);
        }
    }

    /// The looks of which nothing was heard yet and whose silence counts, oldest first.
    fn silent_looks(&self) -> Vec<(&Look, Class)> {
        let silent = |look| -> Option<(&Look, Class)> {
            let look: &Look = look;
            (!look.shaken).then_some(look).zip(look.stage.silence())
        };
        self.looks.iter().filter_map(silent).collect()
    }

    /// It has been silent since then, last to a look that began at another moment.
    fn silent_from(&mut self, since: Instant, look: Instant, testimony: &Testimony) {
        // A look that was answered once, and no more, has been silent for less than it takes.
        let alive_at = self.alive_at.max(testimony.heard_at);
        let since = alive_at.map_or(since, |alive| alive.max(since));
        let since = self.silent_since.map_or(since, |known| known.min(since));
        // And any byte ends a silence.
        self.silent_since = Some(alive_at.map_or(since, |alive| alive.max(since)));
        let [last, last_but_one] = self.silent_looks;
        if Some(look) > last {
            self.silent_looks = [Some(look), last];
        } else if Some(look) != last && Some(look) > last_but_one {
            self.silent_looks = [last, Some(look)];
        }
    }

    fn wants_look(&self, now: Instant) -> bool {
        if self.earliest.is_some_and(|earliest| now < earliest) {
            return false;
        }
        let Some(youngest) = self.looks.last() else {
            let due = self.next.is_none_or(|next| now >= next);
            return due || self.wants_one_soon();
        };
        if self.looks.len() >= MOST_LOOKS || now < youngest.began + LEAST_PAUSE {
            return false;
        }
        let silent = self.silent_looks();
        match silent.as_slice() {
            // None of those in flight says how it is now.
            [] => {
                let lost = self.looks.iter().all(|look| look.shaken);
                self.asked || lost && self.next.is_none_or(|next| now >= next)
            }
            // Another opinion, if it takes one more, and not where the look runs out just now.
            [.., (look, _)] => {
                self.patience(look.stage) < self.timeout(look.stage)
                    && self.is_suspicious(look, now)
                    && silent.len() < self.opinions()
            }
        }
    }

    /// Whether the next look, where none is in flight, does not wait for the interval.
    fn wants_one_soon(&self) -> bool {
        self.asked || self.owes_opinion || self.tracker.is_suspect()
    }

    /// How many silent looks in flight are enough: traffic may let two count long before they run
    /// out, and a reset rests on two that began after another endpoint was heard.
    fn opinions(&self) -> usize {
        if self.evidence().health == Health::Dead { OPINIONS - 1 } else { OPINIONS }
    }

    fn begin(&mut self, now: Instant) -> u64 {
        self.begun += 1;
        self.asked = false;
        if self.looks.is_empty() {
            self.next = Some(now + self.interval);
        }
        self.looks.push(Look {
            number: self.begun,
            began: now,
            stage: Stage::Connecting,
            stage_began: now,
            shaken: false,
            held_up: Duration::ZERO,
        });
        self.begun
    }

    /// Sets the pause until the next look by the interval: up to a tenth shorter, so that many
    /// balancers do not beat in step. `chance` is from 0 to 1.
    pub fn shorten(&mut self, now: Instant, chance: f64) {
        self.next = Some(now + self.interval.mul_f64(1.0 - 0.1 * chance));
    }

    fn next_wake(&self, now: Instant) -> Instant {
        let earliest = self.earliest.unwrap_or(now);
        if self.looks.is_empty() {
            let next = if self.wants_one_soon() { None } else { self.next };
            return next.map_or(earliest, |next| next.max(earliest)).max(now);
        }
        let silent = self.silent_looks();
        // While nothing is silent, the end of a look is what wakes it.
        if silent.is_empty() && !self.asked {
            return self.next.filter(|next| *next > now).unwrap_or(now + self.interval);
        }
        let due = silent.iter().flat_map(|(look, _)| {
            [self.patience(look.stage), QUICK_CONNECT, QUICK_TLS]
                .map(|wait| look.stage_began + wait)
        });
        due.filter(|due| *due > now).chain([now + TICK]).min().unwrap_or(now + TICK)
    }

    /// Whether a look has been silent for longer than is usual.
    fn is_suspicious(&self, look: &Look, now: Instant) -> bool {
        now >= look.stage_began + self.patience(look.stage)
    }

    /// How long a stage may be silent before that is suspicious.
    fn patience(&self, stage: Stage) -> Duration {
        let (usual, least) = match stage {
            Stage::Connecting => (self.connects.take(), CONNECT_PATIENCE),
            Stage::Shaking | Stage::Open => (self.handshakes.take(), TLS_PATIENCE),
        };
        let patience = usual.map_or(FIRST_PATIENCE, |usual| (usual * SLOWER).max(least));
        patience.min(self.timeout(stage))
    }

    /// When a stage without an answer runs out.
    fn timeout(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Connecting => self.connect_timeout,
            Stage::Shaking | Stage::Open => self.tls_timeout,
        }
    }
}

/// How long a silent look must last to count as one of two that are enough.
fn quick(stage: Stage, now: Instant, testimony: &Testimony) -> Duration {
    let unacknowledged = testimony.unacknowledged_since;
    match stage {
        Stage::Connecting if unacknowledged.is_some_and(|at| now >= at + QUICK_CONNECT) => {
            QUICK_CONNECT
        }
        // It acknowledges and accepts nobody: as good as one that accepts and says nothing.
        Stage::Connecting | Stage::Shaking | Stage::Open => QUICK_TLS,
    }
}

/// What the last few took, in the middle: those that were in flight when a link failed have taken
/// long, and say nothing about the network.
#[derive(Clone, Debug, Default)]
struct Usual {
    last: [Duration; 8],
    count: usize,
}

impl Usual {
    fn add(&mut self, took: Duration) {
        let place = self.count % self.last.len();
        if let Some(slot) = self.last.get_mut(place) {
            *slot = took;
        }
        self.count = self.count.saturating_add(1);
    }

    fn take(&self) -> Option<Duration> {
        let known = self.count.min(self.last.len());
        let mut last = self.last;
        let last = last.get_mut(..known)?;
        last.sort_unstable();
        last.get(known.checked_sub(1)? / 2).copied()
    }
}

#[cfg(test)]
mod tests;
