//! One service: its sources and probers meet here, and nowhere else.
//!
//! ```text
//! Source::watch -> merge -> members -> Prober::run (one each)
//!                              ^            |
//!                              |      HealthReport
//! a client that could not      |            v
//! be connected -> "probe now" -+--- Reconciler::run -> treatment::decide -> PoolWriter::publish
//!                                          |                                      |
//!                                          v                                      v
//!                                   watch<View> (status)                 listeners, connections
//! ```

mod member;
mod pacing;
mod rebalancing;
mod reconciler;

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_core::endpoint::{Endpoint, Provenance};
use evenkeel_core::health::{Evidence, Health, Outcome};
use evenkeel_core::pool::Pool;
use evenkeel_core::shutdown::{Shutdown, Tasks};
use evenkeel_core::timeline::Timeline;
use evenkeel_core::treatment::Treatment;
use evenkeel_discovery::access::ApiAccess;
use evenkeel_discovery::members::Members;
use evenkeel_discovery::sighting::Sighting;
use evenkeel_discovery::source::Source;
use evenkeel_proxy::{Balancer, BindError, DataPlane, Listener};
use evenkeel_vip::config::VipConfig;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::reconciler::{Parts, Reconciler};
use crate::config::ServiceConfig;
use crate::credentials::{self, CredentialsError, Follower, Identity, PodEnvironment};
use crate::metrics::ListeningGauge;
use crate::vip::redirect;

/// Reports that may wait.
const QUEUE: usize = 64;

/// What is known of a service now; for status, never for a decision.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) members: Vec<MemberView>,
    /// How many members the service has, those included that are not listed just now.
    pub(crate) membership: usize,
    /// Whether something is served that is not ready, because nothing is.
    pub(crate) fails_open: bool,
    /// How many resets are held back, because nobody is heard.
    pub(crate) held: usize,
}

/// What is known of one member.
#[derive(Clone, Debug)]
pub(crate) struct MemberView {
    pub(crate) endpoint: Endpoint,
    pub(crate) provenance: Vec<Provenance>,
    pub(crate) evidence: Evidence,
    pub(crate) treatment: Treatment,
    /// When its health last changed.
    pub(crate) since: Instant,
    pub(crate) last: Option<(Outcome, Instant)>,
    pub(crate) leaving: bool,
}

impl View {
    /// How many members say that they can serve.
    pub(crate) fn ready(&self) -> usize {
        self.members.iter().filter(|m| !m.leaving && m.evidence.health == Health::Ready).count()
    }
}

/// A source, as status shows it.
#[derive(Clone, Debug)]
pub(crate) struct SourceHandle {
    pub(crate) kind: Provenance,
    pub(crate) sighting: watch::Receiver<Sighting>,
}

/// A running service.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) config: Arc<ServiceConfig>,
    pub(crate) view: watch::Receiver<View>,
    pub(crate) pool: Pool,
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) listeners: Vec<SocketAddr>,
    /// Those that are bound to another port, with where they are bound.
    pub(crate) redirected: Vec<(SocketAddr, SocketAddr)>,
    pub(crate) identity: Identity,
    pub(crate) sources: Vec<SourceHandle>,
}

/// Why a service does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// Its listener cannot be bound.
    #[error("service `{service}` cannot listen")]
    Bind { service: String, source: BindError },
    /// The TLS library has none of what it needs.
    #[error("service `{service}` has no TLS")]
    Credentials { service: String, source: CredentialsError },
}

/// What all services share.
#[derive(Clone, Debug)]
pub(crate) struct Surroundings {
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: Tasks,
    pub(crate) data_plane: DataPlane,
    /// How many threads that has: each listener is bound for as many.
    pub(crate) data_threads: usize,
    pub(crate) timeline: Timeline,
    pub(crate) pod: PodEnvironment,
    /// The listeners of all services: addresses that discovery must not bring in.
    pub(crate) listeners: Vec<SocketAddr>,
    pub(crate) vips: Vec<VipConfig>,
    /// Endpoints that the config names and that are this host itself.
    pub(crate) on_this_host: Vec<SocketAddr>,
}

impl Service {
    /// Binds the listeners and starts the tasks of a service.
    ///
    /// # Errors
    /// If a listener cannot be bound. What was bound before is closed again.
    pub(crate) fn start(config: ServiceConfig, around: &Surroundings) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let (shutdown, tasks) = (&around.shutdown, &around.tasks);
        let bound = config
            .listen
            .addresses
            .iter()
            .map(|address| {
                let (vips, local) = (&around.vips, &around.on_this_host);
                redirect::bind(*address, vips, local, &config.relay, around.data_threads)
            })
            .collect::<Result<Vec<_>, _>>()
            .map_err(|source| StartError::Bind { service: config.name.clone(), source })?;
        let identity = identity(&config, around)
            .map_err(|source| StartError::Credentials { service: config.name.clone(), source })?;

        let (writer, pool) = Pool::new();
        let balancer = Balancer::new(
            &config.name,
            pool.clone(),
            &config.listen,
            config.connect.clone(),
            config.relay.clone(),
            config.policy.clone(),
            config.failover.rebalance.idle.into(),
        );
        let mut own = around.listeners.clone();
        own.extend(bound.iter().flat_map(|listener| [listener.address(), listener.bound()]));
        let redirected = bound
            .iter()
            .map(|listener| (listener.address(), listener.bound()))
            .filter(|(address, bound)| address != bound)
            .collect();
        let members = Members::new(Vec::new());
        let askable = CancellationToken::new();
        let sources = watch_sources(&config, &identity, &members, &askable, around);
        let (view_sender, view) = watch::channel(View::default());
        let reconciler = Reconciler::new(Parts {
            config: config.clone(),
            writer,
            own,
            api_members: members,
            askable,
            sources: sources.clone(),
            identity: identity.clone(),
            view: view_sender,
            balancer: balancer.clone(),
            around: around.clone(),
        });

        let listeners = bound.iter().map(Listener::address).collect();
        for listener in bound {
            tracing::info!(service = %config.name, listener = %listener.address(), "listening");
            let listening = ListeningGauge::new(&config.name, listener.address());
            around.data_plane.serve(listener, &balancer);
            let drain = shutdown.drain.clone();
            tasks.spawn("listening", async move {
                drain.cancelled().await;
                drop(listening);
            });
        }
        tasks.spawn("sweeper", around.data_plane.clone().sweep(balancer.clone()));
        tasks.spawn_essential("reconciler", shutdown, reconciler.run());
        Ok(Self { config, view, pool, balancer, listeners, redirected, identity, sources })
    }
}

fn identity(config: &ServiceConfig, around: &Surroundings) -> Result<Identity, CredentialsError> {
    let Some(credentials) = &config.credentials else { return credentials::anonymous() };
    let (follower, identity) =
        Follower::new(&config.name, credentials.clone(), around.pod.clone())?;
    around.tasks.spawn("credentials", follower.run(around.shutdown.abort.clone()));
    Ok(identity)
}

fn watch_sources(
    config: &ServiceConfig,
    identity: &Identity,
    members: &Members,
    askable: &CancellationToken,
    around: &Surroundings,
) -> Vec<SourceHandle> {
    let start = |source: &Source| {
        let (sender, sighting) = watch::channel(Sighting::default());
        if let Source::Static(list) = source {
            // Known without waiting for a task.
            sender.send_modify(|sighting| sighting.endpoints = list.seeds());
        }
        let api = ApiAccess { access: identity.access.clone(), members: members.clone() };
        let (source, name) = (source.clone(), config.name.clone());
        let kind = source.provenance();
        let (askable, stop) = (askable.clone(), around.shutdown.abort.clone());
        around.tasks.spawn("source", async move {
            if stop.run_until_cancelled(askable.cancelled()).await.is_some() {
                source.watch(&name, api, sender, stop).await;
            }
        });
        SourceHandle { kind, sighting }
    };
    config.sources.iter().map(start).collect()
}
