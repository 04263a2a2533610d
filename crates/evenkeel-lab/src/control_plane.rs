//! The whole control plane: its servers, what they share, and the switches of a test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use rustls::ServerConfig;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::api_server::ApiSite;
use crate::certificates::{Authority, CertificateError, Identity, SERVING_NAMES};
use crate::client_auth::Authenticator;
use crate::cluster::{Cluster, ServiceName, SliceAnswer};
use crate::fault::Fault;
use crate::kubeconfig;
use crate::server::{Blueprint, Server, Site};
use crate::tls::{self, TlsError};

/// How large a control plane to start.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of API servers.
    pub api_servers: usize,
    /// The number of argocd-servers.
    pub argocd_servers: usize,
    /// The port of the first API server; the other servers take those after it. 0 takes any.
    pub first_port: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self { api_servers: 3, argocd_servers: 2, first_port: 0 }
    }
}

/// Why no control plane was started.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// A certificate was not issued.
    #[error("the control plane has no certificates")]
    Certificate(#[from] CertificateError),
    /// The certificates cannot be put to use.
    #[error("the control plane has no TLS")]
    Tls(#[from] TlsError),
    /// An address is not free.
    #[error("{name} could not listen on {address}")]
    Listen {
        /// The server.
        name: String,
        /// Where it was to listen.
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Servers under one certificate authority that tell the same state.
///
/// Dropping it ends its tasks too, without waiting for them.
#[derive(Debug)]
pub struct ControlPlane {
    authority: Authority,
    argocd_authority: Authority,
    admin: Identity,
    cluster: Arc<Cluster>,
    api_servers: Vec<Server>,
    argocd_servers: Vec<Server>,
    tasks: TaskTracker,
    shutdown: DropGuard,
}

impl ControlPlane {
    /// Starts the servers on loopback; all of them are members of `default/kubernetes` at once.
    /// Needs a tokio runtime.
    ///
    /// # Errors
    ///
    /// - [`LabError::Certificate`], [`LabError::Tls`]: the provider fails.
    /// - [`LabError::Listen`]: a port is taken.
    #[expect(clippy::unused_async, reason = "it spawns tasks, so it has to run in a runtime")]
    pub async fn start(options: Options) -> Result<Self, LabError> {
        let authority = Authority::new("evenkeel lab")?;
        let argocd_authority = Authority::new("evenkeel lab argocd")?;
        let stranger = Authority::new("evenkeel lab stranger")?;
        let admin = authority.client_certificate("lab-admin", "system:masters")?;
        let foreign = tls::server(&stranger.serving_certificate(&SERVING_NAMES)?)?;
        let cluster = Arc::new(Cluster::new(authority.pem()));
        let shutdown = CancellationToken::new();
        let mut starter = Starter {
            next_port: options.first_port,
            foreign,
            tasks: TaskTracker::new(),
            shutdown: shutdown.clone(),
        };
        // From here on a failure ends the servers that were already started.
        let shutdown = shutdown.drop_guard();

        let own = tls::server(&authority.serving_certificate(&SERVING_NAMES)?)?;
        let authenticator = Arc::new(Authenticator::new(authority.pem(), TOKEN)?);
        let mut api_servers = Vec::new();
        for number in 1..=options.api_servers {
            let (cluster, authenticator) = (Arc::clone(&cluster), Arc::clone(&authenticator));
            let site = Site::Api(ApiSite { cluster, authenticator });
            api_servers.push(starter.start(format!("cp-{number}"), &own, site)?);
        }

        let own = tls::server(&argocd_authority.serving_certificate(&ARGOCD_NAMES)?)?;
        let mut argocd_servers = Vec::new();
        for number in 1..=options.argocd_servers {
            argocd_servers.push(starter.start(format!("argocd-{number}"), &own, Site::Argocd)?);
        }

        let members = api_servers.iter().map(Server::address).collect();
        cluster.set_slice(SliceAnswer::Members(members));
        let endpoints: Vec<SocketAddr> = argocd_servers.iter().map(Server::address).collect();
        cluster.set_service(ARGOCD, &endpoints);
        let tasks = starter.tasks;
        Ok(Self {
            authority,
            argocd_authority,
            admin,
            cluster,
            api_servers,
            argocd_servers,
            tasks,
            shutdown,
        })
    }

    /// Gives an API server by its place, from 0.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    pub fn api_server(&self, place: usize) -> &Server {
        &self.api_servers[place]
    }

    /// Gives all API servers.
    pub fn api_servers(&self) -> &[Server] {
        &self.api_servers
    }

    /// Gives an argocd-server by its place, from 0.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    pub fn argocd_server(&self, place: usize) -> &Server {
        &self.argocd_servers[place]
    }

    /// Gives all argocd-servers.
    pub fn argocd_servers(&self) -> &[Server] {
        &self.argocd_servers
    }

    /// Sets how an API server misbehaves and returns when that is in force.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    ///
    /// # Cancel safety
    ///
    /// The fault is set at the first poll; what is lost is only the waiting.
    pub async fn set_fault(&self, place: usize, fault: Fault) {
        self.api_server(place).set_fault(fault).await;
    }

    /// Gives the addresses of the API servers.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.api_servers.iter().map(Server::address).collect()
    }

    /// Gives the addresses of the argocd-servers.
    pub fn argocd_addresses(&self) -> Vec<SocketAddr> {
        self.argocd_servers.iter().map(Server::address).collect()
    }

    /// Counts the connections of an API server that are open now.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    pub fn open_connections(&self, place: usize) -> usize {
        self.api_server(place).open_connections()
    }

    /// Counts the requests that an API server has read.
    ///
    /// # Panics
    ///
    /// If there are not that many.
    pub fn requests(&self, place: usize) -> u64 {
        self.api_server(place).requests()
    }

    /// Gives the authority of the API servers, to issue more certificates by.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Gives the certificate of the API servers' authority.
    pub fn ca_pem(&self) -> &str {
        self.authority.pem()
    }

    /// Gives the certificate of the argocd-servers' authority.
    pub fn argocd_ca_pem(&self) -> &str {
        self.argocd_authority.pem()
    }

    /// Gives the client certificate of the administrator, which may read everything.
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// Gives the bearer token that may read everything.
    pub fn token(&self) -> &'static str {
        TOKEN
    }

    /// Gives the UID of the namespace `kube-system`, by which clusters are told apart.
    pub fn cluster_uid(&self) -> &str {
        self.cluster.uid()
    }

    /// Writes a kubeconfig of the administrator for a server: one of these or what stands before.
    pub fn kubeconfig(&self, server_url: &str) -> String {
        kubeconfig::text(server_url, self.ca_pem(), &self.admin)
    }

    /// Scripts what reading the EndpointSlices of `default/kubernetes` says.
    pub fn set_slice(&self, answer: SliceAnswer) {
        self.cluster.set_slice(answer);
    }

    /// Adds a member to `default/kubernetes`; whether a server is there does not matter.
    pub fn join(&self, member: SocketAddr) {
        self.cluster.join(member);
    }

    /// Takes a member out of `default/kubernetes`; its server goes on.
    pub fn leave(&self, member: SocketAddr) {
        self.cluster.leave(member);
    }

    /// Forgets the history of EndpointSlices, so that a watch from before is told `410 Gone`.
    pub fn compact(&self) {
        self.cluster.compact();
    }

    /// Closes the ports, resets all connections and waits until no task is left.
    ///
    /// # Cancel safety
    ///
    /// Once polled, everything ends also if this is dropped; what is lost is only the waiting.
    pub async fn shutdown(self) {
        drop(self.shutdown);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts one server after the other.
struct Starter {
    next_port: u16,
    foreign: Arc<ServerConfig>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

impl Starter {
    fn start(
        &mut self,
        name: String,
        own: &Arc<ServerConfig>,
        site: Site,
    ) -> Result<Server, LabError> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.next_port));
        if self.next_port > 0 {
            self.next_port = self.next_port.saturating_add(1);
        }
        let blueprint = Blueprint {
            name: name.clone(),
            bind: address,
            own: Arc::clone(own),
            foreign: Arc::clone(&self.foreign),
            site,
        };
        Server::start(blueprint, &self.tasks, &self.shutdown).map_err(|source| LabError::Listen {
            name,
            address,
            source,
        })
    }
}

const TOKEN: &str = "lab-token";
const ARGOCD: ServiceName = ServiceName { namespace: "argocd", name: "argocd-server" };
const ARGOCD_NAMES: [&str; 5] =
    ["argocd-server", "argocd-server.argocd", "argocd-server.argocd.svc", "localhost", "127.0.0.1"];

#[cfg(test)]
mod tests;
