//! What is done about each backend of a pool. [`decide`] is pure, and the only place where
//! evidence becomes action.
//!
//! Three treatments and never two, since two failures need opposite answers: a server that shuts
//! down ends its connections itself and must not be cut off (CAPA#5475), and one that is silent
//! never will, so we must (k/k#44557).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::health::{Class, Evidence, Health};

/// What is done about a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Treatment {
    /// It gets new connections.
    Serve,
    /// It gets none; the open ones go on.
    Drain,
    /// It gets none, and the open ones are reset.
    Reset,
}

impl Treatment {
    /// The word for people and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Serve => "serve",
            Self::Drain => "drain",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Treatment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The treatment of every backend of a pool, in the order of the evidence.
///
/// - What is ready is served; what is silent or foreign is reset; the rest is drained.
/// - **Fail-open**: when nothing is ready, the best that is alive is served, since an etcd without
///   a quorum turns every `/readyz` red at once (k/k#88914) and serving it beats an outage. Best
///   first: ready but for etcd or for a credential of ours; then those of which nothing is known;
///   then the rest that answers. Never what refuses, is dead or is foreign.
pub fn decide(evidence: &[Evidence]) -> Vec<Treatment> {
    let best = if evidence.iter().any(|e| e.health == Health::Ready) {
        None
    } else {
        evidence.iter().filter_map(|e| fail_open_rank(*e)).min()
    };
    let treatment = |evidence: &Evidence| match evidence.health {
        Health::Ready => Treatment::Serve,
        Health::Unknown | Health::Unready => {
            if best.is_some() && fail_open_rank(*evidence) == best {
                Treatment::Serve
            } else {
                Treatment::Drain
            }
        }
        Health::Dead | Health::Foreign => Treatment::Reset,
    };
    evidence.iter().map(treatment).collect()
}

/// What is done about a member that no source names any more: its connections go on as long as it
/// is heard. An answer that it is unready says nothing against them.
pub fn of_leaving(evidence: Evidence) -> Treatment {
    match evidence.health {
        Health::Unknown | Health::Ready | Health::Unready => Treatment::Drain,
        Health::Dead | Health::Foreign => Treatment::Reset,
    }
}

/// Whether [`decide`] serves what is not ready because nothing is.
pub fn fails_open(evidence: &[Evidence]) -> bool {
    evidence.iter().all(|e| e.health != Health::Ready) && evidence.iter().any(|e| e.may_fail_open())
}

impl Evidence {
    /// Whether an endpoint of this evidence may be served when nothing is ready: it answers, or
    /// nothing is known of it.
    pub fn may_fail_open(self) -> bool {
        fail_open_rank(self).is_some()
    }
}

/// How willingly an endpoint is served when nothing is ready, the lowest first; `None` for never.
fn fail_open_rank(evidence: Evidence) -> Option<u8> {
    match evidence.health {
        Health::Ready | Health::Dead | Health::Foreign => return None,
        Health::Unknown | Health::Unready => {}
    }
    match evidence.class {
        // All of them at once is an etcd without quorum, or a cluster that asks probes for a
        // credential (k3s, RKE2, k0s and Talos do): not dead servers.
        Class::EtcdUnready | Class::Unauthorized => Some(0),
        Class::Unproven | Class::ProbeFault | Class::Forbidden | Class::Throttled => Some(1),
        // Suspected after one silent probe, or known to answer: better than nobody.
        Class::Ready
        | Class::ShuttingDown
        | Class::Starting
        | Class::Broken
        | Class::Unavailable
        | Class::UnexpectedStatus
        | Class::Closed
        | Class::Garbled
        | Class::CertificateInvalid
        | Class::TlsRefused
        | Class::AnswerTimeout
        | Class::TlsTimeout
        | Class::ConnectTimeout
        | Class::Unreachable => Some(2),
        Class::Refused | Class::Foreign => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Treatment::{Drain, Reset, Serve};
    use super::*;

    fn of(class: Class) -> Evidence {
        Evidence { health: class.health(), class }
    }

    fn all(classes: &[Class]) -> Vec<Treatment> {
        decide(&classes.iter().copied().map(of).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_ready_is_served_and_the_rest_is_not() {
        assert_eq!(
            all(&[Class::Ready, Class::EtcdUnready, Class::ConnectTimeout, Class::Unproven]),
            [Serve, Drain, Reset, Drain]
        );
    }

    #[test]
    fn losing_etcd_everywhere_cuts_nobody_off() {
        assert_eq!(all(&[Class::EtcdUnready; 3]), [Serve; 3]);
    }

    #[test]
    fn a_cluster_that_asks_for_a_credential_is_served() {
        assert_eq!(all(&[Class::Unauthorized; 3]), [Serve; 3]);
        assert_eq!(
            all(&[Class::Unauthorized, Class::Refused, Class::TlsTimeout]),
            [Serve, Drain, Reset]
        );
    }

    #[test]
    fn failing_open_prefers_what_only_lacks_etcd() {
        assert_eq!(
            all(&[Class::EtcdUnready, Class::Starting, Class::Refused]),
            [Serve, Drain, Drain]
        );
    }

    #[test]
    fn failing_open_never_serves_a_foreign_endpoint() {
        assert_eq!(all(&[Class::Foreign, Class::Broken, Class::TlsTimeout]), [Reset, Serve, Reset]);
    }

    #[test]
    fn where_all_refuse_or_are_dead_nobody_is_served() {
        assert_eq!(all(&[Class::Refused, Class::ConnectTimeout]), [Drain, Reset]);
        assert!(!fails_open(&[of(Class::Refused), of(Class::ConnectTimeout)]));
    }

    #[test]
    fn a_refusing_backend_is_never_reset() {
        assert_eq!(all(&[Class::Refused, Class::Ready]), [Drain, Serve]);
    }

    #[test]
    fn at_start_the_unproven_are_served_until_one_is_ready() {
        assert_eq!(all(&[Class::Unproven, Class::Unproven]), [Serve, Serve]);
        assert_eq!(all(&[Class::Ready, Class::Unproven]), [Serve, Drain]);
    }

    proptest! {
        #[test]
        fn the_laws_hold_for_any_pool(picks in proptest::collection::vec(0..Class::ALL.len(), 0..9)) {
            let evidence: Vec<Evidence> = picks.iter().map(|i| of(Class::ALL[*i])).collect();
            let treatments = decide(&evidence);
            prop_assert_eq!(treatments.len(), evidence.len());
            let any_ready = evidence.iter().any(|e| e.health == Health::Ready);
            for (evidence, treatment) in evidence.iter().zip(&treatments) {
                match evidence.health {
                    Health::Ready => prop_assert_eq!(*treatment, Serve),
                    Health::Dead | Health::Foreign => prop_assert_eq!(*treatment, Reset),
                    Health::Unknown | Health::Unready => {
                        prop_assert_ne!(*treatment, Reset);
                        prop_assert!(!(any_ready && *treatment == Serve));
                    }
                }
            }
            let may_serve = evidence.iter().any(|e| {
                !matches!(e.class, Class::Refused) && !matches!(e.health, Health::Dead | Health::Foreign)
            });
            prop_assert_eq!(treatments.contains(&Serve), may_serve);
        }
    }
}
