//! One task an endpoint: probes it, believes what comes in a row, and reports.
//!
//! ```text
//! attempt -> record -> report -> wait: the interval, or ProbeNow, or nothing for a suspect
//!    ^                                                                   |
//!    '-------------------------------------------------------------------'
//! ```
//!
//! It reports and acts on nothing: that is for the service's reconciler, which receives every
//! report. A prober whose reports nobody receives any more ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::{Evidence, Health, Outcome};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::config::HealthConfig;
use crate::metrics::ProbeMetrics;
use crate::probe;
use crate::tracker::Tracker;
use crate::trust::Trust;

/// The least time from the end of one attempt to the start of the next: a storm of failed
/// connects, each of which asks for a probe, must not become a storm of probes.
const LEAST_PAUSE: Duration = Duration::from_millis(50);

/// Probes one endpoint.
pub struct Prober {
    endpoint: Endpoint,
    config: HealthConfig,
    trust: watch::Receiver<Arc<Trust>>,
    reports: mpsc::Sender<HealthReport>,
    asked: Arc<Notify>,
    random: fastrand::Rng,
    tracker: Tracker,
    metrics: ProbeMetrics,
    attempts: u64,
}

/// Asks a prober to look now. Clones ask the same prober.
#[derive(Clone, Debug)]
pub struct ProbeNow(Arc<Notify>);

impl ProbeNow {
    /// Has the endpoint probed without waiting for the interval. Never blocks. If an attempt is
    /// in flight, another follows it, however often it is asked for meanwhile.
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// What is known of an endpoint after an attempt.
#[derive(Clone, Debug)]
pub struct HealthReport {
    /// The endpoint probed.
    pub endpoint: Endpoint,
    /// What is believed now.
    pub evidence: Evidence,
    /// Whether this attempt has changed it.
    pub changed: bool,
    /// What this attempt saw.
    pub outcome: Outcome,
    /// When it ended.
    pub at: Instant,
    /// How many attempts there have been, this one included.
    pub attempts: u64,
}

impl Prober {
    /// A prober of `endpoint`, and the handle that makes it look at once. `seed` sets its beat:
    /// give each prober another, or they probe in step.
    pub fn new(
        service: &str,
        endpoint: Endpoint,
        config: HealthConfig,
        trust: watch::Receiver<Arc<Trust>>,
        reports: mpsc::Sender<HealthReport>,
        seed: u64,
    ) -> (Self, ProbeNow) {
        let asked = Arc::new(Notify::new());
        let probe_now = ProbeNow(asked.clone());
        let prober = Self {
            endpoint,
            tracker: Tracker::new(config.rise, config.fall),
            metrics: ProbeMetrics::new(service, endpoint),
            random: fastrand::Rng::with_seed(seed),
            attempts: 0,
            config,
            trust,
            reports,
            asked,
        };
        (prober, probe_now)
    }

    /// Probes until `stop`, first at once. The attempt then in flight is dropped, and its sockets
    /// close.
    pub async fn run(mut self, stop: CancellationToken) {
        // `None` if stopped, `Some` if nobody receives: either way this is the end.
        let probing = Box::pin(self.probe_on());
        stop.run_until_cancelled(probing).await.unwrap_or_default();
    }

    async fn probe_on(&mut self) {
        loop {
            let started = Instant::now();
            let report = self.probe().await;
            let silent = report.outcome.class.health() == Health::Dead;
            if self.reports.send(report).await.is_err() {
                return;
            }
            self.pause(started, silent).await;
        }
    }

    async fn probe(&mut self) -> HealthReport {
        let trust = self.trust.borrow().clone();
        let outcome = probe::attempt(&self.config, &trust, self.endpoint).await.outcome;
        let changed = self.tracker.record(outcome.class);
        self.metrics.count(&outcome);
        self.attempts += 1;
        tracing::debug!(
            backend = %self.endpoint,
            class = %outcome.class,
            detail = outcome.detail,
            took = ?outcome.took,
            "probed",
        );
        HealthReport {
            endpoint: self.endpoint,
            evidence: self.tracker.evidence(),
            changed,
            outcome,
            at: Instant::now(),
            attempts: self.attempts,
        }
    }

    async fn pause(&mut self, started: Instant, silent: bool) {
        let earliest = Instant::now() + LEAST_PAUSE;
        // What has just fallen silent is probed again at once, to know whether it is dead.
        if !(silent && self.tracker.is_suspect()) {
            let next = started + shortened(self.config.interval.into(), self.random.f64());
            tokio::select! {
                () = time::sleep_until(next) => {}
                () = self.asked.notified() => {}
            }
        }
        time::sleep_until(earliest).await;
        // Who asked up to now is served by the attempt that comes: takes what `Notify` has kept.
        pin!(self.asked.notified()).enable();
    }
}

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober")
            .field("endpoint", &self.endpoint)
            .field("tracker", &self.tracker)
            .finish_non_exhaustive()
    }
}

/// The interval, up to a tenth shorter: never longer than what is written. `chance` is below 1.
fn shortened(interval: Duration, chance: f64) -> Duration {
    interval.mul_f64(1.0 - 0.1 * chance)
}

#[cfg(test)]
mod tests;
