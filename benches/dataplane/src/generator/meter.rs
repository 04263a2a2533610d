//! What of a load counts: all of it, or what lies between two moments.

use tokio::time::Instant;

use super::STALLED;
use crate::cpu::{Spent, Used, Watched};
use crate::order::{Order, Seen, Span};
use crate::statistics::Percentiles;
use evenkeel_bench::failed::Failed;

/// Where a load is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Phase {
    /// Nothing counts yet.
    WarmUp,
    /// All counts.
    Measured,
    /// The time is up.
    Over,
}

/// Watches the clock, and the CPU of all at the right moments.
pub(super) struct Meter {
    watched: Watched,
    phase: Phase,
    // When the current phase ends. None: when the work is done.
    until: Option<Instant>,
    seconds: f64,
    begun: Used,
    spent: Option<Spent>,
    progress: Instant,
    latencies: Vec<u64>,
    count: u64,
    failed: u64,
}

impl Meter {
    /// Begins now.
    pub(super) fn new(order: &Order) -> Result<Self, Failed> {
        let mut watched = order.watched.clone();
        watched.generator = vec![std::process::id()];
        let begun = Used::now(&watched)?;
        let now = Instant::now();
        let (phase, until, seconds) = match order.span {
            Span::Counted(_) => (Phase::Measured, None, 0.0),
            Span::Timed { warm_up, seconds } => {
                (Phase::WarmUp, Some(now + std::time::Duration::from_secs_f64(warm_up)), seconds)
            }
        };
        Ok(Self {
            watched,
            phase,
            until,
            seconds,
            begun,
            spent: None,
            progress: now,
            // Growing would take as long as some requests do.
            latencies: Vec::with_capacity(1 << 20),
            count: 0,
            failed: 0,
        })
    }

    /// Where the load is now.
    pub(super) fn phase(&mut self, now: Instant) -> Result<Phase, Failed> {
        if now.duration_since(self.progress) > STALLED {
            return Err(Failed::because("go on", format!("nothing has moved for {STALLED:?}")));
        }
        if self.until.is_some_and(|until| now >= until) {
            match self.phase {
                Phase::WarmUp => {
                    self.phase = Phase::Measured;
                    self.begun = Used::now(&self.watched)?;
                    let seconds = std::time::Duration::from_secs_f64(self.seconds);
                    self.until = Some(Instant::now() + seconds);
                }
                Phase::Measured => self.finish()?,
                Phase::Over => {}
            }
        }
        Ok(self.phase)
    }

    /// Ends what counts, if it has not ended.
    pub(super) fn finish(&mut self) -> Result<(), Failed> {
        if self.phase != Phase::Over {
            self.phase = Phase::Over;
            self.spent = Some(Used::now(&self.watched)?.since(&self.begun));
        }
        Ok(())
    }

    /// Something was done: so many bytes, or one request.
    pub(super) fn did(&mut self, count: u64, now: Instant) {
        self.progress = now;
        if self.phase == Phase::Measured {
            self.count += count;
        }
    }

    /// A request or a connection is done that began then.
    pub(super) fn took(&mut self, began: Instant, now: Instant) {
        self.did(1, now);
        if self.phase == Phase::Measured {
            let took = now.saturating_duration_since(began).as_nanos();
            self.latencies.push(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }

    /// A connection broke.
    pub(super) fn broke(&mut self) {
        self.failed += 1;
    }

    /// How many connections broke.
    pub(super) fn broken(&self) -> u64 {
        self.failed
    }

    /// What was seen in all.
    pub(super) fn seen(&mut self) -> Result<Seen, Failed> {
        self.finish()?;
        let spent = self.spent.unwrap_or_default();
        Ok(Seen {
            count: self.count,
            seconds: spent.elapsed,
            latency: Percentiles::of(&mut self.latencies),
            failed: self.failed,
            spent,
        })
    }
}
