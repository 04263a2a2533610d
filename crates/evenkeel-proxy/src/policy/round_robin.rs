//! One backend after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use evenkeel_core::backend::Backend;
use evenkeel_core::endpoint::Endpoint;
use garde::Validate;
use serde::{Deserialize, Serialize};

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
    ) -> Option<&'a Arc<Backend>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        super::from_start(candidates, turn, tried).next()
    }
}

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
