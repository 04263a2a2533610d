//! One task an endpoint: looks at it, believes what the [`Judge`] makes of that, and reports.
//!
//! ```text
//! step ──> begin a look, as a future among those in flight
//!  ^  └──> report, if what is believed has changed
//!  └── a look has ended, or somebody asks, or it is time
//! ```
//!
//! It reports and acts on nothing: that is for the service's reconciler, which receives every
//! report. A prober whose reports nobody receives any more ends.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::{Evidence, Outcome};
use evenkeel_core::signs::Signs;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, PhaseName, Progress};
use crate::config::HealthConfig;
use crate::judge::Judge;
use crate::metrics::ProbeMetrics;
use crate::probe;
use crate::trust::Trust;

/// Probes one endpoint.
pub struct Prober {
    endpoint: Endpoint,
    config: Arc<HealthConfig>,
    trust: watch::Receiver<Arc<Trust>>,
    reports: mpsc::Sender<HealthReport>,
    signs: Arc<Signs>,
    random: fastrand::Rng,
    judge: Judge,
    looks: FuturesUnordered<BoxFuture<'static, (u64, Attempt)>>,
    /// How far those in flight have come.
    progress: Vec<(u64, Progress)>,
    metrics: ProbeMetrics,
    attempts: u64,
}

/// What is known of an endpoint now.
#[derive(Clone, Debug)]
pub struct HealthReport {
    /// The endpoint probed.
    pub endpoint: Endpoint,
    /// What is believed now.
    pub evidence: Evidence,
    /// Whether that has just changed.
    pub changed: bool,
    /// What the last attempt saw, or what one sees that has not ended.
    pub outcome: Outcome,
    /// When this was.
    pub at: Instant,
    /// How many attempts have ended.
    pub attempts: u64,
    /// When the silence began that made it a suspect or dead.
    pub silent_since: Option<Instant>,
    /// When the last but one attempt began to which it has been silent for longer than is usual.
    pub silent_look: Option<Instant>,
    /// When an attempt last proved that it is alive.
    pub alive_at: Option<Instant>,
}

impl Prober {
    /// A prober of `endpoint`. It reads in `signs` what the traffic tells of it, and looks at once
    /// when it is asked to there. `seed` sets its beat: give each prober another, or they probe in
    /// step.
    pub fn new(
        service: &str,
        endpoint: Endpoint,
        config: HealthConfig,
        trust: watch::Receiver<Arc<Trust>>,
        reports: mpsc::Sender<HealthReport>,
        signs: Arc<Signs>,
        seed: u64,
    ) -> Self {
        Self {
            endpoint,
            judge: Judge::new(&config),
            metrics: ProbeMetrics::new(service, endpoint),
            random: fastrand::Rng::with_seed(seed),
            looks: FuturesUnordered::new(),
            progress: Vec::new(),
            attempts: 0,
            config: Arc::new(config),
            trust,
            reports,
            signs,
        }
    }

    /// Probes until `stop`, first at once. The attempts then in flight are dropped, and their
    /// sockets close.
    pub async fn run(mut self, stop: CancellationToken) {
        // `None` if stopped, `Some` if nobody receives: either way this is the end.
        let probing = Box::pin(self.probe_on());
        stop.run_until_cancelled(probing).await.unwrap_or_default();
    }

    async fn probe_on(&mut self) {
        loop {
            let now = Instant::now();
            for (number, progress) in &self.progress {
                let (stage, since) = progress.get();
                self.judge.progressed(*number, stage, since);
            }
            let before = self.judge.evidence();
            let step = self.judge.step(now, &self.signs.testimony());
            if step.changed {
                let so_far = self.so_far(now);
                let changed = self.judge.evidence() != before;
                if self.report(so_far, changed, now).await.is_err() {
                    return;
                }
            }
            if let Some(number) = step.begin {
                self.begin(number, now);
                continue;
            }
            let signs = self.signs.clone();
            let ended = tokio::select! {
                Some(ended) = self.looks.next(), if !self.looks.is_empty() => Some(ended),
                () = signs.asked_to_look() => {
                    self.judge.ask();
                    None
                }
                () = time::sleep_until(step.wake) => None,
            };
            if let Some((number, attempt)) = ended
                && self.take(number, attempt).await.is_err()
            {
                return;
            }
        }
    }

    fn begin(&mut self, number: u64, now: Instant) {
        // Who asked up to now is served by this one.
        self.signs.looked();
        self.judge.shorten(now, self.random.f64());
        let progress = Progress::new(now);
        self.progress.push((number, progress.clone()));
        let (config, endpoint) = (self.config.clone(), self.endpoint);
        let trust = self.trust.borrow().clone();
        self.looks.push(Box::pin(async move {
            (number, probe::attempt_shown(&config, &trust, endpoint, progress).await)
        }));
    }

    /// Takes in what a look saw.
    async fn take(&mut self, number: u64, attempt: Attempt) -> Result<(), Unheard> {
        let now = Instant::now();
        self.progress.retain(|(known, _)| *known != number);
        let took = |name| {
            attempt.phases.iter().find(|p| p.name == name && p.passed).map(|phase| phase.took)
        };
        if let Some(connect) = took(PhaseName::Connect) {
            self.judge.opened(connect, took(PhaseName::Tls));
        }
        let outcome = attempt.outcome;
        let changed = self.judge.ended(number, outcome.class, now, &self.signs.testimony());
        self.metrics.count(&outcome);
        self.attempts += 1;
        tracing::debug!(
            backend = %self.endpoint,
            class = %outcome.class,
            detail = outcome.detail,
            took = ?outcome.took,
            "probed",
        );
        self.report(outcome, changed, now).await
    }

    /// What those looks see that have not ended.
    fn so_far(&self, now: Instant) -> Outcome {
        let class = self.judge.evidence().class;
        let took = self.judge.silent_since().map_or(Duration::ZERO, |since| now - since);
        let heard = if self.signs.testimony().silent_since.is_some() {
            ", and silent on all connections that are owed an answer"
        } else {
            ""
        };
        let detail = format!("no answer to a probe for {} ms{heard}", took.as_millis());
        Outcome { class, detail, took }
    }

    async fn report(
        &mut self,
        outcome: Outcome,
        changed: bool,
        now: Instant,
    ) -> Result<(), Unheard> {
        let report = HealthReport {
            endpoint: self.endpoint,
            evidence: self.judge.evidence(),
            changed,
            outcome,
            at: now,
            attempts: self.attempts,
            silent_since: self.judge.silent_since(),
            silent_look: self.judge.silent_look(),
            alive_at: self.judge.alive_at(),
        };
        self.reports.send(report).await.map_err(|_nobody| Unheard)
    }
}

/// Nobody receives reports any more.
struct Unheard;

impl std::fmt::Debug for Prober {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prober")
            .field("endpoint", &self.endpoint)
            .field("judge", &self.judge)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
