//! One backend after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_core::backend::{Backend, FULL_SHARE};
use evenkeel_core::endpoint::Endpoint;
use garde::Validate;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The settings of `roundRobin`: none.
#[derive(Debug, Default, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub struct RoundRobin {
    #[serde(skip)]
    turn: AtomicUsize,
}

impl RoundRobin {
    pub(super) fn pick<'a>(
        &self,
        candidates: &'a [Arc<Backend>],
        tried: &[Endpoint],
        now: Instant,
    ) -> Option<&'a Arc<Backend>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let in_turn = || super::from_start(candidates, turn, tried);
        // One that starts slowly is passed over, less and less often.
        let is_its_turn = |backend: &&Arc<Backend>| {
            let share = usize::try_from(backend.share(now)).unwrap_or(usize::MAX);
            let full = usize::try_from(FULL_SHARE).unwrap_or(usize::MAX);
            turn.wrapping_mul(SCATTER) % full < share
        };
        in_turn().find(is_its_turn).or_else(|| in_turn().next())
    }
}

/// Odd, and far from the number of any backends: turns in a row fall all over the share.
const SCATTER: usize = 397;

impl Clone for RoundRobin {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for RoundRobin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
