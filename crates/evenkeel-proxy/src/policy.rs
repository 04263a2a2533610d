//! The rule by which a backend is picked.
//!
//! To add one: a file in `policy/` with its settings and state and `pick`, then the `mod` line,
//! the variant and the two `match` arms here. The tests in `conformance` hold it to the laws.

pub(crate) mod least_connections;
pub(crate) mod round_robin;

use std::sync::Arc;

use evenkeel_core::backend::Backend;
use evenkeel_core::endpoint::Endpoint;
use garde::Validate;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use self::least_connections::LeastConnections;
use self::round_robin::RoundRobin;

/// The rule of a service: the key `policy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// The backend with the fewest open connections. The default: most connections to an API
    /// server live for hours, and their number is what it feels.
    LeastConnections(#[garde(dive)] LeastConnections),
    /// One after the other.
    RoundRobin(#[garde(dive)] RoundRobin),
}

impl Default for Policy {
    fn default() -> Self {
        Self::LeastConnections(LeastConnections::default())
    }
}

impl Policy {
    /// Picks one of `candidates`, which are fit, but none of `tried`; `None` if no other is left.
    pub fn pick<'a>(
        &self,
        candidates: &'a [Arc<Backend>],
        tried: &[Endpoint],
        now: Instant,
    ) -> Option<&'a Arc<Backend>> {
        match self {
            Self::LeastConnections(policy) => policy.pick(candidates, tried, now),
            Self::RoundRobin(policy) => policy.pick(candidates, tried, now),
        }
    }

    /// The kind's name, as in the config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LeastConnections(_) => "leastConnections",
            Self::RoundRobin(_) => "roundRobin",
        }
    }
}

/// `candidates` from the `start`-th on, wrapping round, without those `tried`.
fn from_start<'a>(
    candidates: &'a [Arc<Backend>],
    start: usize,
    tried: &[Endpoint],
) -> impl Iterator<Item = &'a Arc<Backend>> {
    let start = if candidates.is_empty() { 0 } else { start % candidates.len() };
    let (before, after) = candidates.split_at(start);
    after.iter().chain(before).filter(|backend| !tried.contains(&backend.endpoint()))
}

#[cfg(test)]
mod conformance {
    use proptest::prelude::*;

    use super::*;

    fn policies() -> [Policy; 2] {
        [Policy::default(), Policy::RoundRobin(RoundRobin::default())]
    }

    fn backends(count: usize) -> Vec<Arc<Backend>> {
        (0..count)
            .map(|i| Arc::new(Backend::new(format!("10.0.0.{}:6443", i + 1).parse().unwrap())))
            .collect()
    }

    proptest! {
        #[test]
        fn never_one_that_was_tried_and_always_one_if_one_is_left(
            count in 0usize..9,
            tried in proptest::collection::vec(0usize..9, 0..9),
            rounds in 1usize..20,
        ) {
            for policy in policies() {
                let candidates = backends(count);
                let tried: Vec<Endpoint> = backends(9)
                    .iter()
                    .enumerate()
                    .filter(|(i, _)| tried.contains(i))
                    .map(|(_, b)| b.endpoint())
                    .collect();
                let left = candidates.iter().any(|b| !tried.contains(&b.endpoint()));
                for _ in 0..rounds {
                    match policy.pick(&candidates, &tried, Instant::now()) {
                        Some(backend) => prop_assert!(!tried.contains(&backend.endpoint())),
                        None => prop_assert!(!left),
                    }
                }
            }
        }

        #[test]
        fn connections_that_stay_are_spread_evenly(count in 1usize..9, rounds in 1usize..60) {
            for policy in policies() {
                let candidates = backends(count);
                let slots: Vec<_> = (0..rounds)
                    .map(|_| policy.pick(&candidates, &[], Instant::now()).unwrap().take_slot())
                    .collect();
                let active: Vec<usize> = candidates.iter().map(|b| b.active()).collect();
                let spread = active.iter().max().unwrap() - active.iter().min().unwrap();
                prop_assert!(spread <= 1, "{} {active:?}", policy.name());
                drop(slots);
            }
        }
    }
}
