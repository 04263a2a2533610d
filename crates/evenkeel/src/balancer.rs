//! The whole load balancer, from start to end: the same for `run` and for `demo`.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_admin::server::{BoundServer, Server};
use evenkeel_core::shutdown::{Shutdown, Tasks};
use evenkeel_core::timeline::Timeline;
use evenkeel_discovery::source::Source;
use evenkeel_proxy::DataPlane;
use evenkeel_vip::config::VipConfig;
use futures::future::join_all;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::time::timeout;

use crate::config::{Config, ServiceConfig, is_local};
use crate::control;
use crate::credentials::PodEnvironment;
use crate::observer::Observer;
use crate::service::{Service, StartError, Surroundings};
use crate::vip::{self, Claims, RunningVip, redirect};

/// After an abort tasks only have to let go of their sockets.
const LAST: Duration = Duration::from_secs(5);

/// A running load balancer.
#[derive(Debug)]
pub(crate) struct LoadBalancer {
    pub(crate) services: Vec<Service>,
    pub(crate) timeline: Timeline,
    pub(crate) shutdown: Shutdown,
    pub(crate) admin: Option<SocketAddr>,
    data_plane: DataPlane,
    /// Those of the data threads, whose end is waited for first.
    connections: Tasks,
    tasks: Tasks,
    drain_timeout: Duration,
    vips: Vec<RunningVip>,
    /// That no other process of this host moves the same addresses.
    _claims: Vec<Claims>,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BalancerError {
    /// The admin endpoint has no listener.
    #[error("the admin endpoint has no listener")]
    Admin(#[source] evenkeel_admin::server::BindError),
    /// The data threads do not start.
    #[error("the data threads do not start")]
    DataPlane(#[source] io::Error),
    /// A service does not start.
    #[error(transparent)]
    Service(#[from] StartError),
    /// A VIP does not start.
    #[error("VIP `{vip}` does not start")]
    Vip {
        /// Its name.
        vip: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every connection ended by itself.
    Drained,
    /// `shutdown.drainTimeout` passed, and the rest was reset.
    TimedOut,
    /// It was told not to wait.
    Hurried,
}

impl LoadBalancer {
    /// Binds everything and starts. Nothing is left running where that fails.
    ///
    /// # Errors
    /// If a listener cannot be bound.
    pub(crate) async fn start(
        config: Config,
        config_hash: String,
        prometheus: PrometheusHandle,
        pod: PodEnvironment,
    ) -> Result<Self, BalancerError> {
        let (shutdown, tasks, connections) = (Shutdown::new(), Tasks::new(), Tasks::new());
        let timeline = Timeline::new();
        let listeners = config
            .services
            .iter()
            .flat_map(|service| &service.listen.addresses)
            .map(|address| address.address())
            .collect();
        let claims = config
            .vips
            .iter()
            .map(|vip| {
                Claims::of(vip)
                    .map_err(|source| BalancerError::Vip { vip: vip.name.clone(), source })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let data_threads = config.data_plane.threads();
        let data_plane = DataPlane::start(data_threads, &connections, &shutdown)
            .map_err(BalancerError::DataPlane)?;
        let around = Surroundings {
            shutdown: shutdown.clone(),
            tasks: tasks.clone(),
            data_plane: data_plane.clone(),
            data_threads,
            timeline: timeline.clone(),
            pod,
            listeners,
            vips: config.vips.clone(),
            on_this_host: on_this_host(&config.services),
        };
        let started = config
            .services
            .into_iter()
            .map(|service| Service::start(service, &around))
            .collect::<Result<Vec<_>, _>>()
            .map_err(BalancerError::from);
        let started = match started {
            Ok(services) => {
                start_vips(config.vips, &services, &around).await.map(|vips| (services, vips))
            }
            Err(error) => Err(error),
        };
        let (services, vips) = match started {
            Ok(started) => started,
            Err(error) => {
                shutdown.abort_now();
                connections.wait().await;
                tasks.wait().await;
                return Err(error);
            }
        };
        let observer = Arc::new(Observer::new(
            services.clone(),
            vips.clone(),
            timeline.clone(),
            shutdown.clone(),
            config_hash,
        ));
        let server = match Server::new(config.admin, prometheus, observer).bind().await {
            Ok(server) => server,
            Err(error) => {
                close(&vips).await;
                shutdown.abort_now();
                connections.wait().await;
                tasks.wait().await;
                return Err(BalancerError::Admin(error));
            }
        };
        let admin = server.address();
        if let Some(admin) = admin
            && let Err(error) = control::start(admin, vips.clone(), &tasks, &shutdown)
        {
            tracing::warn!(%error, "`evenkeel vip move` cannot reach this process");
        }
        tasks.spawn("admin", serve(server, shutdown.clone()));
        Ok(Self {
            services,
            timeline,
            shutdown,
            admin,
            data_plane,
            connections,
            tasks,
            drain_timeout: config.shutdown.drain_timeout.duration(),
            vips,
            _claims: claims,
        })
    }

    /// Takes it down: first each VIP is handed over, while its clients are still accepted. Then
    /// listeners, then, when connections have ended or `hurry` resolves or
    /// the drain timeout passes, everything.
    pub(crate) async fn end(self, hurry: impl Future<Output = ()>) -> Ended {
        join_all(self.vips.iter().map(RunningVip::hand_over)).await;
        self.shutdown.drain.cancel();
        let ended = tokio::select! {
            biased;
            () = self.connections.wait() => Ended::Drained,
            () = hurry => Ended::Hurried,
            () = tokio::time::sleep(self.drain_timeout) => Ended::TimedOut,
        };
        let open = self.data_plane.open();
        if open > 0 {
            tracing::warn!(open, "connections reset: they did not end in time");
        }
        close(&self.vips).await;
        self.shutdown.abort_now();
        let all = async {
            self.connections.wait().await;
            self.tasks.wait().await;
        };
        if timeout(LAST, all).await.is_err() {
            tracing::error!(tasks = self.tasks.running(), "tasks did not end");
        }
        ended
    }

    /// The essential task that ended early, if one has.
    pub(crate) fn ended_early(&self) -> Option<&'static str> {
        self.tasks.ended_early().or_else(|| self.connections.ended_early())
    }
}

/// The endpoints that the config names and that are this host itself.
fn on_this_host(services: &[ServiceConfig]) -> Vec<SocketAddr> {
    let seeds = services.iter().flat_map(|service| &service.sources).map(|source| match source {
        Source::Static(list) => list.endpoints.as_slice(),
        Source::EndpointSlice(_) => &[],
    });
    let endpoints = seeds.flatten().map(|endpoint| endpoint.address());
    endpoints.filter(|endpoint| is_local(endpoint.ip())).collect()
}

async fn start_vips(
    configs: Vec<VipConfig>,
    services: &[Service],
    around: &Surroundings,
) -> Result<Vec<RunningVip>, BalancerError> {
    let redirected: Vec<_> =
        services.iter().flat_map(|service| service.redirected.clone()).collect();
    let redirect = redirect::start(&redirected, &around.tasks, &around.shutdown);
    let around = vip::Around {
        services,
        data_plane: &around.data_plane,
        tasks: &around.tasks,
        shutdown: &around.shutdown,
        timeline: &around.timeline,
        redirect,
    };
    let mut vips = Vec::with_capacity(configs.len());
    for config in configs {
        let name = config.name.clone();
        match RunningVip::start(config, &around) {
            Ok(vip) => vips.push(vip),
            Err(source) => {
                close(&vips).await;
                return Err(BalancerError::Vip { vip: name, source });
            }
        }
    }
    Ok(vips)
}

async fn close(vips: &[RunningVip]) {
    join_all(vips.iter().map(RunningVip::close)).await;
}

/// Runs the admin endpoint to the very end, so that `/readyz` can say that we drain.
async fn serve(server: BoundServer, shutdown: Shutdown) {
    server.run(shutdown.abort.clone()).await;
}
