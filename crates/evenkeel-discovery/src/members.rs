//! The API servers through which the API is asked: a list that whoever knows their health keeps in
//! order, and that the client walks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

/// The addresses to ask, the most promising first. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Members {
    list: Arc<ArcSwap<List>>,
}

#[derive(Debug, Default)]
struct List {
    addresses: Vec<SocketAddr>,
    /// Where the walk begins: moved on when the one that answered before no longer does.
    first: AtomicUsize,
}

impl Members {
    /// A list of these addresses.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        let members = Self::default();
        members.set(addresses);
        members
    }

    /// Replaces the list; the next walk begins at its first. An equal list changes nothing.
    pub fn set(&self, addresses: Vec<SocketAddr>) {
        if self.list.load().addresses != addresses {
            self.list.store(Arc::new(List { addresses, first: AtomicUsize::new(0) }));
        }
    }

    /// Begins the next walk one further: the first took the question and gave no useful answer.
    pub(crate) fn pass_over_first(&self) {
        self.list.load().first.fetch_add(1, Ordering::Relaxed);
    }

    /// The addresses in the order in which they are tried now.
    pub fn in_order(&self) -> Vec<SocketAddr> {
        let list = self.list.load();
        let mut addresses = list.addresses.clone();
        if !addresses.is_empty() {
            let first = list.first.load(Ordering::Relaxed) % addresses.len();
            addresses.rotate_left(first);
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6443))
    }

    #[test]
    fn one_that_gives_no_answer_goes_to_the_end() {
        let members = Members::new(vec![address(1), address(2), address(3)]);
        members.pass_over_first();
        assert_eq!(members.in_order(), [address(2), address(3), address(1)]);
    }

    #[test]
    fn a_new_list_begins_at_its_first_and_an_equal_one_goes_on() {
        let members = Members::new(vec![address(1), address(2)]);
        members.pass_over_first();
        members.set(vec![address(1), address(2)]);
        assert_eq!(members.in_order()[0], address(2));
        members.set(vec![address(1), address(3)]);
        assert_eq!(members.in_order()[0], address(1));
    }

    #[test]
    fn an_empty_list_has_no_order() {
        let members = Members::default();
        members.pass_over_first();
        assert!(members.in_order().is_empty());
    }
}
