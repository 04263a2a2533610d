//! What the admin endpoint is told: built from the services when it is asked.

use std::time::Duration;

use evenkeel_admin::observe::Observe;
use evenkeel_admin::readiness::Check;
use evenkeel_admin::status::{
    BackendStatus, EventStatus, ListenerStatus, ProbeStatus, STATUS_SCHEMA, ServiceStatus,
    SourceStatus, Status, VipStatus,
};
use evenkeel_core::health::{Class, Health};
use evenkeel_core::shutdown::Shutdown;
use evenkeel_core::timeline::Timeline;
use evenkeel_core::tolerance::Tolerance;
use evenkeel_health::Verify;
use evenkeel_health::probe::Probe;
use tokio::time::Instant;

use crate::service::{MemberView, Service, View};
use crate::vip::{RunningVip, owns};

/// Looks at the services.
#[derive(Debug)]
pub(crate) struct Observer {
    services: Vec<Service>,
    vips: Vec<RunningVip>,
    timeline: Timeline,
    shutdown: Shutdown,
    config_hash: String,
    node: String,
    started: Instant,
}

impl Observer {
    pub(crate) fn new(
        services: Vec<Service>,
        vips: Vec<RunningVip>,
        timeline: Timeline,
        shutdown: Shutdown,
        config_hash: String,
    ) -> Self {
        let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { services, vips, timeline, shutdown, config_hash, node, started: Instant::now() }
    }
}

impl Observe for Observer {
    fn status(&self) -> Status {
        let draining = self.shutdown.drain.is_cancelled();
        Status {
            schema: STATUS_SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node: self.node.clone(),
            uptime_seconds: self.started.elapsed().as_secs(),
            pid: std::process::id(),
            config_hash: self.config_hash.clone(),
            draining,
            services: self.services.iter().map(|s| service_status(s, draining)).collect(),
            vips: self.vips.iter().map(vip_status).collect(),
        }
    }

    /// Ready is: the listeners are bound, one of the services has a backend to serve with, and we
    /// are not on the way down. That one backend has failed is no reason: we serve through others.
    fn readiness(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        for service in &self.services {
            // A service whose listeners are not bound does not start.
            checks.push(Check::ok(format!("listener {}", service.config.name)));
        }
        let serving =
            self.services.iter().any(|service| !service.pool.snapshot().serving().is_empty());
        checks.push(if serving {
            Check::ok("backends")
        } else {
            Check::failed("backends", "no service has a backend to serve with")
        });
        checks.push(if self.shutdown.drain.is_cancelled() {
            Check::failed("shutdown", "draining")
        } else {
            Check::ok("shutdown")
        });
        checks
    }

    fn events(&self, since: u64) -> Vec<EventStatus> {
        self.timeline.since(since).into_iter().map(EventStatus::from).collect()
    }
}

fn service_status(service: &Service, draining: bool) -> ServiceStatus {
    let config = &service.config;
    let view = service.view.borrow().clone();
    let tolerance = Tolerance::of(config.quorum, view.ready(), view.membership);
    let mut connections = 0;
    let backends: Vec<BackendStatus> = view
        .members
        .iter()
        .map(|member| {
            let snapshot = service.pool.snapshot();
            let live = snapshot.members().iter().find(|m| m.backend.endpoint() == member.endpoint);
            let open = live.map_or(0, |m| m.backend.active()) as u64;
            connections += open;
            backend_status(member, open)
        })
        .collect();
    ServiceStatus {
        name: config.name.clone(),
        preset: Some(config.preset.to_string()),
        listeners: service
            .listeners
            .iter()
            .map(|address| ListenerStatus { address: address.to_string(), bound: !draining })
            .collect(),
        verdict: tolerance.words(config.quorum),
        ready: tolerance.ready,
        members: tolerance.members,
        needed: tolerance.needed,
        tolerable: tolerance.tolerable,
        fails_open: view.fails_open,
        resets_held: view.held,
        identity_verified: identity_verified(service),
        policy: service.balancer.policy().name().to_owned(),
        connections,
        total_connections: service.balancer.accepted(),
        sources: service
            .sources
            .iter()
            .map(|source| {
                let sighting = source.sighting.borrow();
                SourceStatus {
                    kind: source.kind.as_str().to_owned(),
                    endpoints: sighting.endpoints.len(),
                    last_sync_seconds_ago: sighting.synced.map(|at| seconds(at.elapsed())),
                    error: sighting.error.clone(),
                }
            })
            .collect(),
        backends,
        warnings: warnings(service, &view),
    }
}

fn vip_status(vip: &RunningVip) -> VipStatus {
    let config = &vip.config;
    let view = vip.view.borrow();
    let mut warnings = Vec::new();
    if let Some((trouble, _)) = view.trouble.as_ref().filter(|(_, at)| at.elapsed() < RIVAL) {
        warnings.push(format!("could not {trouble}"));
    }
    if let Some((mac, _)) = view.rival.as_ref().filter(|(_, at)| at.elapsed() < RIVAL) {
        warnings.push(format!("{mac} uses the address too"));
    }
    let elects = config.elects();
    VipStatus {
        name: config.name.clone(),
        addresses: config.addresses.iter().map(ToString::to_string).collect(),
        mode: config.mode_name().to_owned(),
        interface: view.interface.clone(),
        state: view.state.as_str().to_owned(),
        owned: owns(view.state),
        since_seconds: seconds(view.since.elapsed()),
        why: view.why.clone(),
        owner: view.peer.as_ref().map(|(owner, _)| owner.clone()),
        class: view.class.map(|class| class.as_str().to_owned()),
        class_why: view.class_why.clone(),
        vrid: elects.then(|| config.vrid()),
        rank: view.rank,
        hook: view.hook.clone(),
        warnings,
    }
}

/// How long trouble, and somebody else who uses the address, is shown after it was told last.
const RIVAL: Duration = Duration::from_secs(60);

fn identity_verified(service: &Service) -> bool {
    let verify = match &service.config.health.probe {
        Probe::Tcp(_) => return false,
        Probe::Tls(probe) => probe.verify,
        Probe::Https(probe) => probe.verify,
        Probe::KubeApiserver(_) => Verify::Auto,
    };
    verify == Verify::Auto && service.identity.trust.borrow().verifies_identity()
}

fn backend_status(member: &MemberView, connections: u64) -> BackendStatus {
    BackendStatus {
        endpoint: member.endpoint.to_string(),
        health: member.evidence.health,
        class: member.evidence.class,
        why: BackendStatus::why(member.evidence.class),
        treatment: member.treatment,
        since_seconds: seconds(member.since.elapsed()),
        last_probe: member.last.as_ref().map(|(outcome, at)| ProbeStatus {
            detail: outcome.detail.clone(),
            took_ms: seconds(outcome.took) * 1000.0,
            seconds_ago: seconds(at.elapsed()),
        }),
        connections,
        provenance: member.provenance.iter().map(|p| p.as_str().to_owned()).collect(),
        leaving: member.leaving,
    }
}

fn warnings(service: &Service, view: &View) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(trouble) = service.identity.trouble.borrow().as_ref() {
        warnings.push(format!("credentials cannot be used: {trouble}"));
    }
    let asks_for_identity = matches!(service.config.health.probe, Probe::KubeApiserver(_));
    if asks_for_identity && !identity_verified(service) {
        warnings.push(
            "the identity of the backends is not verified: set `credentials` with the cluster's CA"
                .to_owned(),
        );
    }
    if view.fails_open {
        warnings.push("nothing is ready: what answers is served (fail-open)".to_owned());
    }
    if view.held > 0 {
        warnings.push(
            "no other endpoint is heard, so the fault may be ours: resets are held back".to_owned(),
        );
    }
    let asks = |class: Class| matches!(class, Class::Unauthorized | Class::Forbidden);
    if view.members.iter().any(|member| asks(member.evidence.class)) {
        warnings.push(
            "backends want a credential before they tell whether they are ready: set `credentials`"
                .to_owned(),
        );
    }
    let foreign = view.members.iter().filter(|m| m.evidence.health == Health::Foreign);
    for member in foreign {
        warnings.push(format!("{} proves to be of another cluster", member.endpoint));
    }
    for source in &service.sources {
        if let Some(error) = &source.sighting.borrow().error {
            warnings.push(format!("source {}: {error}", source.kind.as_str()));
        }
    }
    warnings
}

/// Seconds with milliseconds: more says nothing.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
