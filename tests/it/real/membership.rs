//! With nothing but a kubeconfig, the members are who the cluster says they are.

use std::fs;
use std::path::Path;
use std::time::Duration;

use evenkeel_admin::status::ServiceStatus;
use evenkeel_testbed::{Member, Options, User};
use tokio::time::Instant;

use super::site::{Evenkeel, Site, wait};

#[test]
fn members_are_discovered_and_followed_and_the_lost_still_count() {
    let Some(mut site) = Site::start(Options::default()) else { return };
    let evenkeel = all_are_discovered_by_whom_rbac_allows_no_more(&site);
    who_leaves_and_joins_is_followed(&mut site, &evenkeel);
    who_is_lost_still_counts(&mut site, &evenkeel);
}

fn all_are_discovered_by_whom_rbac_allows_no_more(site: &Site) -> Evenkeel {
    let rbac = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/rbac.yaml");
    site.kubectl_past(Member::Two, &["apply", "--filename", rbac.to_str().unwrap()]);
    // It names one of them, and is kubeadm's: its server is the node's own.
    let kubeconfig = site.kubeconfig_of(SERVER, User::Evenkeel);
    let allowed = ["get", "endpointslices"];
    wait("RBAC has come to that one", PATIENCE, || {
        let answered = site.plane.kubectl(&site.client, &kubeconfig, &allowed).unwrap();
        answered.status.success()
    });
    let begun = Instant::now();
    let evenkeel = site.start_evenkeel(&["run", "--kubeconfig", kubeconfig.to_str().unwrap()]);
    evenkeel.until_ready(3, PATIENCE);
    println!("all discovered and ready {:.1?} after the start", begun.elapsed());
    let status = evenkeel.status();
    assert_eq!(status.verdict, "3 of 3 ready, tolerates 1 more failure");
    assert_eq!(status.warnings, Vec::<String>::new());
    // Nobody was asked in vain, which would have cost a second.
    let log = fs::read_to_string(evenkeel.process.log()).unwrap();
    assert!(!log.contains("discovery has no answer"), "{log}");
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));
    evenkeel
}

fn who_leaves_and_joins_is_followed(site: &mut Site, evenkeel: &Evenkeel) {
    let member = Member::Three;
    let address = site.plane.address(member).to_string();
    let is_in = |status: &ServiceStatus| {
        status.backends.iter().any(|backend| backend.endpoint == address && !backend.leaving)
    };
    site.plane.terminate(member).unwrap();
    let left = evenkeel.until("it has left", PATIENCE, |status| !is_in(status));
    site.plane.wait_exit(member, Duration::from_secs(75)).unwrap();
    site.plane.start_member(member).unwrap();
    let joined =
        evenkeel.until("it has joined", PATIENCE, |status| is_in(status) && status.ready == 3);
    println!("left {left:.1?} after SIGTERM, joined {joined:.1?} after it was ready");
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));
}

/// It is the one that the kubeconfig names.
fn who_is_lost_still_counts(site: &mut Site, evenkeel: &Evenkeel) {
    let verdict = "2 of 3 ready, no further failure tolerated (stacked etcd needs 2 of 3)";
    site.plane.kill(SERVER).unwrap();
    evenkeel.until("2 of 3", PATIENCE, |status| status.verdict == verdict);
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));

    // The cluster forgets it when its lease has run out.
    site.plane.wait_endpoints(&SERVER.others(), Duration::from_secs(40)).unwrap();
    let followed = evenkeel.until("the list of two", Duration::from_secs(10), |status| {
        status.sources.iter().all(|source| source.endpoints == 2)
    });
    println!("the lost one is off the list; followed after {followed:.1?}");
    assert_eq!(evenkeel.status().verdict, verdict);
    let table = site.status_table();
    println!("{table}");
    assert!(table.contains(verdict), "{table}");

    site.plane.start_member(SERVER).unwrap();
    evenkeel.until_ready(3, PATIENCE);
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));
}

/// Whom the kubeconfig names.
const SERVER: Member = Member::One;
const PATIENCE: Duration = Duration::from_secs(5);
