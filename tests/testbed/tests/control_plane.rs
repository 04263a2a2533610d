//! The control plane is real: kubectl talks to it, and what befalls a member shows.

use std::time::Duration;

use evenkeel_testbed::{ControlPlane, Member, Network, Options, User, or_skip, require};
use tokio::time::Instant;

#[test]
fn members_come_and_go() {
    let Some(assets) = or_skip(require()) else { return };
    let network = Network::new().unwrap();
    let client = network.host("client").unwrap();
    let begun = Instant::now();
    let options = Options { apiservers: vec![Member::One, Member::Two], ..Options::default() };
    let mut plane = ControlPlane::start(&network, &assets, &options).unwrap();
    println!("two of three members started in {:?}", begun.elapsed());

    let server = format!("https://{}", plane.address(Member::One));
    let kubeconfig = plane.kubeconfig(&server, User::Admin).unwrap();
    let kubectl = |plane: &ControlPlane, args: &[&str]| {
        let output = plane.kubectl(&client, &kubeconfig, args).unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(kubectl(&plane, &["get", "namespaces"]).contains("default"));
    assert!(kubectl(&plane, &["version"]).contains("Server Version: v1."));

    let begun = Instant::now();
    plane.start_member(Member::Three).unwrap();
    plane.wait_endpoints(&Member::ALL, Duration::from_secs(30)).unwrap();
    println!("the third joined in {:?}", begun.elapsed());

    let begun = Instant::now();
    plane.remove_member(Member::Two).unwrap();
    plane.wait_endpoints(&[Member::One, Member::Three], Duration::from_secs(5)).unwrap();
    println!("the second left in {:?}", begun.elapsed());

    plane.kill(Member::Three).unwrap();
    assert!(!plane.is_running(Member::Three));
    let begun = Instant::now();
    plane.start_member(Member::Three).unwrap();
    println!("the third came back in {:?}", begun.elapsed());

    let leader = plane.etcd_leader().unwrap();
    plane.move_etcd_leader_away_from(leader).unwrap();
    assert_ne!(plane.etcd_leader().unwrap(), leader);
    plane.move_etcd_leader_away_from(Member::One).unwrap();
    assert_ne!(plane.etcd_leader().unwrap(), Member::One);

    let other = plane.kubeconfig(&server, User::Evenkeel).unwrap();
    let refused = plane.kubectl(&client, &other, &["get", "nodes"]).unwrap();
    assert!(String::from_utf8_lossy(&refused.stderr).contains("\"evenkeel\" cannot list"));
}
