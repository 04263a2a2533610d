//! The address that moves, on the control-plane nodes themselves: each has an API server on the very
//! port of the VIP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use evenkeel_admin::status::{Status, VipStatus};
use evenkeel_testbed::{Load, LoadOptions, Member, Options, User, or_skip, require_program};
use tokio::time::Instant;

use super::site::{Evenkeel, Site, wait};
use super::{AGAIN, LONG, pause};
use crate::harness::stderr;

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
const FRONT: SocketAddr = SocketAddr::new(VIP, 6443);

#[test]
fn a_vip_on_the_api_servers_own_port_moves_and_nobody_fails() {
    let options = Options { extra_sans: vec![VIP.to_string()], ..Options::default() };
    let Some(()) = or_skip(require_program("nft", "nftables")) else { return };
    let Some(mut site) = Site::start(options) else { return };
    let usual = site.config(&site.credentials(User::Probe), "{}");
    let vips = format!("vips: [{{name: api, addresses: [\"{VIP}\"], interface: eth0}}]\nservices:");
    let config = usual.replace("0.0.0.0:6443", &FRONT.to_string()).replace("services:", &vips);
    let file = site.write("vip.yaml", &config);
    let start = |member| {
        let args = ["run", "--config", file.to_str().unwrap()];
        Site::start_evenkeel_on(site.plane.host(member), &args)
    };
    let mut nodes = Member::ALL.map(start);
    for node in &nodes {
        node.until_ready(3, Duration::from_secs(10));
    }
    let first = wait_owner(&nodes, None, Duration::from_secs(5));

    // A planned move.
    let ticker = Member::ALL[(first + 1) % 3];
    let clients = load(&site, ticker);
    pause(Duration::from_secs(1));
    let asked = Instant::now();
    let host = site.plane.host(Member::ALL[first]);
    let moved =
        host.command(crate::harness::EVENKEEL).args(["vip", "move", "api"]).output().unwrap();
    assert!(moved.status.success(), "{}", stderr(&moved));
    let second = wait_owner(&nodes, Some(first), Duration::from_secs(1));
    pause(Duration::from_secs(2));
    let felt = clients.stop().unwrap();
    println!("moved:\n{felt}");
    assert_eq!(felt.failed_new(), 0, "{felt}");
    assert!(felt.longest_new_after(asked) < LONG, "{felt}");
    assert!(felt.longest_watch_gap() < LONG && felt.longest_kept_gap() < LONG + AGAIN, "{felt}");

    // The API server beside the owner ends: clients have the others, and the address stays.
    let ticker = Member::ALL[(second + 1) % 3];
    site.plane.move_etcd_leader_away_from(Member::ALL[second]).unwrap();
    let clients = load(&site, ticker);
    pause(Duration::from_secs(1));
    site.plane.kill(Member::ALL[second]).unwrap();
    let gone = Instant::now();
    nodes[second].until_ready(2, Duration::from_secs(2));
    pause(Duration::from_secs(2));
    let felt = clients.stop().unwrap();
    println!("its API server killed:\n{felt}");
    assert_eq!(felt.failed_new_after(gone), 0, "{felt}");
    assert_eq!(owners(&nodes), [second]);
    site.plane.start_member(Member::ALL[second]).unwrap();
    for node in &nodes {
        node.until_ready(3, Duration::from_secs(10));
    }

    // evenkeel is killed on the owner, whose API server goes on: for as long as the address is left
    // there it has these clients, and they are not told when the address goes.
    let clients = load(&site, ticker);
    pause(Duration::from_secs(1));
    nodes[second].process.kill().unwrap();
    let others = [(second + 1) % 3, (second + 2) % 3];
    wait("another is the owner", Duration::from_secs(2), || {
        others.iter().any(|place| vip(&nodes[*place]).state == "owner")
    });
    wait("its address is gone", Duration::from_secs(3), || {
        !site.plane.host(Member::ALL[second]).has(VIP).unwrap()
    });
    let over = Instant::now();
    pause(Duration::from_secs(2));
    let felt = clients.stop().unwrap();
    println!("killed:\n{felt}");
    assert_eq!(felt.failed_new_after(over), 0, "{felt}");
    let past = site.kubectl_past(Member::ALL[second], &["get", "namespaces"]);
    assert!(past.contains("default"), "{past}");
}

fn load(site: &Site, ticker: Member) -> Load {
    site.load_with(LoadOptions::new(FRONT, site.plane.address(ticker)))
}

fn vip(node: &Evenkeel) -> VipStatus {
    let (_, body) = node.get("/api/v1/status");
    let status: Status = serde_json::from_str(&body).unwrap();
    status.vips.into_iter().next().unwrap()
}

/// The places of those that have the address, by their own words.
fn owners(nodes: &[Evenkeel]) -> Vec<usize> {
    (0..nodes.len()).filter(|place| vip(&nodes[*place]).owned).collect()
}

/// Waits until exactly one has it, which is another than before.
fn wait_owner(nodes: &[Evenkeel], before: Option<usize>, limit: Duration) -> usize {
    wait(
        "there is one owner",
        limit,
        || matches!(owners(nodes).as_slice(), [one] if Some(*one) != before),
    );
    owners(nodes)[0]
}
