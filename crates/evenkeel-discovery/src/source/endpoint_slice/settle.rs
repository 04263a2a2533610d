//! Adds at once, and removes after a moment: API servers remove themselves and come back. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use evenkeel_core::endpoint::Endpoint;
use tokio::time::Instant;

/// How long an endpoint that is listed no more is kept, should it come back.
const HOLD: Duration = Duration::from_secs(1);

/// What is listed, and what was a moment ago.
#[derive(Debug, Default)]
pub(super) struct Settle {
    listed: BTreeSet<Endpoint>,
    leaving: BTreeMap<Endpoint, Instant>,
}

impl Settle {
    /// Takes in what is listed now.
    pub(super) fn listed(&mut self, now: Instant, listed: BTreeSet<Endpoint>) {
        for gone in self.listed.difference(&listed) {
            self.leaving.insert(*gone, now + HOLD);
        }
        self.leaving.retain(|endpoint, _| !listed.contains(endpoint));
        self.listed = listed;
    }

    /// Takes in that nothing is listed, which is no answer to act on: who was about to leave stays
    /// too, since slices go one by one.
    pub(super) fn nothing_listed(&mut self) {
        self.listed.extend(std::mem::take(&mut self.leaving).into_keys());
    }

    /// When the next endpoint is let go.
    pub(super) fn due(&self) -> Option<Instant> {
        self.leaving.values().min().copied()
    }

    /// Lets go of those whose time has come. Says whether there were any.
    pub(super) fn let_go(&mut self, now: Instant) -> bool {
        let before = self.leaving.len();
        self.leaving.retain(|_, due| *due > now);
        self.leaving.len() < before
    }

    /// The endpoints that count as listed.
    pub(super) fn current(&self) -> BTreeSet<Endpoint> {
        self.listed.iter().chain(self.leaving.keys()).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(last: &[u8]) -> BTreeSet<Endpoint> {
        let endpoint = |last: &u8| Endpoint::new(([10, 0, 0, *last], 6443).into());
        last.iter().map(endpoint).collect()
    }

    #[test]
    fn an_endpoint_is_added_at_once_and_removed_after_a_moment() {
        let now = Instant::now();
        let mut settle = Settle::default();
        settle.listed(now, set(&[1, 2]));
        settle.listed(now, set(&[2, 3]));
        assert_eq!(settle.current(), set(&[1, 2, 3]));
        assert_eq!(settle.due(), Some(now + HOLD));
        assert!(!settle.let_go(now + HOLD / 2));
        assert!(settle.let_go(now + HOLD));
        assert_eq!(settle.current(), set(&[2, 3]));
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn an_endpoint_that_comes_back_was_never_away() {
        let now = Instant::now();
        let mut settle = Settle::default();
        settle.listed(now, set(&[1, 2]));
        settle.listed(now, set(&[1]));
        settle.listed(now + HOLD / 2, set(&[1, 2]));
        assert_eq!(settle.due(), None);
        assert_eq!(settle.current(), set(&[1, 2]));
    }

    #[test]
    fn slices_that_go_one_by_one_until_none_is_left_take_nobody_with_them() {
        let now = Instant::now();
        let mut settle = Settle::default();
        settle.listed(now, set(&[1, 2]));
        settle.listed(now, set(&[2]));
        settle.nothing_listed();
        assert!(!settle.let_go(now + HOLD));
        assert_eq!(settle.current(), set(&[1, 2]));
    }

    #[test]
    fn each_that_leaves_has_a_moment_of_its_own() {
        let now = Instant::now();
        let mut settle = Settle::default();
        settle.listed(now, set(&[1, 2, 3]));
        settle.listed(now, set(&[1, 2]));
        settle.listed(now + HOLD / 2, set(&[1]));
        assert!(settle.let_go(now + HOLD));
        assert_eq!(settle.current(), set(&[1, 2]));
        assert_eq!(settle.due(), Some(now + HOLD + HOLD / 2));
    }
}
