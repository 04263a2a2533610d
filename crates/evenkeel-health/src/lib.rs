//! Active checks of endpoints: evidence, never an action.
//!
//! ```text
//! Prober::run          one task an endpoint, so that a dead one delays nobody
//!   probe::attempt     one attempt, on a connection of its own -> Attempt
//!   Tracker::record    outcomes in a row -> Evidence; pure
//!   HealthReport       -> the service's reconciler, after every attempt
//! ```
//!
//! Invariants held here:
//! - a class is decided by status codes and by how a connection fails, never by the text of an
//!   answer;
//! - every wait has a timeout of [`HealthConfig`], every buffer a bound, and nothing that comes
//!   from the network panics;
//! - an endpoint has at most one attempt in flight, and a pause between two;
//! - only silence in a row makes an endpoint dead: what answers, or refuses, is alive.

mod attempt;
mod config;
#[cfg(test)]
mod full_queue;
mod metrics;
pub mod probe;
mod prober;
mod tracker;
mod trust;

pub use attempt::{Attempt, Phase, PhaseName, Step};
pub use config::HealthConfig;
pub use metrics::{PROBE_DURATION, PROBE_DURATION_BUCKETS, describe};
pub use prober::{HealthReport, ProbeNow, Prober};
pub use tracker::Tracker;
pub use trust::{Trust, TrustError, Verify};
