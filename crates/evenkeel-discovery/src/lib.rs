//! Who the endpoints of a service are.
//!
//! ```text
//! Source::watch -> watch<Sighting> -+
//! Source::watch -> watch<Sighting> -+-> merge::merge -> EndpointSet -> the pool
//! ```
//!
//! Invariants held here:
//! - discovery never empties a pool: an error and an empty answer both keep what was last known;
//! - a seed out of the config is never removed by discovery;
//! - an address of ours is never taken from discovery, or we would balance onto ourselves;
//! - the API is reached through any API server that answers, directly, never through a listener or
//!   a VIP of ours, which need discovery themselves;
//! - every wait on the network has a timeout.

pub mod access;
pub mod client;
pub mod in_cluster;
pub mod kubeconfig;
pub mod members;
pub mod merge;
pub mod metrics;
pub mod sighting;
pub mod source;
