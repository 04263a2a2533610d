//! A pretend control plane inside one process: for `evenkeel demo` and as the fixture of tests.
//!
//! [`ControlPlane`] starts servers on loopback that answer like kube-apiserver and argocd-server,
//! and each of them misbehaves on command in one of the ways of [`Fault`]. [`Load`] is their
//! clients, and tells what they feel.
//!
//! It shares no code with what it tests: a stand-in that did would share its mistakes. Everything
//! in it follows events, so a fault is in force when setting it returns.

mod api_server;
mod argocd_server;
mod certificates;
mod client;
mod client_auth;
mod cluster;
mod control_plane;
mod counts;
mod failure;
mod fault;
mod kubeconfig;
mod load;
mod query;
mod reply;
mod server;
mod tls;
mod wire;

pub use certificates::{Authority, CertificateError, Identity, SERVING_NAMES};
pub use cluster::SliceAnswer;
pub use control_plane::{ControlPlane, LabError, Options};
pub use failure::Failure;
pub use fault::Fault;
pub use load::{
    ClientKind, FailureFelt, Felt, Load, LoadError, LoadOptions, Mark, NewFelt, OpenFelt,
};
pub use server::Server;
pub use tls::TlsError;
