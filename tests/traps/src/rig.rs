//! What is checked, and with how much effort.

use crate::effort::Effort;
use crate::kind::Kind;

/// A proxy that checks run against; each check starts it anew.
#[derive(Clone, Debug)]
pub struct Rig {
    pub(crate) kind: Kind,
    pub(crate) effort: Effort,
}

impl Rig {
    /// For checks of `kind`.
    pub fn new(kind: Kind, effort: Effort) -> Self {
        Self { kind, effort }
    }

    /// The kind that is checked.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}
