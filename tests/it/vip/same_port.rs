//! A server that has the port already on all addresses of each router, as a kube-apiserver does.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use evenkeel_testbed::{Greeter, Host, Knocks};

use super::site::{
    HEAD, LONG, SERVICE4, SERVICE6, SLACK, Site, VIP4, VIP6, endpoints, nobody_failed, wait,
};

/// The port of both.
const PORT: u16 = 6443;

#[test]
fn a_server_with_the_same_port_serves_its_node_and_the_address_all() {
    let Some(mut site) = Site::new() else { return };
    // Of the first and the third, the server is there before evenkeel, of the second after it.
    for place in [0, 2] {
        site.routers[place].backend = Some(serve(&site.routers[place].host));
    }
    site.routers[1].backend = None;
    site.routers[0].start(&config());
    wait("router-1 is the owner", LONG, || site.routers[0].owns());
    site.routers[1].start(&config());
    site.routers[1].backend = Some(serve(&site.routers[1].host));
    site.routers[2].start(&config());
    wait("all are ready", LONG, || site.routers.iter().all(|router| router.service().ready == 3));
    site.wait_settled(0);

    // From outside, from the owner itself and from the others: through evenkeel, to all.
    for service in [SERVICE4, SERVICE6] {
        for host in [&site.client].into_iter().chain(site.routers.iter().map(|r| &r.host)) {
            let before = total(&site);
            let answers = ask(host, service, 12);
            assert_eq!(answers.len(), 3, "{} asks {service}: {answers:?}", host.name());
            // Each once: nothing that evenkeel opens comes back to it.
            assert_eq!(total(&site) - before, 12, "{} asks {service}", host.name());
        }
    }
    // What is for a node goes to its server.
    for router in &site.routers {
        for address in router.host.addresses() {
            let own: BTreeSet<String> = [router.host.name().to_owned()].into();
            for host in [&site.client, &site.routers[0].host, &router.host] {
                assert_eq!(ask(host, (address, PORT).into(), 3), own, "{}", host.name());
            }
        }
    }

    // It moves with all that.
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    assert!(site.routers[0].run(&["vip", "move"]).status.success());
    let second = site.wait_moved(0, SLACK);
    site.wait_settled(second);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    nobody_failed(knocks);
    for host in [&site.client, &site.routers[second].host, &site.routers[0].host] {
        assert_eq!(ask(host, SERVICE4, 12).len(), 3, "{}", host.name());
    }

    // Killed, it leaves nothing behind.
    assert!(tables(&site.routers[second].host).contains("evenkeel"));
    site.routers[second].kill();
    wait("the rules are gone", Duration::from_secs(1) + SLACK, || {
        tables(&site.routers[second].host).is_empty()
    });
    wait("so is the address", Duration::from_secs(2) + SLACK, || {
        [VIP4, VIP6].into_iter().all(|vip| !site.routers[second].host.has(vip).unwrap())
    });
    wait("another serves", Duration::from_secs(2) + SLACK, || {
        site.serves(SERVICE4) && site.serves(SERVICE6)
    });
    let others = site.routers.iter().filter(|router| router.evenkeel.is_some());
    assert!(others.clone().count() == 2 && others.clone().any(super::site::Router::owns));
}

/// How many connections evenkeel has taken, everywhere.
fn total(site: &Site) -> u64 {
    let routers = site.routers.iter().filter(|router| router.evenkeel.is_some());
    routers.map(|router| router.service().total_connections).sum()
}

/// Who answers so many clients that come one after the other.
fn ask(host: &Host, to: SocketAddr, times: usize) -> BTreeSet<String> {
    (0..times).map(|_| Knocks::once(host, to).unwrap().answer.unwrap()).collect()
}

fn serve(host: &Host) -> Greeter {
    Greeter::start(host, PORT).unwrap()
}

/// The nftables tables of a host.
fn tables(host: &Host) -> String {
    let output = host.command("nft").args(["list", "tables"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn config() -> String {
    let listen: [IpAddr; 2] = [VIP4, VIP6];
    format!(
        "{HEAD}vips: [{{name: api, addresses: [\"{VIP4}\", \"{VIP6}\"], interface: eth0}}]
services:
  - name: api
    preset: tcp
    policy: {{roundRobin: {{}}}}
    failover: {{slowStart: 0s}}
    listen: {{addresses: [{}]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
",
        listen.map(|ip| format!("\"{}\"", SocketAddr::new(ip, PORT))).join(", "),
        endpoints(PORT)
    )
}
