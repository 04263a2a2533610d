//! What happened in schedules.

use std::fmt;

use crate::schedule::SECOND;

/// Counts, and times in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) time: u64,
    pub(crate) turns: u64,
    pub(crate) messages: u64,
    pub(crate) claims: u64,
    pub(crate) stalls: u64,
    pub(crate) kills: u64,
    pub(crate) moves: u64,
    pub(crate) heals: u64,
    /// Silent deaths of an owner out of the calm, and how long until the next.
    pub(crate) failovers: u64,
    pub(crate) failover: u64,
    pub(crate) longest_failover: u64,
    /// Planned moves out of the calm, and how long clients were without.
    pub(crate) planned: u64,
    /// Time that clients did not reach a node that serves, while one could.
    pub(crate) outage: u64,
    /// Calm time with loss, and claims in it, with what is to be expected of them.
    pub(crate) lossy: u64,
    pub(crate) lossy_claims: u64,
    pub(crate) expected_claims: f64,
    pub(crate) checks: u64,
    pub(crate) client_checks: u64,
}

impl Sums {
    pub(crate) fn add(&mut self, more: &Self) {
        self.time += more.time;
        self.turns += more.turns;
        self.messages += more.messages;
        self.claims += more.claims;
        self.stalls += more.stalls;
        self.kills += more.kills;
        self.moves += more.moves;
        self.heals += more.heals;
        self.failovers += more.failovers;
        self.failover += more.failover;
        self.longest_failover = self.longest_failover.max(more.longest_failover);
        self.planned += more.planned;
        self.outage += more.outage;
        self.lossy += more.lossy;
        self.lossy_claims += more.lossy_claims;
        self.expected_claims += more.expected_claims;
        self.checks += more.checks;
        self.client_checks += more.client_checks;
    }

    /// Every law had its occasions.
    pub(crate) fn assert_eventful(&self) {
        for (what, count) in [
            ("claims", self.claims),
            ("stalls of an owner", self.stalls),
            ("kills of an owner", self.kills),
            ("moves", self.moves),
            ("heals of a partition", self.heals),
            ("failovers out of the calm", self.failovers),
            ("planned moves out of the calm", self.planned),
            ("claims for loss alone", self.lossy_claims),
            ("looks at owners", self.checks),
            ("looks at clients", self.client_checks),
        ] {
            assert!(count > 100, "only {count} {what}");
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} h of virtual time, {} turns, {} messages, {} claims; owners: {} stalled, {} \
             killed, {} moved on request; {} partitions healed",
            self.time / SECOND / 3600,
            self.turns,
            self.messages,
            self.claims,
            self.stalls,
            self.kills,
            self.moves,
            self.heals
        )?;
        writeln!(
            f,
            "{} failovers out of the calm, after {} ms on average and {} ms at most; {} planned \
             moves; clients out for {} s in all",
            self.failovers,
            self.failover / self.failovers.max(1) / 1000,
            self.longest_failover / 1000,
            self.planned,
            self.outage / SECOND
        )?;
        write!(
            f,
            "{} h calm with loss: {} claims for it, {:.0} to be expected; {} looks at owners, {} \
             at clients",
            self.lossy / SECOND / 3600,
            self.lossy_claims,
            self.expected_claims,
            self.checks,
            self.client_checks
        )
    }
}
