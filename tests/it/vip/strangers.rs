//! Others that use the address, and others that take it, or the interface, away.

use std::time::Duration;

use evenkeel_testbed::Adverts;
use tokio::time::Instant;

use super::site::{LONG, SERVICE4, SERVICE6, SLACK, Site, VIP4, VIP6, config, sources, wait};

#[test]
fn an_address_that_another_host_has_is_not_claimed() {
    let Some(mut site) = Site::new() else { return };
    let stranger = site.network.host("stranger").unwrap();
    stranger.ip(&format!("address add {VIP4}/32 dev eth0")).unwrap();
    for router in &mut site.routers {
        router.start(&config());
    }
    let mac = stranger.mac().unwrap();
    wait("all say why they do not claim it", LONG, || {
        site.routers.iter().all(|router| {
            router.events().contains(&format!("not claimed: {mac} answers for the address"))
                && router.vip().warnings.contains(&format!("{mac} uses the address too"))
        })
    });
    assert!(site.routers.iter().all(|router| router.times_taken() == 0));
    assert!(site.holders().is_empty());

    stranger.ip(&format!("address delete {VIP4}/32 dev eth0")).unwrap();
    wait("one claims it", LONG, || site.holders().len() == 1);
    let owner = site.holders()[0];
    site.wait_settled(owner);
    // The client may have believed in the stranger.
    wait("it serves", SLACK, || site.serves(SERVICE4) && site.serves(SERVICE6));
}

#[test]
fn an_address_that_is_removed_is_back_at_once() {
    let Some(site) = Site::start() else { return };
    let (owner, watch) = (&site.routers[0], site.watch());
    for (address, length) in [(VIP4, 32), (VIP6, 128)] {
        owner.host.ip(&format!("address delete {address}/{length} dev eth0")).unwrap();
        wait("it is back", Duration::from_millis(500) + SLACK, || owner.host.has(address).unwrap());
    }
    // Not each time, if it is removed again and again.
    let told = || owner.counted("evenkeel_vip_added_again_total", "vip=\"api\"");
    wait("it says so", SLACK, || told() >= 1);
    assert!(owner.events().contains("added again"));
    assert!(site.serves(SERVICE4) && site.serves(SERVICE6));
    assert_eq!((watch.now(), owner.times_taken()), (vec!["router-1".to_owned()], 1));
}

#[test]
fn an_owner_whose_interface_loses_all_addresses_recovers_once_it_has_its_own_again() {
    let Some(site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let host = &site.routers[0].host;
    let own = sources(host);
    host.ip("address flush dev eth0").unwrap();
    let second = site.wait_moved(0, Duration::from_secs(2) + SLACK);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    wait("it says what it lacks", LONG, || {
        site.routers[0].vip().why.contains("no address of its own")
    });
    assert_eq!(site.routers[0].vip().state, "down");

    host.ip(&format!("address add {}/24 dev eth0", host.ipv4())).unwrap();
    host.ip(&format!("address add {}/64 dev eth0 nodad", host.ipv6())).unwrap();
    host.ip(&format!("address add {}/64 dev eth0 nodad", own[1])).unwrap();
    site.wait_settled(second);
    assert_eq!(site.holders(), [second]);
}

#[test]
fn an_interface_that_is_made_anew_is_used_again() {
    let Some(site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let host = &site.routers[0].host;
    host.remove_interface().unwrap();
    let second = site.wait_moved(0, Duration::from_secs(1) + SLACK);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    wait("it says what it lacks", LONG, || site.routers[0].vip().why.contains("no such interface"));
    host.add_interface().unwrap();
    site.wait_settled(second);
    // It can have it again.
    assert!(site.routers[second].run(&["vip", "move"]).status.success());
    let third = site.wait_moved(second, SLACK);
    site.wait_settled(third);
    if third != 0 {
        assert!(site.routers[third].run(&["vip", "move"]).status.success());
    }
}

#[test]
fn an_address_that_somebody_configured_here_for_good_is_left_alone() {
    let Some(site) = Site::start() else { return };
    let adverts = Adverts::hear(&site.client).unwrap();
    let last = &site.routers[2];
    last.host.ip(&format!("address add {VIP4}/32 dev eth0")).unwrap();
    let begun = Instant::now();
    wait("it says so", Duration::from_secs(2) + SLACK, || {
        last.vip().state == "down" && last.vip().why.contains("not by evenkeel: remove it there")
    });
    wait("time passes", LONG, || adverts.of(&site.routers[0].host, begun).len() >= 20);
    assert!(last.host.has(VIP4).unwrap());
    last.host.ip(&format!("address delete {VIP4}/32 dev eth0")).unwrap();
    wait("it can have it again", LONG, || last.vip().state == "backup");
    site.wait_settled(0);
    assert_eq!(site.holders(), [0]);
}
