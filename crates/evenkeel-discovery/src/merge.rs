//! Many sources, one set of endpoints. Pure.

use std::net::{IpAddr, SocketAddr};

use evenkeel_core::endpoint::{Endpoint, EndpointSet, Provenance};

/// The endpoints of a service, out of all that its sources say.
///
/// - `previous` is what this function last returned; empty at first.
/// - `seeds` are the endpoints written in the config. They are always in.
/// - `slices` is what the EndpointSlice source says: `None` as long as it has said nothing. An
///   empty answer counts as none, and what it said before stays; so do its endpoints if all of a
///   new answer is unusable.
/// - `own` are the addresses at which we ourselves are reached. Discovery cannot bring them in:
///   k0s with `externalAddress`, for one, lists the load balancer as the only API server.
///
/// Once there is an endpoint there is always one: if the sources leave nothing, `previous` stays.
pub fn merge(
    previous: &EndpointSet,
    seeds: &EndpointSet,
    slices: Option<&EndpointSet>,
    own: &[SocketAddr],
) -> EndpointSet {
    // A cluster with a seed on loopback is on this host as a whole: the demo, and tests.
    let on_this_host = seeds.iter().any(|seed| seed.ip().is_loopback());
    let usable = |endpoint: Endpoint| {
        !own.iter().any(|own| Endpoint::new(*own) == endpoint)
            && (is_reachable(endpoint.ip()) || endpoint.ip().is_loopback() && on_this_host)
    };
    let discovered = |set: &EndpointSet| {
        let listed = set
            .iter()
            .filter(|endpoint| set.provenance(*endpoint).contains(&Provenance::EndpointSlice));
        EndpointSet::from_source(
            Provenance::EndpointSlice,
            listed.filter(|endpoint| usable(*endpoint)),
        )
    };
    let mut listed = slices.map(discovered).unwrap_or_default();
    if listed.is_empty() {
        listed = discovered(previous);
    }
    let mut merged = seeds.clone();
    merged.extend(&listed);
    if merged.is_empty() {
        // A reload took the last seed away, and the new source has not answered yet.
        merged = previous.clone();
        merged.retain(usable);
    }
    merged
}

/// Whether an address can be that of another host.
fn is_reachable(ip: IpAddr) -> bool {
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !(ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || link_local)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::new(text.parse().unwrap())
    }

    fn set(provenance: Provenance, endpoints: &[&str]) -> EndpointSet {
        EndpointSet::from_source(provenance, endpoints.iter().map(|text| endpoint(text)))
    }

    fn seeds(endpoints: &[&str]) -> EndpointSet {
        set(Provenance::Static, endpoints)
    }

    fn slices(endpoints: &[&str]) -> EndpointSet {
        set(Provenance::EndpointSlice, endpoints)
    }

    fn names(set: &EndpointSet) -> Vec<String> {
        set.iter().map(|endpoint| endpoint.to_string()).collect()
    }

    #[test]
    fn what_both_know_keeps_both_provenances() {
        let merged = merge(
            &EndpointSet::default(),
            &seeds(&["10.0.0.1:6443"]),
            Some(&slices(&["10.0.0.1:6443", "10.0.0.2:6443"])),
            &[],
        );
        assert_eq!(
            merged.provenance(endpoint("10.0.0.1:6443")),
            [Provenance::Static, Provenance::EndpointSlice]
        );
        assert_eq!(merged.provenance(endpoint("10.0.0.2:6443")), [Provenance::EndpointSlice]);
    }

    #[test]
    fn an_endpoint_that_leaves_the_slice_leaves_the_set() {
        let previous = slices(&["10.0.0.1:6443", "10.0.0.2:6443"]);
        let now = slices(&["10.0.0.2:6443"]);
        let merged = merge(&previous, &EndpointSet::default(), Some(&now), &[]);
        assert_eq!(names(&merged), ["10.0.0.2:6443"]);
    }

    #[test]
    fn no_answer_and_an_empty_answer_keep_what_was_listed() {
        let previous = slices(&["10.0.0.2:6443"]);
        let seeds = seeds(&["10.0.0.1:6443"]);
        for answer in [None, Some(&EndpointSet::default())] {
            let merged = merge(&previous, &seeds, answer, &[]);
            assert_eq!(names(&merged), ["10.0.0.1:6443", "10.0.0.2:6443"]);
        }
    }

    #[test]
    fn a_slice_that_lists_only_ourselves_changes_nothing() {
        let own = ["10.0.0.10:6443".parse().unwrap()];
        let previous = slices(&["10.0.0.2:6443"]);
        let answer = slices(&["10.0.0.10:6443"]);
        let merged = merge(&previous, &EndpointSet::default(), Some(&answer), &own);
        assert_eq!(names(&merged), ["10.0.0.2:6443"]);
    }

    #[test]
    fn what_cannot_be_another_host_is_not_taken_from_discovery() {
        let answer = slices(&[
            "127.0.0.1:6443",
            "[::1]:6443",
            "0.0.0.0:6443",
            "169.254.1.1:6443",
            "[fe80::1]:6443",
            "224.0.0.1:6443",
            "[ff02::1]:6443",
            "255.255.255.255:6443",
            "10.0.0.1:6443",
        ]);
        let merged = merge(&EndpointSet::default(), &EndpointSet::default(), Some(&answer), &[]);
        assert_eq!(names(&merged), ["10.0.0.1:6443"]);
    }

    #[test]
    fn a_cluster_on_this_host_lists_loopback() {
        let answer = slices(&["127.0.0.1:16442"]);
        let merged =
            merge(&EndpointSet::default(), &seeds(&["127.0.0.1:16441"]), Some(&answer), &[]);
        assert_eq!(names(&merged), ["127.0.0.1:16441", "127.0.0.1:16442"]);
    }

    #[test]
    fn a_reload_that_drops_the_last_seed_waits_for_the_slice() {
        let previous = seeds(&["10.0.0.1:6443"]);
        let merged = merge(&previous, &EndpointSet::default(), None, &[]);
        assert_eq!(names(&merged), ["10.0.0.1:6443"]);
        let answer = slices(&["10.0.0.2:6443"]);
        let merged = merge(&merged, &EndpointSet::default(), Some(&answer), &[]);
        assert_eq!(names(&merged), ["10.0.0.2:6443"]);
    }

    fn any_set(provenance: Provenance) -> impl Strategy<Value = EndpointSet> {
        let address = (prop_oneof![Just(10u8), Just(127), Just(169)], 0..4u8);
        proptest::collection::vec(address, 0..5).prop_map(move |addresses| {
            let endpoint = |(a, d): (u8, u8)| {
                let b = if a == 169 { 254 } else { 0 };
                Endpoint::new(SocketAddr::from(([a, b, 0, d], 6443)))
            };
            EndpointSet::from_source(provenance, addresses.into_iter().map(endpoint))
        })
    }

    proptest! {
        #[test]
        fn the_laws_hold_for_any_history(
            history in proptest::collection::vec(
                (
                    any_set(Provenance::Static),
                    proptest::option::of(any_set(Provenance::EndpointSlice)),
                ),
                1..6,
            ),
            own in proptest::collection::vec(0..4u8, 0..3),
        ) {
            let own: Vec<SocketAddr> =
                own.iter().map(|d| SocketAddr::from(([10, 0, 0, *d], 6443))).collect();
            let is_own = |e: Endpoint| own.contains(&e.address());
            let mut current = EndpointSet::default();
            for (seeds, slices) in &history {
                let next = merge(&current, seeds, slices.as_ref(), &own);
                // Seeds are always in.
                prop_assert!(seeds.iter().all(|seed| next.contains(seed)));
                // What is ours is in only if it is written in the config.
                prop_assert!(next.iter().all(|e| !is_own(e) || seeds.contains(e)));
                // Nothing comes from nowhere.
                let known = |e: &Endpoint| {
                    seeds.contains(*e)
                        || current.contains(*e)
                        || slices.as_ref().is_some_and(|slices| slices.contains(*e))
                };
                prop_assert!(next.iter().all(|e| known(&e)));
                // It never empties.
                let had_usable = current.iter().any(|e| !is_own(e) && is_reachable(e.ip()));
                prop_assert!(!(had_usable && next.is_empty()));
                // The same again changes nothing.
                prop_assert_eq!(&merge(&next, seeds, slices.as_ref(), &own), &next);
                current = next;
            }
        }
    }
}
