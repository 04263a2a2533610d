//! The servers, the network and evenkeel's side of it, a millisecond at a time.

use std::fmt::{self, Write as _};
use std::time::Duration;

use evenkeel_core::decision::{Caps, Case, Decider};
use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use evenkeel_core::signs::Testimony;
use evenkeel_core::treatment::Treatment;
use evenkeel_health::judge::Stage;
use evenkeel_health::probe::{KubeApiserverProbe, Probe};
use evenkeel_health::{HealthConfig, Judge};
use tokio::time::Instant;

use crate::laws::Laws;
use crate::schedule::{Change, Condition, Schedule};

/// The brake that the config has by default.
pub(crate) const BRAKE: Duration = Duration::from_secs(15);

/// How long a SYN takes that is sent again (RFC 6298: the first timeout is a second).
const LOST_SYN: u64 = 1000;

/// How long anything else takes that is sent again (200 ms at least in Linux, and the trip).
const LOST: u64 = 210;

/// How often clients ask something of each server.
const ASK: u64 = 30;

/// How long silence of those who owe an answer lasts until data threads tell of it.
const OWED: u64 = 100;

/// The simulation of one schedule.
pub(crate) struct World {
    schedule: Schedule,
    random: fastrand::Rng,
    config: HealthConfig,
    start: Instant,
    now: u64,
    uplink: bool,
    /// Until when our own process is not run.
    stalled_until: u64,
    servers: Vec<Server>,
    decider: Decider,
    laws: Laws,
    sums: Sums,
    tell: bool,
    story: String,
}

/// A server, and what evenkeel knows of it.
struct Server {
    condition: Condition,
    judge: Judge,
    looks: Vec<Look>,
    /// When its prober wants to be woken.
    wake: u64,
    testimony: Testimony,
    owes_since: Option<u64>,
    /// When it answers, if it can.
    answers_at: u64,
    /// Since when its class is what it is.
    since: u64,
    drained_since: Option<Instant>,
    treatment: Treatment,
}

/// A look in flight, and what will come of it if nothing changes.
struct Look {
    number: u64,
    began: u64,
    stage: Stage,
    stage_began: u64,
    /// When the packet that would bring it further is there; lost ones take longer.
    due: u64,
}

/// What happened in schedules.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) looks: u64,
    pub(crate) suspicions: u64,
    pub(crate) resets: u64,
    pub(crate) held: u64,
    pub(crate) fail_open: u64,
    pub(crate) milliseconds: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, more: &Self) {
        self.looks += more.looks;
        self.suspicions += more.suspicions;
        self.resets += more.resets;
        self.held += more.held;
        self.fail_open += more.fail_open;
        self.milliseconds += more.milliseconds;
    }

    /// Every law had its occasions.
    pub(crate) fn assert_eventful(&self) {
        for (what, count) in [
            ("looks", self.looks),
            ("suspicions", self.suspicions),
            ("resets", self.resets),
            ("resets held back", self.held),
            ("times it failed open", self.fail_open),
        ] {
            assert!(count > 100, "only {count} {what}");
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.milliseconds / 3_600_000;
        write!(
            f,
            "{hours} h of virtual time, {} looks, {} suspicions, {} resets, {} held back, {} times \
             failed open",
            self.looks, self.suspicions, self.resets, self.held, self.fail_open
        )
    }
}

impl World {
    pub(crate) fn new(schedule: Schedule, tell: bool) -> Self {
        let probe = Probe::KubeApiserver(KubeApiserverProbe::default());
        let config = HealthConfig { probe, ..HealthConfig::default() };
        let caps = Caps {
            shutting_down: Some(Duration::from_secs(180)),
            refused: Some(Duration::from_secs(75)),
            etcd_unready: Some(Duration::from_secs(30)),
            leaving: Some(Duration::from_secs(180)),
        };
        let server = || Server {
            condition: Condition::Well,
            judge: Judge::new(&config),
            looks: Vec::new(),
            wake: 0,
            testimony: Testimony::default(),
            owes_since: None,
            answers_at: 0,
            since: 0,
            drained_since: None,
            treatment: Treatment::Serve,
        };
        Self {
            random: fastrand::Rng::with_seed(schedule.seed.wrapping_mul(0x9E37_79B9)),
            start: Instant::now() + Duration::from_secs(1000),
            now: 0,
            uplink: true,
            stalled_until: 0,
            servers: (0..schedule.servers).map(|_| server()).collect(),
            decider: Decider::new(BRAKE, caps),
            laws: Laws::new(&schedule, &config),
            sums: Sums::default(),
            tell,
            story: String::new(),
            config,
            schedule,
        }
    }

    /// Runs it to its end; the first law that is broken is an error.
    pub(crate) fn run(mut self) -> Result<Sums, String> {
        let mut changes = std::mem::take(&mut self.schedule.changes).into_iter().peekable();
        while self.now < self.schedule.length {
            let mut changed = false;
            while let Some((_, change)) = changes.next_if(|(at, _)| *at <= self.now) {
                self.change(change);
            }
            self.ask_around();
            if self.now >= self.stalled_until {
                changed |= self.carry_bytes();
                for server in 0..self.servers.len() {
                    changed |= self.probe(server);
                }
                let due = self.laws.decide_at.is_some_and(|at| self.at(self.now) >= at);
                if changed || due {
                    self.decide()?;
                }
            }
            self.laws.check(self.now).map_err(|broken| format!("{broken}\n{}", self.story))?;
            self.now = self.next(changes.peek().map(|(at, _)| *at));
        }
        self.sums.milliseconds = self.schedule.length;
        if self.tell {
            print!("{}", self.story);
        }
        Ok(self.sums)
    }

    /// The next moment at which anything can happen.
    fn next(&self, change: Option<u64>) -> u64 {
        let timeouts = [self.config.connect_timeout, self.config.tls_timeout]
            .map(|span| u64::try_from(span.duration().as_millis()).unwrap_or(u64::MAX));
        let ask = self.schedule.traffic.then(|| (self.now / ASK + 1) * ASK);
        let decide = self.laws.decide_at.map(|at| {
            let at = at.saturating_duration_since(self.start).as_millis();
            u64::try_from(at).unwrap_or(u64::MAX)
        });
        let of_servers = self.servers.iter().flat_map(|server| {
            let looks = server.looks.iter().flat_map(|look| {
                let beside = timeouts.iter().sum::<u64>() + look.stage_began;
                [look.due, beside].into_iter().chain(timeouts.map(|t| look.stage_began + t))
            });
            let owed = server.owes_since.map(|since| [server.answers_at, since + OWED]);
            looks.chain(owed.into_iter().flatten()).chain([server.wake])
        });
        let rest = [change, ask, decide, Some(self.stalled_until)].into_iter().flatten();
        let later = of_servers.chain(rest).filter(|at| *at > self.now).min();
        later.unwrap_or(self.schedule.length).min(self.now + 500)
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + Duration::from_millis(milliseconds)
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.tell {
            // A `String` takes everything.
            writeln!(self.story, "{:>6} ms  {}", self.now, what()).unwrap_or_default();
        }
    }

    fn change(&mut self, change: Change) {
        self.tell(|| format!("{change:?}"));
        match change {
            Change::Server(number, condition) => {
                if let Some(server) = self.servers.get_mut(number) {
                    server.condition = condition;
                }
            }
            Change::Uplink(up) => self.uplink = up,
            Change::Stall(length) => {
                let length = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
                self.stalled_until = self.now + length;
            }
        }
        self.laws.changed(change, self.now);
    }

    /// Clients ask, and are owed an answer.
    fn ask_around(&mut self) {
        if !self.schedule.traffic || !self.now.is_multiple_of(ASK) || self.now < self.stalled_until
        {
            return;
        }
        let now = self.now;
        for server in &mut self.servers {
            if server.owes_since.is_none() {
                let busy = server.condition == Condition::Busy;
                let takes = if busy { self.random.u64(1..300) } else { 3 };
                server.owes_since = Some(now);
                server.answers_at = now + takes;
            }
        }
    }

    /// What data threads see. True if somebody was heard for whom a decision may wait.
    fn carry_bytes(&mut self) -> bool {
        let now = self.at(self.now);
        let mut heard_any = false;
        for server in &mut self.servers {
            let Some(owes_since) = server.owes_since else { continue };
            if server.condition == Condition::Gone && self.uplink {
                // Its kernel has told the clients.
                server.owes_since = None;
                server.testimony.silent_since = None;
            } else if self.uplink && server.condition.lives() && self.now >= server.answers_at {
                server.owes_since = None;
                server.testimony = Testimony { heard_at: Some(now), ..Testimony::default() };
                heard_any = true;
            } else if self.now.saturating_sub(owes_since) >= OWED {
                let since = self.start + Duration::from_millis(owes_since);
                if server.testimony.silent_since.is_none() {
                    server.judge.ask();
                    server.wake = self.now;
                }
                server.testimony.silent_since = Some(since);
                let silent_kernel = !self.uplink || server.condition == Condition::CutOff;
                server.testimony.unacknowledged_since = silent_kernel.then_some(since);
            }
        }
        // As the reconciler does with each report while somebody is silent.
        heard_any && self.servers.iter().any(|server| server.judge.silent_since().is_some())
    }

    /// Runs the prober of a server as far as it goes now. True if what it believes has changed.
    fn probe(&mut self, number: usize) -> bool {
        let mut changed = self.see_looks(number);
        loop {
            let now = self.at(self.now);
            let Some(server) = self.servers.get_mut(number) else { return changed };
            if self.now < server.wake && !changed {
                return changed;
            }
            let was_silent = server.judge.silent_since().is_some();
            let step = server.judge.step(now, &server.testimony);
            changed |= step.changed;
            let wake = step.wake.saturating_duration_since(self.start).as_millis();
            server.wake = u64::try_from(wake).unwrap_or(u64::MAX);
            let is_silent = server.judge.silent_since().is_some();
            if step.changed && is_silent && !was_silent {
                self.sums.suspicions += 1;
                self.call_the_roll(Some(number));
            }
            match step.begin {
                Some(look) => self.begin(number, look),
                None => return changed,
            }
        }
    }

    fn call_the_roll(&mut self, silent: Option<usize>) {
        let now = self.now;
        for (number, server) in self.servers.iter_mut().enumerate() {
            if Some(number) != silent && server.judge.silent_since().is_none() {
                server.judge.ask();
                server.wake = now;
            }
        }
    }

    fn begin(&mut self, number: usize, look: u64) {
        self.sums.looks += 1;
        self.tell(|| format!("  look {look} at server {number}"));
        let due = self.now + self.trip(LOST_SYN);
        let now = self.now;
        let chance = self.random.f64();
        let at = self.at(now);
        if let Some(server) = self.servers.get_mut(number) {
            server.judge.shorten(at, chance);
            server.looks.push(Look {
                number: look,
                began: now,
                stage: Stage::Connecting,
                stage_began: now,
                due,
            });
        }
    }

    /// A round trip, or what it takes to send a lost packet again.
    fn trip(&mut self, lost: u64) -> u64 {
        if self.random.f64() < self.schedule.loss { lost } else { 1 }
    }

    /// Brings looks in flight further, and ends those that have ended. True if there is a report
    /// that a decision may wait for.
    fn see_looks(&mut self, number: usize) -> bool {
        let mut changed = false;
        let mut place = 0;
        loop {
            let trip = self.trip(LOST);
            let slow = self.random.u64(1..120);
            let now = self.at(self.now);
            let (uplink, config) = (self.uplink, &self.config);
            let Some(server) = self.servers.get_mut(number) else { return changed };
            let Some(look) = server.looks.get_mut(place) else { return changed };
            let passed = self.now - look.stage_began;
            let reaches = uplink && server.condition != Condition::CutOff;
            let ended = match look.stage {
                Stage::Connecting if reaches && self.now >= look.due => {
                    if server.condition == Condition::Gone {
                        Some(Class::Refused)
                    } else {
                        look.stage = Stage::Shaking;
                        look.stage_began = self.now;
                        let busy = server.condition == Condition::Busy;
                        look.due = self.now + if busy { slow } else { trip };
                        server.judge.progressed(look.number, Stage::Shaking, now);
                        None
                    }
                }
                Stage::Connecting => {
                    let timeout = config.connect_timeout.duration().as_millis();
                    (u128::from(passed) >= timeout).then_some(Class::ConnectTimeout)
                }
                Stage::Shaking if reaches && self.now >= look.due => match server.condition {
                    Condition::Frozen | Condition::CutOff => {
                        let timeout = config.tls_timeout.duration().as_millis();
                        (u128::from(passed) >= timeout).then_some(Class::TlsTimeout)
                    }
                    Condition::Gone => Some(Class::Closed),
                    Condition::Well
                    | Condition::Busy
                    | Condition::ShuttingDown
                    | Condition::EtcdLost => {
                        let connect = Duration::from_millis(look.stage_began - look.began);
                        server.judge.opened(connect, Some(Duration::from_millis(passed)));
                        look.stage = Stage::Open;
                        look.stage_began = self.now;
                        let busy = server.condition == Condition::Busy;
                        look.due = self.now + if busy { slow } else { trip };
                        server.judge.progressed(look.number, Stage::Open, now);
                        None
                    }
                },
                Stage::Shaking => {
                    let timeout = config.tls_timeout.duration().as_millis();
                    (u128::from(passed) >= timeout).then_some(Class::TlsTimeout)
                }
                Stage::Open if reaches && self.now >= look.due => match server.condition {
                    Condition::Well | Condition::Busy => Some(Class::Ready),
                    Condition::ShuttingDown => Some(Class::ShuttingDown),
                    Condition::EtcdLost => Some(Class::EtcdUnready),
                    Condition::Gone => Some(Class::Closed),
                    Condition::Frozen | Condition::CutOff => beside(passed, config),
                },
                Stage::Open => beside(passed, config),
            };
            if let Some(class) = ended {
                let look = server.looks.remove(place).number;
                changed |= server.judge.ended(look, class, now, &server.testimony);
                server.wake = self.now;
                changed |= self.servers.iter().any(|other| other.judge.silent_since().is_some());
            } else {
                place += 1;
            }
        }
    }

    fn tell_of(&mut self, case: &Case) {
        let start = self.start;
        let ms = |at: Option<Instant>| at.map(|at| at.saturating_duration_since(start).as_millis());
        let case = *case;
        self.tell(|| {
            format!(
                "    {}: {}, silent since {:?}, to a look of {:?}, alive at {:?}",
                case.endpoint,
                case.evidence.health,
                ms(case.silent_since),
                ms(case.silent_look),
                ms(case.alive_at)
            )
        });
    }

    fn decide(&mut self) -> Result<(), String> {
        let now = self.at(self.now);
        let (start, millis) = (self.start, self.now);
        for (number, server) in self.servers.iter_mut().enumerate() {
            if self.laws.class_of(number) != Some(server.judge.evidence().class) {
                server.since = millis;
            }
        }
        let case = |(number, server): (usize, &Server)| Case {
            endpoint: endpoint(number),
            evidence: server.judge.evidence(),
            since: start + Duration::from_millis(server.since),
            silent_since: server.judge.silent_since(),
            silent_look: server.judge.silent_look(),
            alive_at: server.judge.alive_at().max(server.testimony.heard_at),
            drained_since: server.drained_since,
            leaving_since: None,
        };
        let cases: Vec<Case> = self.servers.iter().enumerate().map(case).collect();
        let decision = self.decider.decide(&cases, now);
        if self.tell {
            for case in &cases {
                self.tell_of(case);
            }
        }
        if decision.held > self.laws.held {
            self.sums.held += 1;
            self.call_the_roll(None);
        }
        self.laws.held = decision.held;
        self.laws.decide_at = decision.until;
        let ready = cases.iter().any(|case| case.evidence.health.as_str() == "ready");
        if !ready && decision.treatments.contains(&Treatment::Serve) && self.now > 2000 {
            self.sums.fail_open += 1;
        }
        for (number, treatment) in decision.treatments.into_iter().enumerate() {
            let Some(server) = self.servers.get_mut(number) else { continue };
            let before = std::mem::replace(&mut server.treatment, treatment);
            server.drained_since = match treatment {
                Treatment::Drain => server.drained_since.or(Some(now)),
                Treatment::Reset => server.drained_since,
                Treatment::Serve => None,
            };
            let class = server.judge.evidence().class;
            if before != treatment {
                if treatment == Treatment::Reset {
                    self.sums.resets += 1;
                    // Whoever was owed an answer has been told.
                    server.owes_since = None;
                }
                self.tell(|| format!("server {number}: {before} -> {treatment} ({class})"));
            }
            let told = self.laws.treated(number, treatment, class, self.now);
            told.map_err(|broken| format!("{broken}\n{}", self.story))?;
        }
        Ok(())
    }
}

fn endpoint(number: usize) -> Endpoint {
    let last = u8::try_from(number).unwrap_or(u8::MAX);
    Endpoint::new(([10, 0, 0, last], 6443).into())
}

/// While an answer is awaited, handshakes beside it tell whether it lives.
fn beside(passed: u64, config: &HealthConfig) -> Option<Class> {
    let pause = config.interval.min(config.tls_timeout).duration();
    let silent = pause + config.tls_timeout.duration();
    (u128::from(passed) >= silent.as_millis()).then_some(Class::TlsTimeout)
}
