//! The backend with the fewest open connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_core::backend::{Backend, FULL_SHARE};
use evenkeel_core::endpoint::Endpoint;
use garde::Validate;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The settings of `leastConnections`: none yet.
#[derive(Debug, Default, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct LeastConnections {
    /// Where the next search starts, so that among equals they take turns.
    #[serde(skip)]
    turn: AtomicUsize,
}

impl LeastConnections {
    pub(super) fn pick<'a>(
        &self,
        candidates: &'a [Arc<Backend>],
        tried: &[Endpoint],
        now: Instant,
    ) -> Option<&'a Arc<Backend>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        // `min_by_key` takes the first of equals.
        super::from_start(candidates, turn, tried).min_by_key(|backend| load(backend, now))
    }
}

/// How many connections it would have, as if it could take as many as any other.
fn load(backend: &Backend, now: Instant) -> u64 {
    let active = u64::try_from(backend.active()).unwrap_or(u64::MAX);
    let full = u64::from(FULL_SHARE);
    let with_this = active.saturating_add(1).saturating_mul(full);
    with_this.checked_div(u64::from(backend.share(now))).unwrap_or(u64::MAX)
}

impl Clone for LeastConnections {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for LeastConnections {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_with_fewest_is_picked() {
        let candidates: Vec<_> = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]
            .iter()
            .map(|text| Arc::new(Backend::new(text.parse().unwrap())))
            .collect();
        let _slots =
            [candidates[0].take_slot(), candidates[1].take_slot(), candidates[1].take_slot()];
        let policy = LeastConnections::default();
        for _ in 0..4 {
            let picked = policy.pick(&candidates, &[], Instant::now()).unwrap();
            assert_eq!(picked.endpoint(), candidates[2].endpoint());
        }
    }
}
