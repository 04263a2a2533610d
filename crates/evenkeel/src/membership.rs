//! How many members a service has, for the tolerance: not how many are listed just now.
//!
//! A dead API server leaves the EndpointSlice within 25 s. If the membership shrank with the list,
//! three servers of which one died would at that moment look like two of two.

use std::collections::BTreeMap;
use std::time::Duration;

use evenkeel_core::endpoint::{Endpoint, EndpointSet};
use tokio::time::Instant;

/// After so long one that has left was removed by a human, not by a failure.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The membership of a service over time.
#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// The most that were ever listed at one time.
    most: usize,
    gone: BTreeMap<Endpoint, Instant>,
    listed: EndpointSet,
}

impl Membership {
    /// Notes what is listed now.
    pub(crate) fn note(&mut self, listed: &EndpointSet, now: Instant) {
        for endpoint in self.listed.iter() {
            if !listed.contains(endpoint) {
                self.gone.insert(endpoint, now);
            }
        }
        self.gone.retain(|endpoint, _| !listed.contains(*endpoint));
        self.most = self.most.max(listed.len());
        self.listed = listed.clone();
    }

    /// How many members there are. One that was replaced does not count beside its successor.
    pub(crate) fn count(&mut self, now: Instant) -> usize {
        let before = self.gone.len();
        self.gone.retain(|_, since| now.duration_since(*since) < FORGOTTEN);
        if self.gone.len() < before {
            self.most = self.listed.len() + self.gone.len();
        }
        self.most.min(self.listed.len() + self.gone.len())
    }
}

#[cfg(test)]
mod tests {
    use evenkeel_core::endpoint::Provenance;

    use super::*;

    fn set(lasts: &[u8]) -> EndpointSet {
        let endpoint = |last: &u8| format!("10.0.0.{last}:6443").parse().unwrap();
        EndpointSet::from_source(Provenance::EndpointSlice, lasts.iter().map(endpoint))
    }

    #[test]
    fn one_that_leaves_the_list_is_still_a_member_for_an_hour() {
        let start = Instant::now();
        let mut membership = Membership::default();
        membership.note(&set(&[1, 2, 3]), start);
        membership.note(&set(&[1, 2]), start);
        assert_eq!(membership.count(start), 3);
        assert_eq!(membership.count(start + FORGOTTEN), 2);
    }

    #[test]
    fn a_replaced_member_counts_once() {
        let start = Instant::now();
        let mut membership = Membership::default();
        for listed in [[1, 2, 3].as_slice(), &[2, 3], &[2, 3, 4], &[3, 4], &[3, 4, 5]] {
            membership.note(&set(listed), start);
        }
        assert_eq!(membership.count(start), 3);
    }

    #[test]
    fn one_that_comes_back_is_not_counted_twice() {
        let start = Instant::now();
        let mut membership = Membership::default();
        for listed in [[1, 2, 3].as_slice(), &[1, 2], &[1, 2, 3]] {
            membership.note(&set(listed), start);
        }
        assert_eq!(membership.count(start), 3);
        assert_eq!(membership.count(start + FORGOTTEN), 3);
    }
}
