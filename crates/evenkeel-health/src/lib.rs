//! Active checks of endpoints: evidence, never an action.
//!
//! ```text
//! Prober::run          one task an endpoint, so that a dead one delays nobody
//!   probe::attempt     one attempt, on a connection of its own -> Attempt
//!   Judge::step        when to look, and what to believe of looks and traffic; pure
//!     Tracker::record  outcomes in a row -> Evidence; pure
//!   HealthReport       -> the service's reconciler, after every attempt
//! ```
//!
//! Invariants held here:
//! - a class is decided by status codes and by how a connection fails, never by the text of an
//!   answer;
//! - every wait has a timeout of [`HealthConfig`], every buffer a bound, and nothing that comes
//!   from the network panics;
//! - an endpoint has one attempt in flight, a few while it is silent, and a pause between two;
//! - only silence makes an endpoint dead, and only if no byte came from it meanwhile: what answers,
//!   or refuses, is alive.

mod attempt;
mod config;
#[cfg(test)]
mod full_queue;
pub mod judge;
mod metrics;
pub mod probe;
mod prober;
mod tracker;
mod trust;
mod worst_case;

pub use attempt::{Attempt, Phase, PhaseName, Step};
pub use config::HealthConfig;
pub use judge::Judge;
pub use metrics::{PROBE_DURATION, PROBE_DURATION_BUCKETS, describe};
pub use prober::{HealthReport, Prober};
pub use tracker::Tracker;
pub use trust::{Trust, TrustError, Verify};
pub use worst_case::{Failure, WorstCase};
