//! For people and Prometheus: health of the process, metrics and status over HTTP, on loopback.
//!
//! Knows nothing of the rest of the process but what an [`Observe`](observe::Observe) tells it.
//!
//! Invariants held here:
//! - it changes nothing: every route answers GET, and nothing else;
//! - `/livez` depends on no backend: whoever restarts a balancer because its backends are down
//!   makes it worse;
//! - the status JSON is a contract: a field is added, never renamed or removed;
//! - connections, requests and their time are bounded, so that this port cannot exhaust the process.

pub mod config;
pub mod metrics;
pub mod observe;
pub mod readiness;
pub mod server;
pub mod status;

mod routes;
