//! Something drops VRRP and lets all else pass: routers do not hear of each other.

use std::time::Duration;

use tokio::time::Instant;

use super::site::{LONG, SLACK, Site, wait};

#[test]
fn routers_that_do_not_hear_each_other_find_one_owner_by_its_announcements() {
    let Some(site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let conflicts = || {
        let of = |router: &super::site::Router| {
            router.counted("evenkeel_vip_conflicts_total", "by=\"announcement\"")
        };
        site.routers.iter().map(of).sum::<u64>()
    };
    let filter = site.network.forbid_vrrp().unwrap();
    let begun = Instant::now();
    // Another claims it, and then there is one again.
    wait("somebody says so", Duration::from_secs(2) + SLACK, || conflicts() > 0);
    wait("there is one owner", Duration::from_secs(3) + SLACK, || site.holders().len() == 1);
    let one = begun.elapsed();
    let owner = site.holders()[0];
    let others = || (0..3).filter(|place| *place != owner).map(|place| &site.routers[place]);
    wait("the others know why they do not claim it", LONG, || {
        others().all(|router| {
            let warned = |warning: &String| warning.contains("uses the address too");
            router.vip().state == "backup" && router.vip().warnings.iter().any(warned)
        })
    });
    assert!(others().any(|router| router.events().contains("without adverts: we give way")));
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    assert_eq!(site.holders(), [owner]);
    wait("the client's neighbour is the owner", SLACK, || site.client_believes(owner));

    let watch = site.watch();
    filter.lift().unwrap();
    site.wait_settled(owner);
    assert_eq!(watch.changes().len(), 1, "{:?}", watch.changes());
    println!("unheard: one owner after {one:.1?}");
}
