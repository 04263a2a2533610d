//! What this node could do with a VIP, by what is known of the services that listen on it; pure.

use evenkeel_core::health::{Class as Seen, Health};
use evenkeel_vip::class::Class;

use crate::service::View;

/// How a service stands, as far as it matters to a VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Members that say they can serve.
    pub(super) ready: usize,
    /// Members whose host answers, if only that nobody listens.
    pub(super) reached: usize,
    /// Members that there are, those included that are lost.
    pub(super) known: usize,
    /// Members that were not asked yet.
    pub(super) unproven: usize,
}

impl Standing {
    pub(super) fn of(view: &View) -> Self {
        // One that has left the list still tells whether its host can be reached.
        let members = || view.members.iter();
        Self {
            ready: view.ready(),
            reached: members().filter(|m| is_reached(m.evidence.class)).count(),
            known: view.membership.max(members().count()),
            unproven: members().filter(|m| m.evidence.health == Health::Unknown).count(),
        }
    }
}

/// Whether the host of a member answers.
fn is_reached(class: Seen) -> bool {
    match class {
        Seen::Unproven | Seen::ProbeFault | Seen::ConnectTimeout | Seen::Unreachable => false,
        Seen::Ready
        | Seen::EtcdUnready
        | Seen::ShuttingDown
        | Seen::Starting
        | Seen::Broken
        | Seen::Unauthorized
        | Seen::Forbidden
        | Seen::Throttled
        | Seen::Unavailable
        | Seen::UnexpectedStatus
        | Seen::Refused
        | Seen::Closed
        | Seen::Garbled
        | Seen::CertificateInvalid
        | Seen::TlsRefused
        | Seen::AnswerTimeout
        | Seen::TlsTimeout
        | Seen::Foreign => true,
    }
}

/// What differs from VIP to VIP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules {
    /// It keeps the address also where it is cut off (`lastSurvivor`).
    pub(super) keeps: bool,
    /// Many nodes have the address at once, and withdraw instead of being less.
    pub(super) many_owners: bool,
}

/// What this node could do, and why; `None` as long as nothing is known.
///
/// It serves if each service has a ready backend, wherever that is. It is cut off if no service
/// has one, and not even a majority of the hosts behind them answers: then the others may be
/// on the other side of a partition. etcd's quorum is what makes a backend ready, so that among
/// the sides of a partition one at most can serve.
///
/// Where many have the address, one withdraws only if it is cut off: a backend that is ready for
/// nobody is no reason for all of them to be gone.
pub(super) fn score(services: &[Standing], rules: Rules) -> Option<(Class, &'static str)> {
    let sum = |of: fn(&Standing) -> usize| services.iter().map(of).sum::<usize>();
    let (ready, known, unproven) = (sum(|s| s.ready), sum(|s| s.known), sum(|s| s.unproven));
    // Who was not asked yet is not known to be out of reach.
    let reached = sum(|s| s.reached) + unproven;
    let less = if rules.many_owners { Class::Healthy } else { Class::Degraded };
    if !services.is_empty() && services.iter().all(|service| service.ready > 0) {
        return Some((Class::Healthy, "every service has a ready backend"));
    }
    if ready == 0 && known > 0 && unproven == known {
        return None;
    }
    if ready > 0 {
        return Some((less, "a service has no ready backend"));
    }
    if known == 0 {
        return Some((less, "no backend is known"));
    }
    if reached * 2 > known {
        return Some((less, "no backend is ready"));
    }
    if rules.keeps {
        let why = "no backend is ready, and most of them cannot be reached; it keeps the address (lastSurvivor)";
        return Some((less, why));
    }
    Some((Class::Fault, "no backend is ready, and most of them cannot be reached"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(ready: usize, reached: usize, known: usize) -> Standing {
        Standing { ready, reached, known, unproven: 0 }
    }

    fn class(services: &[Standing]) -> Option<Class> {
        score(services, Rules::default()).map(|(class, _)| class)
    }

    #[test]
    fn it_serves_through_any_backend() {
        assert_eq!(class(&[standing(1, 1, 3)]), Some(Class::Healthy));
        assert_eq!(class(&[standing(3, 3, 3), standing(1, 1, 1)]), Some(Class::Healthy));
        assert_eq!(class(&[standing(3, 3, 3), standing(0, 1, 1)]), Some(Class::Degraded));
    }

    #[test]
    fn it_is_cut_off_only_where_most_are_out_of_reach() {
        assert_eq!(class(&[standing(0, 1, 3)]), Some(Class::Fault));
        assert_eq!(class(&[standing(0, 2, 3)]), Some(Class::Degraded));
        assert_eq!(class(&[standing(0, 1, 2)]), Some(Class::Fault));
        assert_eq!(class(&[standing(0, 0, 0)]), Some(Class::Degraded));
        // All servers are down, and their hosts say so: the address stays.
        assert_eq!(class(&[standing(0, 3, 3)]), Some(Class::Degraded));
        let keeps = Rules { keeps: true, ..Rules::default() };
        let kept = score(&[standing(0, 0, 3)], keeps);
        assert_eq!(kept.map(|(class, _)| class), Some(Class::Degraded));
    }

    #[test]
    fn where_many_have_it_only_who_is_cut_off_withdraws() {
        let rules = Rules { many_owners: true, ..Rules::default() };
        let class = |services: &[Standing]| score(services, rules).map(|(class, _)| class);
        assert_eq!(class(&[standing(3, 3, 3), standing(0, 1, 1)]), Some(Class::Healthy));
        assert_eq!(class(&[standing(0, 3, 3)]), Some(Class::Healthy));
        assert_eq!(class(&[standing(0, 1, 3)]), Some(Class::Fault));
    }

    #[test]
    fn nothing_is_said_before_anything_is_known() {
        let new = Standing { known: 3, unproven: 3, ..Standing::default() };
        assert_eq!(class(&[new]), None);
        let first = Standing { known: 3, unproven: 2, reached: 1, ready: 1 };
        assert_eq!(class(&[first]), Some(Class::Healthy));
        let refused = Standing { known: 3, unproven: 2, reached: 1, ready: 0 };
        assert_eq!(class(&[refused]), Some(Class::Degraded));
    }
}
