//! Keys of a VIP, and what a node does otherwise for them; and what a host has only once.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use evenkeel_testbed::Host;

use super::site::{
    BACKEND, HEAD, LONG, SERVICE4, SLACK, Site, VIP4, config, endpoints, wait, with,
};
use crate::harness::stderr;

#[test]
fn a_second_evenkeel_on_a_host_does_not_move_the_same_address() {
    let Some(mut site) = Site::new() else { return };
    site.routers[0].start(&config());
    wait("it is the owner", LONG, || site.routers[0].owns());
    let other = site.write("second.yaml", &(config() + "admin: {listen: 127.0.0.1:9644}\n"));
    let second = site.routers[0].run(&["run", "--config", other.to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    let expected = format!("{VIP4} is moved by another evenkeel on this host already, process ");
    assert!(said.contains(&expected), "{said}");
    assert!(site.routers[0].owns() && site.routers[0].host.has(VIP4).unwrap());
    assert!(site.serves(SERVICE4));
}

#[test]
fn the_address_comes_after_the_own_one_of_its_interface() {
    let Some(site) = Site::start() else { return };
    let host = &site.routers[0].host;
    let own = IpAddr::from(host.ipv4());
    assert_eq!(addresses(host), [own, VIP4]);
    // Faster than evenkeel looks, so that it never sees the interface without: else it lets go of the
    // VIP, and whoever claims it next has it behind anyway.
    let lines = site.write(
        "anew",
        &format!("address delete {own}/24 dev eth0\naddress add {own}/24 dev eth0\n"),
    );
    site.routers[0].process().freeze().unwrap();
    let anew = host.command("ip").arg("-batch").arg(&lines).output().unwrap();
    let between = addresses(host);
    site.routers[0].process().thaw().unwrap();
    assert!(anew.status.success(), "{}", stderr(&anew));
    assert_eq!(between, [VIP4, own]);
    // On a machine too busy for it the VIP may be elsewhere by now, and behind there.
    wait("it is behind again", LONG, || {
        site.holders().len() == 1 && {
            let holder = &site.routers[site.holders()[0]].host;
            addresses(holder) == [IpAddr::from(holder.ipv4()), VIP4]
        }
    });
}

/// The IPv4 addresses of the interface, as the kernel lists them.
fn addresses(host: &Host) -> Vec<IpAddr> {
    let list = host.ip("-4 -o address show dev eth0").unwrap();
    let address = |line: &str| {
        let with_length = line.split_whitespace().nth(3)?;
        with_length.split('/').next()?.parse().ok()
    };
    list.lines().filter_map(address).collect()
}

#[test]
fn an_owner_defends_the_address_or_yields_it_as_it_is_told() {
    for (mode, yields) in [("defend", false), ("yield", true)] {
        let Some(mut site) = Site::new() else { return };
        let stranger = site.network.host("stranger").unwrap();
        site.routers[0].start(&with(&format!(", mode: {{l2: {{conflict: {mode}}}}}")));
        wait("it is the owner", LONG, || site.routers[0].owns());
        // The kernel of the owner before could still use it for that long.
        wait("it takes others for strangers", LONG, || site.routers[0].vip().since_seconds > 2.5);
        stranger.ip(&format!("address add {VIP4}/32 dev eth0")).unwrap();
        let speak = || UdpSocket::bind((VIP4, 0))?.send_to(b"?", ("10.0.0.250", 9));
        stranger.within(speak).unwrap().unwrap();
        let mac = stranger.mac().unwrap();
        wait("it notices the stranger", LONG, || {
            site.routers[0].vip().warnings.contains(&format!("{mac} uses the address too"))
        });
        wait("it does as it is told", SLACK, || site.routers[0].owns() != yields);
        let told = if yields { "we give way" } else { "we stay" };
        assert!(site.routers[0].events().contains(told), "{}", site.routers[0].events());
    }
}

#[test]
fn named_peers_hear_each_other_where_multicast_is_lost() {
    let Some(mut site) = Site::new() else { return };
    let _lost = site.network.forbid_vrrp_multicast().unwrap();
    // The other form of checksum is heard too.
    let config = with(
        ", mode: {l2: {peers: [\"10.0.0.21\", \"10.0.0.22\", \"10.0.0.23\"], checksum: rfc9568}}",
    );
    site.run(&config);
    site.routers[0].kill();
    let second = site.wait_moved(0, LONG);
    wait("the third hears the second", LONG, || {
        let third = &site.routers[3 - second];
        third.vip().owner == Some(site.routers[second].host.ipv4().to_string())
    });
    assert_eq!(site.routers[3 - second].times_taken(), 0);
}

#[test]
fn the_greater_rank_takes_over_first() {
    let Some(mut site) = Site::new() else { return };
    let ranked = |rank: u8| with(&format!(", mode: {{l2: {{rank: {rank}}}}}"));
    // By their addresses it would be the third.
    for (place, rank) in [(0, 20), (1, 47), (2, 0)] {
        site.routers[place].start(&ranked(rank));
        wait("router-1 is the owner", LONG, || site.routers[0].owns());
    }
    site.wait_settled(0);
    assert_eq!(site.routers[1].vip().rank, Some(47));
    site.routers[0].end();
    assert_eq!(site.wait_moved(0, LONG), 1);
    assert_eq!(site.routers[2].times_taken(), 0);
}

#[test]
fn a_last_survivor_that_is_to_keep_the_address_does() {
    let Some(mut site) = Site::new() else { return };
    let keep = with(", lastSurvivor: keep");
    site.run(&keep);
    let [first, second, third] = &site.routers[..] else { unreachable!("there are three") };
    let _parted =
        site.network.part(&[&first.host, &site.client], &[&second.host, &third.host]).unwrap();
    site.routers[0].backend = None;
    wait("it knows that it is alone", LONG, || {
        let vip = site.routers[0].vip();
        vip.class.as_deref() == Some("degraded") && vip.class_why.contains("lastSurvivor")
    });
    assert!(site.routers[0].owns());
}

#[test]
fn a_port_is_redirected_always_or_never_as_it_is_told() {
    for (redirect, tables) in [("always", true), ("never", false)] {
        let Some(mut site) = Site::new() else { return };
        let text = format!(
            "{HEAD}vips: [{{name: api, addresses: [\"{VIP4}\"], interface: eth0, redirect: {redirect}}}]
services:
  - name: api
    preset: tcp
    listen: {{addresses: [\"{SERVICE4}\"]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
",
            endpoints(BACKEND)
        );
        site.routers[0].start(&text);
        wait("it is the owner", LONG, || site.routers[0].owns());
        wait("it serves", Duration::from_secs(1) + SLACK, || site.serves(SERVICE4));
        let list = site.routers[0].host.command("nft").args(["list", "tables"]).output().unwrap();
        let list = String::from_utf8(list.stdout).unwrap();
        assert_eq!(list.contains("evenkeel_"), tables, "{redirect}: {list}");
    }
}
