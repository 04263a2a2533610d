//! What all connections of a service share.

use std::sync::Arc;

use evenkeel_core::backend::Backend;
use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::pool::Pool;
use tokio::sync::mpsc;

use crate::admission::Admission;
use crate::config::{ConnectConfig, ListenConfig, RelayConfig};
use crate::metrics::ServiceMetrics;
use crate::policy::Policy;

/// A service, as the data plane sees it.
#[derive(Debug)]
pub struct Balancer {
    pub(crate) name: String,
    pub(crate) pool: Pool,
    pub(crate) connect: ConnectConfig,
    pub(crate) relay: RelayConfig,
    pub(crate) policy: Policy,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: ServiceMetrics,
    suspects: mpsc::Sender<Endpoint>,
}

impl Balancer {
    /// Makes the data plane of the service `name` over `pool`. An endpoint that a client could not
    /// be connected to is sent to `suspects`, so that its prober looks now.
    ///
    /// Takes metric handles: the recorder must be installed before.
    pub fn new(
        name: &str,
        pool: Pool,
        listen: &ListenConfig,
        connect: ConnectConfig,
        relay: RelayConfig,
        policy: Policy,
        suspects: mpsc::Sender<Endpoint>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            pool,
            connect,
            relay,
            policy,
            metrics: ServiceMetrics::new(name, listen.max_connections),
            admission: Admission::new(listen),
            suspects,
        })
    }

    /// Connections accepted so far, those that were rejected not among them.
    pub fn accepted(&self) -> u64 {
        self.metrics.accepted_so_far()
    }

    /// The policy, for people.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Has the endpoint probed now.
    pub(crate) fn suspect(&self, endpoint: Endpoint) {
        // A full queue means that its prober is about to look anyway.
        if let Err(full) = self.suspects.try_send(endpoint) {
            tracing::trace!(reason = %full, "prober not told");
        }
    }

    /// Whether the backend would be picked now, or be tried as one of the reserve: if not, its
    /// prober has found it wanting since.
    pub(crate) fn would_try(&self, endpoint: Endpoint, reserve: bool) -> bool {
        let snapshot = self.pool.snapshot();
        let is_it = |backend: &Arc<Backend>| backend.endpoint() == endpoint;
        snapshot.serving().iter().any(is_it) || reserve && snapshot.reserve().iter().any(is_it)
    }
}
