//! What all connections of a service share.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backend::Backend;
use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::pool::Pool;

use crate::admission::Admission;
use crate::config::{ConnectConfig, ListenConfig, RelayConfig};
use crate::metrics::ServiceMetrics;
use crate::policy::Policy;
use crate::reset::Pace;

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
    pub(crate) pace: Pace,
    /// How long a connection that is ended for balance's sake must have been idle.
    pub(crate) shed_idle: Duration,
}

impl Balancer {
    /// Makes the data plane of the service `name` over `pool`. Where a backend is to shed
    /// connections, those go that have been idle for `shed_idle`.
    ///
    /// Takes metric handles: the recorder must be installed before.
    pub fn new(
        name: &str,
        pool: Pool,
        listen: &ListenConfig,
        connect: ConnectConfig,
        relay: RelayConfig,
        policy: Policy,
        shed_idle: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            pool,
            connect,
            relay,
            policy,
            metrics: ServiceMetrics::new(name, listen.max_connections),
            admission: Admission::new(listen),
            pace: Pace::default(),
            shed_idle,
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

    /// How many connections a second may be reset from now on, where there are many.
    pub fn set_pace(&self, resets: u32) {
        self.pace.set(resets);
    }

    /// Whether the backend would be picked now, or be tried as one of the reserve: if not, its
    /// prober has found it wanting since.
    pub(crate) fn would_try(&self, endpoint: Endpoint, reserve: bool) -> bool {
        let snapshot = self.pool.snapshot();
        let is_it = |backend: &Arc<Backend>| backend.endpoint() == endpoint;
        snapshot.serving().iter().any(is_it) || reserve && snapshot.reserve().iter().any(is_it)
    }
}
