//! A real control plane, three members stacked as kubeadm stacks them.
//!
//! ```text
//! cp-1 10.0.0.11   kube-apiserver :6443 -> etcd 127.0.0.1:2379 -+
//! cp-2 10.0.0.12   kube-apiserver :6443 -> etcd 127.0.0.1:2379 -+- peers, :2380
//! cp-3 10.0.0.13   kube-apiserver :6443 -> etcd 127.0.0.1:2379 -+
//! ```
//!
//! kube-apiserver has its real defaults, save where `node.rs` says otherwise. etcd speaks plain
//! HTTP and never waits for the disk: nothing outside of its host talks to it but its peers.

mod etcd;
mod kubectl;
mod membership;
mod node;
mod options;
mod verbs;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

pub use etcd::EtcdError;
pub use kubectl::KubectlError;
pub use membership::MembershipError;
pub use node::StartError;
pub use options::{Member, Options};
pub use verbs::ControlPlaneError;

use crate::assets::Assets;
use crate::certificates::{Certificates, Credentials, Server, User};
use crate::host::Host;
use crate::https::Identity;
use crate::network::Network;
use node::Node;

/// Three hosts with etcd, and kube-apiserver on those that `Options::apiservers` names.
///
/// Dropped, it kills them all.
#[derive(Debug)]
pub struct ControlPlane {
    nodes: [Node; 3],
    certificates: Certificates,
    admin: Identity,
    assets: Assets,
}

impl ControlPlane {
    /// Starts it, and waits until `/readyz` of each kube-apiserver says 200 and the EndpointSlice
    /// `default/kubernetes` lists them.
    ///
    /// # Errors
    /// If its hosts, files or processes cannot be made, or it is not ready within 90 s; then the
    /// error has the end of the logs.
    pub fn start(
        network: &Network,
        assets: &Assets,
        options: &Options,
    ) -> Result<Self, StartError> {
        let [one, two, three] = Member::ALL.map(|member| {
            let name = format!("{}-{}", options.name, member.number());
            let number = options.first_number.saturating_add(member.number() - 1);
            network.host_at(&name, number)
        });
        let hosts = [one?, two?, three?];

        let servers = hosts.each_ref().map(|host| Server {
            name: host.name().to_owned(),
            addresses: host.addresses().to_vec(),
        });
        let directory = network.directory().join(format!("{}-pki", options.name));
        let certificates = Certificates::create(&directory, &servers, &options.extra_sans)?;
        let admin = Identity::load(&certificates.credentials(User::Admin.name()))?;

        let peers = etcd::initial_cluster(&hosts);
        let [one, two, three] = hosts.map(|host| Node::new(host, assets, &certificates, options));
        let mut plane =
            Self { nodes: [one, two, three], certificates, admin, assets: assets.clone() };
        // All at once: each waits by itself for what it needs of the others.
        for node in &mut plane.nodes {
            node.start_etcd(&peers)?;
        }
        for member in &options.apiservers {
            plane.node_mut(*member).start_apiserver()?;
        }
        for member in &options.apiservers {
            plane.node(*member).wait_ready(&plane.admin, START)?;
        }
        plane.wait_endpoints(&options.apiservers, START)?;
        Ok(plane)
    }

    /// The host of a member.
    pub fn host(&self, member: Member) -> &Host {
        self.node(member).host()
    }

    /// Where the kube-apiserver of a member serves: its IPv4 address, port 6443.
    pub fn address(&self, member: Member) -> SocketAddr {
        (self.host(member).ipv4(), node::PORT).into()
    }

    /// As [`ControlPlane::address`], but its IPv6 address.
    pub fn ipv6_address(&self, member: Member) -> SocketAddr {
        (self.host(member).ipv6(), node::PORT).into()
    }

    /// Where all three serve, or would.
    pub fn addresses(&self) -> [SocketAddr; 3] {
        Member::ALL.map(|member| self.address(member))
    }

    /// The CA that signed everything of this cluster, PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.certificates.ca()
    }

    /// The files with which a client is `user`.
    pub fn credentials(&self, user: User) -> Credentials {
        self.certificates.credentials(user.name())
    }

    /// The administrator, ready for connections.
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    /// The end of the log of a member's kube-apiserver; empty if it never ran.
    pub fn apiserver_log(&self, member: Member) -> String {
        self.node(member).apiserver_log()
    }

    fn node(&self, member: Member) -> &Node {
        let [one, two, three] = &self.nodes;
        match member {
            Member::One => one,
            Member::Two => two,
            Member::Three => three,
        }
    }

    fn node_mut(&mut self, member: Member) -> &mut Node {
        let [one, two, three] = &mut self.nodes;
        match member {
            Member::One => one,
            Member::Two => two,
            Member::Three => three,
        }
    }
}

const START: Duration = Duration::from_secs(90);
