//! The owner's process stands still, and goes on as if nothing had been.

use std::thread;
use std::time::Duration;

use evenkeel_testbed::Adverts;
use tokio::time::Instant;

use super::site::{LONG, SLACK, Site, VIP4, VIP6, wait};

#[test]
fn an_owner_that_stood_still_lets_go_before_it_says_a_word() {
    let Some(site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let adverts = Adverts::hear(&site.client).unwrap();
    let old = &site.routers[0];
    old.process().freeze().unwrap();
    let frozen = Instant::now();
    wait("its address goes by itself", Duration::from_millis(1600) + SLACK, || {
        !old.host.has(VIP4).unwrap() && !old.host.has(VIP6).unwrap()
    });
    let gone = frozen.elapsed();
    let second = site.wait_moved(0, SLACK);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let owner = &site.routers[second].host;
    // Five seconds in all: its adverts are the clock.
    wait("time passes", LONG, || adverts.of(owner, frozen).len() >= 45);

    let watch = site.watch();
    old.process().thaw().unwrap();
    let thawed = Instant::now();
    site.wait_settled(second);
    wait("time passes", LONG, || adverts.of(owner, thawed).len() >= 20);
    assert_eq!(adverts.of(&old.host, thawed), []);
    assert_eq!(watch.changes().len(), 1, "{:?}", watch.changes());
    assert_eq!((site.holders(), old.times_taken()), (vec![second], 1));
    assert!(old.events().contains("stood still"), "{}", old.events());
    println!("frozen: gone after {gone:.0?}");
}

#[test]
fn a_short_standstill_moves_nothing() {
    let Some(site) = Site::start() else { return };
    let (adverts, watch) = (Adverts::hear(&site.client).unwrap(), site.watch());
    let owner = &site.routers[0];
    // Between two adverts are 100 ms, and the others wait for a little more than 300. Held up by the
    // machine for longer, it is none that counts.
    let mut short = 0;
    for _ in 0..10 {
        let before = Instant::now();
        owner.process().freeze().unwrap();
        thread::park_timeout(Duration::from_millis(150));
        owner.process().thaw().unwrap();
        if before.elapsed() > Duration::from_millis(180) {
            site.wait_settled(site.holders()[0]);
            if watch.now() != ["router-1"] {
                println!("the machine is too busy for this test");
                return;
            }
            continue;
        }
        short += 1;
        let since = Instant::now();
        wait("it goes on", LONG, || adverts.of(&owner.host, since).len() >= 5);
        assert_eq!(watch.changes().len(), 1, "{:?}", watch.changes());
        if short == 3 {
            return;
        }
    }
}
