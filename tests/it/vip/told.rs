//! What status, events, metrics and `evenkeel vip` say.

use super::site::{HEAD, SERVICE4, SLACK, Site, VIP4, VIP6, wait};
use crate::harness::{stderr, stdout};

#[test]
fn everybody_can_tell_who_has_the_address_and_why() {
    let Some(site) = Site::start() else { return };
    let [owner, backup, _] = &site.routers[..] else { unreachable!("there are three") };
    let vip = owner.vip();
    assert_eq!((vip.name.as_str(), vip.mode.as_str(), vip.owned), ("api", "l2", true));
    assert_eq!(vip.addresses, [VIP4.to_string(), VIP6.to_string()]);
    assert_eq!((vip.owner, vip.vrid, vip.rank), (None, Some(100), Some(17)));
    assert_eq!(vip.interface.as_deref(), Some("eth0"));
    assert_eq!((vip.why.as_str(), vip.warnings), ("no owner was heard", vec![]));
    assert_eq!(vip.class_why, "every service has a ready backend");
    assert!(vip.since_seconds > 0.0);
    let other = backup.vip();
    assert_eq!((other.owned, other.owner.as_deref()), (false, Some("10.0.0.21")));
    assert!(owner.events().contains("owner: no owner was heard"), "{}", owner.events());
    for (place, router) in site.routers.iter().enumerate() {
        let owned = router.counted("evenkeel_vip_owned", "interface=\"eth0\"");
        assert_eq!(owned, u64::from(place == 0));
        assert_eq!(router.counted("evenkeel_vip_class", "vip=\"api\""), 3);
    }
    assert!(owner.counted("evenkeel_vip_adverts_sent_total", "vip=\"api\"") > 0);
    assert!(owner.counted("evenkeel_vip_announcements_total", "vip=\"api\"") > 0);
    assert!(backup.counted("evenkeel_vip_adverts_received_total", "vip=\"api\"") > 0);
    let table = stdout(&owner.run(&["status"]));
    for word in ["api", "owner", &VIP4.to_string()] {
        assert!(table.contains(word), "{word}: {table}");
    }
    let events = stdout(&owner.run(&["events"]));
    assert!(events.contains("no owner was heard"), "{events}");

    // Asked elsewhere, it says where.
    let refused = backup.run(&["vip", "move", "api"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("10.0.0.21 has it: ask for the move there"), "{said}");
    let refused = stderr(&owner.run(&["vip", "move", "web"]));
    assert!(refused.contains("no VIP `web`: there are api"), "{refused}");
    assert_eq!(site.holders(), [0]);

    // Without a name it is the only one.
    assert!(owner.run(&["vip", "move"]).status.success());
    let second = site.wait_moved(0, SLACK);
    wait("the new one says why", SLACK, || {
        site.routers[second].vip().why == "the owner 10.0.0.21 gave it up"
    });
    wait("the old one says where it is", SLACK, || {
        owner.vip().owner == Some(site.routers[second].host.ipv4().to_string())
    });
    assert!(owner.vip().why.contains("has taken over"), "{}", owner.vip().why);
}

#[test]
fn an_owner_without_others_keeps_the_address_and_says_so() {
    let Some(mut site) = Site::new() else { return };
    site.routers[0].start(&super::site::config());
    wait("it is the owner", super::site::LONG, || site.routers[0].owns());
    let stays = evenkeel_testbed::Stays::start(&site.client, SERVICE4, 5).unwrap();
    let refused = site.routers[0].run(&["vip", "move"]);
    assert_eq!(refused.status.code(), Some(1));
    let said = stderr(&refused);
    assert!(said.contains("no other node took it over, so it stays"), "{said}");
    assert!(site.routers[0].owns());
    assert_eq!((site.holders(), stays.open()), (vec![0], 5));
    assert!(site.routers[0].events().contains("nobody took it over"));
}

#[test]
fn without_vips_there_is_nothing_to_move() {
    let Some(mut site) = Site::new() else { return };
    let config = format!(
        "{HEAD}services:
  - {{name: api, preset: tcp, listen: {{addresses: [\"0.0.0.0:6443\"]}}, sources: [{{static: {{endpoints: [\"10.0.0.21:7443\"]}}}}]}}
"
    );
    let router = &mut site.routers[0];
    let nobody = router.run(&["vip", "move"]);
    assert_eq!(nobody.status.code(), Some(5), "{}", stderr(&nobody));
    router.start(&config);
    let refused = router.run(&["vip", "move"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("this evenkeel has no `vips`"), "{}", stderr(&refused));
}
