//! What a source knows now. Plain data, published by [`Source::watch`](crate::source::Source::watch).

use std::collections::BTreeSet;

use evenkeel_core::endpoint::{Endpoint, EndpointSet};
use tokio::time::Instant;

/// What a source knows now. Begins empty, and is never emptied again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sighting {
    /// The endpoints that it last listed. Empty only until it has listed some.
    pub endpoints: EndpointSet,
    /// Those among them that the cluster says are on their way out. A note for people: probes
    /// decide whether they are used.
    pub terminating: BTreeSet<Endpoint>,
    /// When it last answered, also that nothing has changed.
    pub synced: Option<Instant>,
    /// What is wrong with it now, in one line.
    pub error: Option<String>,
}
