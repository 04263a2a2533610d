//! How many more failures a service survives, honestly counted.
//!
//! With stacked etcd (kubeadm's default) the API stops when etcd loses its quorum, not when the
//! last API server goes. So of three servers one may fail, and of two none.

use serde::{Deserialize, Serialize};

/// What must be ready for the service to work.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Quorum {
    /// One ready backend is enough: external etcd, an SQL datastore, any service but the API.
    #[default]
    None,
    /// A majority: each API server stands for the etcd member on its node.
    Stacked,
}

/// How a service stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tolerance {
    /// Backends that say they can serve.
    pub ready: usize,
    /// All members, also those lost: a dead API server leaves the EndpointSlice within 25 s, and
    /// must not make the rest look whole.
    pub members: usize,
    /// How many must be ready.
    pub needed: usize,
    /// How many more may fail.
    pub tolerable: usize,
}

impl Tolerance {
    /// Counts. `members` is the membership, not the current list.
    pub fn of(quorum: Quorum, ready: usize, members: usize) -> Self {
        let members = members.max(ready);
        let needed = match quorum {
            Quorum::None => 1,
            Quorum::Stacked => members / 2 + 1,
        };
        Self { ready, members, needed, tolerable: ready.saturating_sub(needed) }
    }

    /// The verdict in words: `3 of 3 ready, tolerates 1 more failure`.
    pub fn words(self, quorum: Quorum) -> String {
        let Self { ready, members, needed, tolerable } = self;
        let state = format!("{ready} of {members} ready");
        if ready == 0 {
            return format!("{state}, no backend is ready");
        }
        match (tolerable, quorum) {
            (0, _) if ready == members => {
                let plural = if members == 1 { "" } else { "s" };
                format!("{state}, tolerates no failure ({members} member{plural})")
            }
            (0, Quorum::Stacked) => format!(
                "{state}, no further failure tolerated (stacked etcd needs {needed} of {members})"
            ),
            (0, Quorum::None) => format!("{state}, no further failure tolerated"),
            (1, _) => format!("{state}, tolerates 1 more failure"),
            (more, _) => format!("{state}, tolerates {more} more failures"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacked_etcd_needs_a_majority_of_the_membership() {
        let table = [
            (1, 1, 0),
            (2, 2, 0),
            (3, 3, 1),
            (2, 3, 0),
            (4, 4, 1),
            (3, 4, 0),
            (5, 5, 2),
            (4, 5, 1),
            (3, 5, 0),
            (1, 3, 0),
            (0, 3, 0),
            (6, 6, 2),
            (7, 7, 3),
        ];
        for (ready, members, tolerable) in table {
            let tolerance = Tolerance::of(Quorum::Stacked, ready, members);
            assert_eq!(tolerance.tolerable, tolerable, "{ready} of {members}");
        }
    }

    #[test]
    fn without_a_quorum_all_but_one_may_fail() {
        assert_eq!(Tolerance::of(Quorum::None, 3, 3).tolerable, 2);
        assert_eq!(Tolerance::of(Quorum::None, 0, 3).tolerable, 0);
    }

    #[test]
    fn the_verdict_is_said_in_words() {
        let words =
            |ready, members| Tolerance::of(Quorum::Stacked, ready, members).words(Quorum::Stacked);
        assert_eq!(words(3, 3), "3 of 3 ready, tolerates 1 more failure");
        assert_eq!(words(5, 5), "5 of 5 ready, tolerates 2 more failures");
        assert_eq!(
            words(2, 3),
            "2 of 3 ready, no further failure tolerated (stacked etcd needs 2 of 3)"
        );
        assert_eq!(words(2, 2), "2 of 2 ready, tolerates no failure (2 members)");
        assert_eq!(words(1, 1), "1 of 1 ready, tolerates no failure (1 member)");
        assert_eq!(words(0, 3), "0 of 3 ready, no backend is ready");
    }
}
