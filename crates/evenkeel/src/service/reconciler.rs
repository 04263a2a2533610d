//! The one task that decides for a service: takes in what sources and probers say, and is the owner
//! of the pool.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use evenkeel_core::decision::{Case, Decider};
use evenkeel_core::endpoint::{Endpoint, EndpointSet, Provenance};
use evenkeel_core::health::{Class, Evidence, Health};
use evenkeel_core::pool::{Placement, PoolWriter};
use evenkeel_core::signs::Signs;
use evenkeel_core::treatment::{self, Treatment};
use evenkeel_discovery::access::resolve_server;
use evenkeel_discovery::members::Members;
use evenkeel_discovery::merge::merge;
use evenkeel_discovery::sighting::Sighting;
use evenkeel_discovery::source::Source;
use evenkeel_health::probe::{Version, version};
use evenkeel_health::{HealthReport, Prober};
use evenkeel_proxy::Balancer;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::member::Member;
use super::pacing::Pacing;
use super::rebalancing;
use super::{MemberView, QUEUE, SourceHandle, Surroundings, View};
use crate::config::{RebalanceMode, ServiceConfig, is_local};
use crate::credentials::Identity;
use crate::membership::Membership;
use crate::metrics::ServiceGauges;

/// How often members that have left are looked after, and gauges brought up to date.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long a member's version is believed: it changes with a restart, and that takes longer than to
/// ask all again.
const VERSION_LASTS: Duration = Duration::from_secs(30);

/// What a member says of its version.
type VersionReport = (Endpoint, Option<Version>);

/// The one task that decides for a service, and the owner of its pool.
#[derive(Debug)]
pub(super) struct Reconciler {
    config: Arc<ServiceConfig>,
    writer: PoolWriter,
    own: Vec<SocketAddr>,
    api_members: Members,
    /// Lets the sources begin: one that finds nobody to ask waits a second before it asks again.
    askable: CancellationToken,
    sources: Vec<SourceHandle>,
    identity: Identity,
    endpoints: EndpointSet,
    members: BTreeMap<Endpoint, Member>,
    membership: Membership,
    fails_open: bool,
    decider: Decider,
    /// How many resets the brake holds back.
    held: usize,
    /// When to decide again, if nothing changes before.
    decide_at: Option<Instant>,
    pacing: Pacing,
    /// One backend has more connections than it should.
    is_skewed: bool,
    balancer: Arc<Balancer>,
    view: watch::Sender<View>,
    gauges: ServiceGauges,
    reports: (mpsc::Sender<HealthReport>, mpsc::Receiver<HealthReport>),
    versions: (mpsc::Sender<VersionReport>, mpsc::Receiver<VersionReport>),
    around: Surroundings,
    random: fastrand::Rng,
}

/// What a reconciler works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) config: Arc<ServiceConfig>,
    pub(super) writer: PoolWriter,
    /// Our own listeners, those of other services included.
    pub(super) own: Vec<SocketAddr>,
    pub(super) api_members: Members,
    pub(super) askable: CancellationToken,
    pub(super) sources: Vec<SourceHandle>,
    pub(super) identity: Identity,
    pub(super) view: watch::Sender<View>,
    pub(super) balancer: Arc<Balancer>,
    pub(super) around: Surroundings,
}

impl Reconciler {
    /// A reconciler that has published what is known without waiting: what the config names can be
    /// served before the first probe has ended.
    pub(super) fn new(parts: Parts) -> Self {
        let Parts {
            config,
            writer,
            own,
            api_members,
            askable,
            sources,
            identity,
            view,
            balancer,
            around,
        } = parts;
        let failover = &config.failover;
        let mut reconciler = Self {
            gauges: ServiceGauges::new(&config.name),
            decider: Decider::new(failover.brake.into(), failover.drain.caps()),
            held: 0,
            decide_at: None,
            pacing: Pacing::new(failover.reset_rate),
            is_skewed: false,
            balancer,
            writer,
            config,
            own,
            api_members,
            askable,
            sources,
            identity,
            endpoints: EndpointSet::default(),
            members: BTreeMap::new(),
            membership: Membership::default(),
            fails_open: false,
            view,
            reports: mpsc::channel(QUEUE),
            versions: mpsc::channel(QUEUE),
            around,
            random: fastrand::Rng::new(),
        };
        reconciler.discover();
        reconciler
    }

    /// Decides until the process is aborted: also while it drains, a backend that dies must be
    /// reset.
    pub(super) async fn run(mut self) {
        let abort = self.around.shutdown.abort.clone();
        let (changed_sender, mut changed) = mpsc::channel(1);
        for source in &self.sources {
            let follow = notify(source.sighting.clone(), changed_sender.clone(), abort.clone());
            self.around.tasks.spawn("sightings", follow);
        }
        self.bootstrap_api_members().await;
        self.askable.cancel();
        let mut housekeeping = interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = abort.cancelled() => return,
                Some(report) = self.reports.1.recv() => self.believe(report),
                Some((endpoint, version)) = self.versions.1.recv() => {
                    if let Some(member) = self.members.get_mut(&endpoint) {
                        member.version = version;
                        self.decide();
                    }
                }
                () = at(self.decide_at) => self.decide(),
                Some(()) = changed.recv() => self.discover(),
                _ = housekeeping.tick() => {
                    self.forget_the_gone();
                    self.ask_for_versions();
                    self.rebalance();
                    if self.endpoints.is_empty() {
                        self.bootstrap_api_members().await;
                    }
                    self.show();
                }
            }
        }
    }

    /// Where there is no endpoint yet to ask for the others, the server that the kubeconfig names
    /// is asked. It never becomes an endpoint by that: it may be a balancer, even ourselves.
    async fn bootstrap_api_members(&mut self) {
        if !self.endpoints.is_empty() || !self.config.sources.iter().any(Source::needs_api) {
            return;
        }
        let server = self.identity.access.borrow().as_ref().map(|access| access.server.clone());
        let Some(server) = server.filter(|server| !server.host.is_empty()) else { return };
        match resolve_server(&server.host, server.port).await {
            Ok(addresses) => {
                let foreign = |address: &SocketAddr| !self.is_own(Endpoint::new(*address));
                self.api_members.set(addresses.into_iter().filter(foreign).collect());
            }
            Err(error) => {
                tracing::debug!(service = %self.config.name, %error, "server not resolved");
            }
        }
    }

    fn is_own(&self, endpoint: Endpoint) -> bool {
        self.own.iter().any(|own| {
            own.port() == endpoint.address().port()
                && (own.ip() == endpoint.ip()
                    || own.ip().is_unspecified() && is_local(endpoint.ip()))
        })
    }

    /// Makes the members what the sources say, and decides anew.
    fn discover(&mut self) {
        let mut seeds = EndpointSet::default();
        let mut listed: Option<EndpointSet> = None;
        for source in &self.sources {
            let sighting = source.sighting.borrow();
            match source.kind {
                Provenance::Static => seeds.extend(&sighting.endpoints),
                Provenance::EndpointSlice => {
                    listed.get_or_insert_default().extend(&sighting.endpoints);
                }
            }
        }
        let own: Vec<SocketAddr> = listed
            .iter()
            .flat_map(EndpointSet::iter)
            .filter(|endpoint| self.is_own(*endpoint))
            .map(Endpoint::address)
            .collect();
        let endpoints = merge(&self.endpoints, &seeds, listed.as_ref(), &own);
        let now = Instant::now();
        self.membership.note(&endpoints, now);
        for endpoint in endpoints.iter() {
            if let Some(member) = self.members.get_mut(&endpoint) {
                if member.leaving_since.take().is_some() {
                    self.note(endpoint, "is back in the membership".to_owned());
                }
            } else {
                let member = self.start_member(endpoint, now);
                self.members.insert(endpoint, member);
                let from: Vec<&str> =
                    endpoints.provenance(endpoint).iter().map(|p| p.as_str()).collect();
                self.note(endpoint, format!("joined (from {})", from.join(", ")));
            }
        }
        let left: Vec<Endpoint> = self
            .members
            .iter_mut()
            .filter(|(endpoint, member)| {
                !endpoints.contains(**endpoint) && member.leaving_since.is_none()
            })
            .map(|(endpoint, member)| {
                member.leaving_since = Some(now);
                *endpoint
            })
            .collect();
        for endpoint in left {
            self.note(endpoint, "left the membership; its connections go on".to_owned());
        }
        self.endpoints = endpoints;
        self.decide();
    }

    fn start_member(&mut self, endpoint: Endpoint, now: Instant) -> Member {
        let stop = self.around.shutdown.abort.child_token();
        let signs: Arc<Signs> = Arc::default();
        let prober = Prober::new(
            &self.config.name,
            endpoint,
            self.config.health.clone(),
            self.identity.trust.clone(),
            self.reports.0.clone(),
            signs.clone(),
            self.random.u64(..),
        );
        self.around.tasks.spawn("prober", prober.run(stop.clone()));
        Member {
            evidence: Evidence::NONE,
            since: now,
            class_since: now,
            silent_since: None,
            silent_look: None,
            alive_at: None,
            drained_since: None,
            away_since: None,
            last: None,
            leaving_since: None,
            is_local: self.config.local_first && is_local(endpoint.ip()),
            version: None,
            version_asked: None,
            signs,
            stop,
        }
    }

    /// Takes in what a probe saw.
    fn believe(&mut self, report: HealthReport) {
        let Some(member) = self.members.get_mut(&report.endpoint) else { return };
        let before = std::mem::replace(&mut member.evidence, report.evidence);
        let detail = report.outcome.detail.clone();
        let took = report.outcome.took;
        member.last = Some((report.outcome, report.at));
        let fell_silent = member.silent_since.is_none() && report.silent_since.is_some();
        member.silent_since = report.silent_since;
        member.silent_look = report.silent_look;
        member.alive_at = report.alive_at;
        if before.health != report.evidence.health {
            member.since = report.at;
        }
        if before.class != report.evidence.class {
            member.class_since = report.at;
            // It may have come back as another.
            member.version_asked = None;
        }
        if fell_silent {
            self.call_the_roll(Some(report.endpoint));
        }
        if report.evidence.health == Health::Ready
            && let Some(pace) = self.pacing.answered(took)
        {
            self.balancer.set_pace(pace);
        }
        if before == report.evidence {
            if self.members.values().any(|member| member.silent_since.is_some()) {
                // It may be a witness.
                self.decide();
            } else {
                self.show();
            }
            return;
        }
        let Evidence { health, class } = report.evidence;
        if before.health == Health::Dead && health == Health::Dead {
            // A host that is gone looks in turns as if no packet came back, and as if there were no
            // way to it: that is no news.
            self.decide();
            return;
        }
        tracing::info!(
            service = %self.config.name,
            backend = %report.endpoint,
            from = %before.health,
            to = %health,
            class = %class,
            reason = %detail,
            "health changed"
        );
        self.note(
            report.endpoint,
            format!("{} -> {health}: {} ({detail})", before.health, class.meaning()),
        );
        self.gauges.health_changed(report.endpoint, health);
        self.decide();
    }

    /// Asks all others how they are, so that it is known whether the fault is ours by the time that
    /// one of them is dead.
    fn call_the_roll(&self, silent: Option<Endpoint>) {
        for (endpoint, member) in &self.members {
            if Some(*endpoint) != silent && member.silent_since.is_none() {
                member.signs.look();
            }
        }
    }

    /// Decides what is done about every member, and does it.
    fn decide(&mut self) {
        let now = Instant::now();
        let cases: Vec<Case> =
            self.members.iter().map(|(endpoint, member)| member.case(*endpoint)).collect();
        let decision = self.decider.decide(&cases, now);
        self.decide_at = decision.until;
        let takes = Duration::from(self.config.failover.slow_start);
        let preferred = self.preferred();
        let placements: Vec<Placement> = self
            .members
            .iter_mut()
            .zip(decision.treatments)
            .map(|((endpoint, member), treatment)| Placement {
                endpoint: *endpoint,
                evidence: member.evidence,
                treatment,
                leaving: member.leaving_since.is_some(),
                preferred: preferred == Some(*endpoint),
                slow_start: member.comes_back(treatment, now).then_some(takes),
                signs: member.signs.clone(),
            })
            .collect();
        for (member, placement) in self.members.values_mut().zip(&placements) {
            member.drained_since = match placement.treatment {
                Treatment::Drain => member.drained_since.or(Some(now)),
                // Whoever was drained for long enough has been, and is not drained anew.
                Treatment::Reset => member.drained_since,
                Treatment::Serve => None,
            };
        }
        if decision.held > self.held {
            // Who is heard now is a witness; nobody waits for the interval.
            self.call_the_roll(None);
        }
        self.tell_of_treatments(&placements);
        self.writer.publish(&placements, now);
        self.tell_of_the_brake(decision.held);
        self.tell_of_fail_open();
        self.order_api_members();
        self.show();
    }

    /// Tells of connections that are about to be reset, before they are.
    fn tell_of_treatments(&mut self, placements: &[Placement]) {
        let before = self.writer.snapshot();
        for placement in placements {
            let known =
                before.members().iter().find(|m| m.backend.endpoint() == placement.endpoint);
            let was = known.map(|member| member.treatment);
            let open = known.map_or(0, |member| member.backend.active());
            if placement.treatment != Treatment::Reset || was == Some(Treatment::Reset) {
                continue;
            }
            self.pacing.resets_begin();
            if open > 0 {
                let why = placement.evidence.class.meaning();
                self.note(placement.endpoint, format!("its {open} connections are reset: {why}"));
            }
        }
    }

    /// One loud event when the brake takes hold, and one when it lets go.
    fn tell_of_the_brake(&mut self, held: usize) {
        let before = std::mem::replace(&mut self.held, held);
        self.gauges.held(held);
        let service = &self.config.name;
        let what = if held > 0 && before == 0 {
            let brake = self.config.failover.brake;
            let what = format!(
                "no other endpoint is heard, so the fault may be ours (the uplink, a paused \
                 machine, a wrong CA): nothing is reset for up to {brake}"
            );
            tracing::warn!(service, held, "{what}");
            what
        } else if held == 0 && before > 0 {
            tracing::info!(service, "the brake on resets is off");
            "the brake on resets is off".to_owned()
        } else {
            return;
        };
        self.around.timeline.push(SystemTime::now(), service, None, what);
    }

    fn tell_of_fail_open(&mut self) {
        let evidence: Vec<Evidence> = self
            .members
            .values()
            .filter(|member| member.leaving_since.is_none())
            .map(|member| member.evidence)
            .collect();
        // Before the first outcome nothing is known, which is no reason to raise an alarm.
        let known = evidence.iter().any(|e| e.health != Health::Unknown);
        let fails_open = known && treatment::fails_open(&evidence);
        if fails_open == self.fails_open {
            return;
        }
        self.fails_open = fails_open;
        let service = &self.config.name;
        let what = if fails_open {
            let what = match one_reason(&evidence) {
                Some(class) => format!(
                    "nothing is ready, all for one reason ({}): serving what answers (fail-open)",
                    class.meaning()
                ),
                None => "nothing is ready: serving what answers (fail-open)".to_owned(),
            };
            tracing::warn!(service, "{what}");
            what
        } else {
            tracing::info!(service, "fail-open ended");
            "fail-open ended".to_owned()
        };
        self.around.timeline.push(SystemTime::now(), service, None, what);
    }

    /// The API is asked through whoever is ready first.
    fn order_api_members(&self) {
        let mut members: Vec<(&Endpoint, &Member)> =
            self.members.iter().filter(|(_, member)| member.leaving_since.is_none()).collect();
        if members.is_empty() {
            return;
        }
        members.sort_by_key(|(_, member)| match member.evidence.health {
            Health::Ready => 0,
            Health::Unknown => 1,
            Health::Unready => 2,
            Health::Dead => 3,
            Health::Foreign => 4,
        });
        let usable = members.iter().filter(|(_, m)| m.evidence.health != Health::Foreign);
        self.api_members.set(usable.map(|(endpoint, _)| endpoint.address()).collect());
    }

    /// Lets go of members that have left and whose connections have ended.
    fn forget_the_gone(&mut self) {
        let gone: Vec<Endpoint> = self
            .members
            .iter()
            .filter(|(endpoint, member)| {
                member.leaving_since.is_some() && self.writer.active(**endpoint) == 0
            })
            .map(|(endpoint, _)| *endpoint)
            .collect();
        for endpoint in &gone {
            if let Some(member) = self.members.remove(endpoint) {
                member.stop.cancel();
                self.gauges.gone(*endpoint);
            }
        }
        if !gone.is_empty() {
            self.decide();
        }
    }

    /// The member on this host, if it goes first: while it is ready and not older than the rest.
    fn preferred(&self) -> Option<Endpoint> {
        let ready = || {
            self.members.iter().filter(|(_, member)| {
                member.evidence.health == Health::Ready && member.leaving_since.is_none()
            })
        };
        let newest = ready().map(|(_, member)| member.version).max().flatten();
        let goes_first = |member: &Member| member.is_local && member.version >= newest;
        ready().find(|(_, member)| goes_first(member)).map(|(endpoint, _)| *endpoint)
    }

    /// Asks the members for their versions, now and then, where it matters.
    fn ask_for_versions(&mut self) {
        if !self.config.local_first {
            return;
        }
        let now = Instant::now();
        for (endpoint, member) in &mut self.members {
            let is_fresh = member.version_asked.is_some_and(|asked| now - asked < VERSION_LASTS);
            if is_fresh || member.evidence.health != Health::Ready {
                continue;
            }
            member.version_asked = Some(now);
            let (endpoint, config) = (*endpoint, self.config.clone());
            let trust = self.identity.trust.borrow().clone();
            let (tell, stop) = (self.versions.0.clone(), member.stop.clone());
            self.around.tasks.spawn("version", async move {
                let asking = version(&config.health, &trust, endpoint);
                if let Some(version) = stop.run_until_cancelled(Box::pin(asking)).await {
                    // If nobody receives it, the service has ended.
                    tell.send((endpoint, version)).await.unwrap_or_default();
                }
            });
        }
    }

    /// Spreads connections anew, as far as the config wants it.
    fn rebalance(&mut self) {
        let config = &self.config.failover.rebalance;
        let pool = self.writer.snapshot();
        // Where one goes first on purpose, it has most.
        let skew = match pool.preferred() {
            Some(_) => None,
            None => rebalancing::skew(&pool, Instant::now()),
        };
        self.gauges.skew(skew.map_or(0.0, |skew| skew.percent / 100.0));
        let sheds = skew.map_or(0, |skew| skew.sheds(config.max_skew, config.rate));
        let is_on = match config.mode {
            RebalanceMode::Off => return,
            RebalanceMode::DryRun => false,
            RebalanceMode::On => true,
        };
        let backend = skew.and_then(|skew| pool.serving().get(skew.place));
        // What was not found in a second is not sought in the next incident.
        for other in pool.serving() {
            other.shed(0);
        }
        let was = std::mem::replace(&mut self.is_skewed, sheds > 0);
        let Some((backend, skew)) = backend.zip(skew).filter(|_| sheds > 0) else { return };
        if !was {
            let verb = if is_on { "are" } else { "would be" };
            let what = format!(
                "has {:.0} % more connections than each should: idle ones {verb} ended, {} a second \
                 at most",
                skew.percent, config.rate
            );
            tracing::info!(service = %self.config.name, backend = %backend.endpoint(), "{what}");
            self.note(backend.endpoint(), what);
        }
        if is_on {
            backend.shed(sheds);
            self.writer.sweep();
        }
    }

    /// Shows status and metrics how things stand.
    fn show(&mut self) {
        let now = Instant::now();
        let configured = self.config.members.map_or(0, |n| usize::try_from(n).unwrap_or(0));
        let pool = self.writer.snapshot();
        let members: Vec<MemberView> = pool
            .members()
            .iter()
            .filter_map(|placed| {
                let endpoint = placed.backend.endpoint();
                let member = self.members.get(&endpoint)?;
                Some(MemberView {
                    endpoint,
                    provenance: self.endpoints.provenance(endpoint).to_vec(),
                    evidence: member.evidence,
                    treatment: placed.treatment,
                    since: member.since,
                    last: member.last.clone(),
                    leaving: member.leaving_since.is_some(),
                })
            })
            .collect();
        let membership = self.membership.count(now).max(configured);
        let view = View { members, membership, fails_open: self.fails_open, held: self.held };
        self.gauges.show(&view, &pool, self.config.quorum);
        self.view.send_replace(view);
    }

    fn note(&self, endpoint: Endpoint, what: String) {
        tracing::debug!(service = %self.config.name, backend = %endpoint, what, "noted");
        self.around.timeline.push(
            SystemTime::now(),
            &self.config.name,
            Some(endpoint.to_string()),
            what,
        );
    }
}

/// The class that all have in common, where there are several.
fn one_reason(evidence: &[Evidence]) -> Option<Class> {
    let (first, rest) = evidence.split_first()?;
    (!rest.is_empty() && rest.iter().all(|e| e.class == first.class)).then_some(first.class)
}

/// Waits until a moment; for ever without one.
async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Tells of every change of a source, once for several.
async fn notify(
    mut sighting: watch::Receiver<Sighting>,
    changed: mpsc::Sender<()>,
    stop: CancellationToken,
) {
    while let Some(Ok(())) = stop.run_until_cancelled(sighting.changed()).await {
        match changed.try_send(()) {
            // Full: it is about to look anyway.
            Ok(()) | Err(mpsc::error::TrySendError::Full(())) => {}
            Err(mpsc::error::TrySendError::Closed(())) => return,
        }
    }
}
