//! What must be true whatever happens.

use evenkeel_core::health::Class;
use evenkeel_core::treatment::Treatment;
use evenkeel_health::{Failure, HealthConfig, WorstCase};
use evenkeel_proxy::OWED;
use tokio::time::Instant;

use crate::schedule::{Change, Condition, Schedule};
use crate::world::BRAKE;

/// How long after everything is well a server that is well too must be served, at the latest: the
/// looks in flight run out, and it answers twice in a row.
const OFFERED: u64 = 3500;

/// A server whose last breath is so recent may be reset while it revives: the verdict was true when
/// it was passed.
const TOO_LATE: u64 = 1;

/// Treatments that a server may change between while nothing happens to anybody: it is suspected,
/// dead, held back, and back.
const SETTLES: usize = 4;

/// How long after the last change a server must have settled.
const SETTLED: u64 = 6000;

/// How long a server without its etcd keeps its connections, where others are ready.
const ETCD_CAP: u64 = 30_000;

/// What the bound of a reset does not count: when clients next ask, and the witness's answer.
const LATE: u64 = 300;

/// What a law needs to know of a server.
#[derive(Clone, Debug)]
struct Life {
    condition: Condition,
    since: u64,
    treatment: Treatment,
    class: Option<Class>,
    /// When it last was not alive to us, by its own fault or ours.
    silent_at: Option<u64>,
    /// Changes of its treatment since the last change of anything.
    changes: usize,
}

/// The laws, with what they have seen.
pub(crate) struct Laws {
    servers: Vec<Life>,
    uplink: bool,
    uplink_since: u64,
    stalled_until: u64,
    last_change: u64,
    loss: f64,
    dead_within: u64,
    /// How many resets the brake holds back.
    pub(crate) held: usize,
    pub(crate) decide_at: Option<Instant>,
}

impl Laws {
    pub(crate) fn new(schedule: &Schedule, config: &HealthConfig) -> Self {
        let life = Life {
            condition: Condition::Well,
            since: 0,
            treatment: Treatment::Serve,
            class: None,
            silent_at: None,
            changes: 0,
        };
        let worst = [Failure::Silent, Failure::Hung]
            .iter()
            .filter_map(|failure| {
                if schedule.traffic {
                    WorstCase::with_traffic(config, *failure, OWED)?.reset
                } else {
                    WorstCase::without_traffic(config, *failure)?.reset
                }
            })
            .max();
        let dead_within = worst.map_or(0, |worst| u64::try_from(worst.as_millis()).unwrap_or(0));
        Self {
            servers: vec![life; schedule.servers],
            uplink: true,
            uplink_since: 0,
            stalled_until: 0,
            last_change: 0,
            loss: schedule.loss,
            dead_within,
            held: 0,
            decide_at: None,
        }
    }

    pub(crate) fn class_of(&self, server: usize) -> Option<Class> {
        self.servers.get(server).and_then(|life| life.class)
    }

    pub(crate) fn changed(&mut self, change: Change, now: u64) {
        self.last_change = now.max(self.stalled_until);
        for life in &mut self.servers {
            life.changes = 0;
        }
        match change {
            Change::Server(server, condition) => {
                if let Some(life) = self.servers.get_mut(server)
                    && life.condition != condition
                {
                    life.condition = condition;
                    life.since = now;
                }
            }
            Change::Uplink(up) => {
                self.uplink = up;
                self.uplink_since = now;
            }
            Change::Stall(length) => {
                self.stalled_until = now + u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
                self.last_change = self.stalled_until;
            }
        }
    }

    /// A living server is never reset, and never all by one cause.
    pub(crate) fn treated(
        &mut self,
        server: usize,
        treatment: Treatment,
        class: Class,
        now: u64,
    ) -> Result<(), String> {
        let uplink = self.uplink;
        let Some(life) = self.servers.get_mut(server) else { return Ok(()) };
        life.class = Some(class);
        let before = std::mem::replace(&mut life.treatment, treatment);
        if before == treatment {
            return Ok(());
        }
        life.changes += 1;
        let quiet = now.saturating_sub(self.last_change);
        let was_served = before == Treatment::Serve || treatment == Treatment::Serve;
        if quiet > SETTLED && was_served && self.loss <= 0.0 {
            return Err(format!("server {server}: {before} -> {treatment}, and nothing happened"));
        }
        if life.changes > SETTLES && self.loss <= 0.0 {
            return Err(format!("server {server} changes its treatment again and again"));
        }
        if treatment == Treatment::Reset {
            let brake = u64::try_from(BRAKE.as_millis()).unwrap_or(u64::MAX);
            let dark = now.saturating_sub(self.uplink_since);
            if !uplink && life.condition.lives() && dark < brake {
                return Err(format!("server {server} lives, and is reset for our own uplink"));
            }
            // Without its etcd it has had all the time that others are given.
            let constant = now.saturating_sub(life.since);
            let is_capped = life.condition == Condition::EtcdLost && constant >= ETCD_CAP;
            let lives = life.condition.lives() && uplink && !is_capped;
            let silent = life.silent_at.is_some_and(|at| now.saturating_sub(at) <= TOO_LATE);
            if lives && !silent {
                return Err(format!("server {server} lives ({:?}) and is reset", life.condition));
            }
        }
        Ok(())
    }

    /// What must be true at every moment.
    pub(crate) fn check(&mut self, now: u64) -> Result<(), String> {
        let uplink = self.uplink;
        for life in &mut self.servers {
            if !life.condition.lives() || !uplink {
                life.silent_at = Some(now);
            }
        }
        // What concerns time is asked for while our own side is well.
        if !self.uplink || now < self.stalled_until {
            return Ok(());
        }
        let fine_since = self.uplink_since.max(self.stalled_until);
        let somebody_well = self.servers.iter().any(|life| {
            life.condition == Condition::Well && now.saturating_sub(life.since) > OFFERED
        });
        for (number, life) in self.servers.iter().enumerate() {
            let constant = now.saturating_sub(life.since.max(fine_since));
            // Where packets are lost there is no bound, only odds.
            let lossless = self.loss <= 0.0;
            if life.condition == Condition::Well
                && life.treatment != Treatment::Serve
                && constant > OFFERED
                && lossless
            {
                return Err(format!("server {number} is well for {constant} ms and not offered"));
            }
            let dead_within = self.dead_within;
            if !life.condition.lives()
                && life.treatment != Treatment::Reset
                && constant > dead_within + LATE
                && somebody_well
                && lossless
            {
                return Err(format!(
                    "server {number} is {:?} for {constant} ms and not reset",
                    life.condition
                ));
            }
        }
        Ok(())
    }
}
