//! One connection, from accept to account.

use std::net::SocketAddr;
use std::sync::Arc;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::pool::Pool;
use evenkeel_core::shutdown::{Shutdown, Tasks};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::account::{self, Ended, Record};
use crate::admission::{Admission, Permit};
use crate::config::{ConnectConfig, ListenConfig, RelayConfig};
use crate::connect::ConnectError;
use crate::metrics::ServiceMetrics;
use crate::open::{self, Opened};
use crate::policy::Policy;
use crate::{relay, socket};

/// What all connections of a service share.
#[derive(Debug)]
pub struct Balancer {
    pub(crate) name: String,
    pub(crate) pool: Pool,
    pub(crate) config: Settings,
    pub(crate) admission: Admission,
    pub(crate) metrics: ServiceMetrics,
    pub(crate) suspects: mpsc::Sender<Endpoint>,
    pub(crate) shutdown: Shutdown,
    pub(crate) tasks: Tasks,
}

/// The tables of the config that the data plane obeys.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) connect: ConnectConfig,
    pub(crate) relay: RelayConfig,
    pub(crate) policy: Policy,
}

impl Balancer {
    /// Makes the data plane of the service `name` over `pool`. An endpoint that a client could not
    /// be connected to is sent to `suspects`, so that its prober looks now.
    ///
    /// Takes metric handles: the recorder must be installed before.
    #[expect(clippy::too_many_arguments, reason = "the parts of a service, each used as it is")]
    pub fn new(
        name: &str,
        pool: Pool,
        listen: &ListenConfig,
        connect: ConnectConfig,
        relay: RelayConfig,
        policy: Policy,
        suspects: mpsc::Sender<Endpoint>,
        shutdown: Shutdown,
        tasks: Tasks,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            pool,
            config: Settings { connect, relay, policy },
            admission: Admission::new(listen.max_connections),
            metrics: ServiceMetrics::new(name),
            suspects,
            shutdown,
            tasks,
        })
    }

    /// Connections accepted so far, those that were rejected not among them.
    pub fn accepted(&self) -> u64 {
        self.metrics.accepted_so_far()
    }

    /// Has the endpoint probed now.
    pub(crate) fn suspect(&self, endpoint: Endpoint) {
        // A full queue means that its prober is about to look anyway.
        if let Err(full) = self.suspects.try_send(endpoint) {
            tracing::trace!(reason = %full, "prober not told");
        }
    }

    /// The policy, for people.
    pub fn policy(&self) -> &Policy {
        &self.config.policy
    }
}

/// Serves one accepted client to its end.
pub(crate) async fn serve(
    balancer: Arc<Balancer>,
    client: TcpStream,
    address: SocketAddr,
    permit: Permit,
) {
    let started = Instant::now();
    let mut client = client;
    // In a box of its own, which is gone once the backend speaks: most connections live for hours
    // after it.
    let opened = Box::pin(open::open(&balancer, &mut client)).await;
    let Opened { stream: mut backend, slot, said } = match opened {
        Ok(opened) => opened,
        Err(error) => {
            socket::reset(client);
            drop(permit);
            reject(&balancer, address, &error);
            return;
        }
    };
    let mut relayed = relay::relay(
        &mut client,
        &mut backend,
        balancer.config.relay.idle_timeout,
        &slot,
        &balancer.shutdown.abort,
    )
    .await;
    relayed.to_backend = relayed.to_backend.saturating_add(said);
    match relayed.ended {
        Ended::Finished => {}
        Ended::ClientReset | Ended::BackendReset | Ended::Idle | Ended::Reset | Ended::Aborted => {
            // Both legs, so that neither end waits for what will not come.
            socket::reset(client);
            socket::reset(backend);
        }
    }
    let record = Record {
        service: &balancer.name,
        client: address,
        backend: slot.backend().endpoint(),
        duration: started.elapsed(),
        relayed,
    };
    account::account(&balancer.metrics, &record);
    drop((slot, permit));
}

fn reject(balancer: &Balancer, client: SocketAddr, error: &ConnectError) {
    let reason = match error {
        ConnectError::NoneServed => "no_backend",
        ConnectError::AllFailed { .. } => "all_failed",
        ConnectError::Timeout { .. } => "timeout",
        ConnectError::ClientGone => "client_gone",
        ConnectError::Aborted => "aborted",
    };
    balancer.metrics.rejected(reason);
    tracing::debug!(
        service = %balancer.name,
        %client,
        error = error as &dyn std::error::Error,
        "client reset: no backend"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_costs_little_while_it_is_idle() {
        let (_writer, pool) = Pool::new();
        let (suspects, _rx) = mpsc::channel(1);
        let balancer = Balancer::new(
            "api",
            pool,
            &ListenConfig::on(Vec::new()),
            ConnectConfig::default(),
            RelayConfig::default(),
            Policy::default(),
            suspects,
            Shutdown::new(),
            Tasks::new(),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (client, accepted) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        let (stream, address) = accepted.unwrap();
        let permit = balancer.admission.admit().unwrap();
        let future = serve(balancer, stream, address, permit);
        let size = size_of_val(&future);
        assert!(size <= 1536, "the future of a connection has {size} bytes");
        drop(client);
    }
}
