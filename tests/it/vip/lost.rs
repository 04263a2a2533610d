//! The owner is cut off, without a word or with a pulled cable.

use std::time::Duration;

use tokio::time::Instant;

use super::site::{LONG, SLACK, Site, VIP4, VIP6, wait};

/// Adverts are 100 ms apart, and a bit more than three are missed.
const TAKEN_OVER: Duration = Duration::from_millis(500);

#[test]
fn an_owner_that_is_cut_off_silently_is_replaced_and_gives_way_after() {
    let Some(site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let cut = site.network.silence(&site.routers[0].host).unwrap();
    let begun = Instant::now();
    let second = wait_other(&site, TAKEN_OVER + SLACK);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let served = begun.elapsed();
    // Cut off from two of three backends and with its own, it serves whoever is on its side.
    assert!(site.routers[0].host.has(VIP4).unwrap());
    wait("the client's neighbour is the new owner", SLACK, || site.client_believes(second));

    cut.lift().unwrap();
    let healed = Instant::now();
    // The greater priority wins, whichever that is.
    wait("there is one", Duration::from_secs(1) + SLACK, || site.holders().len() == 1);
    let one = healed.elapsed();
    let winner = site.holders()[0];
    let rank = |place: usize| site.routers[place].vip().rank.unwrap();
    let best = [0, second].into_iter().max_by_key(|place| rank(*place)).unwrap();
    assert_eq!(winner, best, "the greater rank of both wins");
    site.wait_settled(winner);
    wait("the client's neighbour is the winner", SLACK, || site.client_believes(winner));
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    println!("silence: served after {served:.0?}; healed: one owner after {one:.0?}");
}

#[test]
fn an_owner_without_a_carrier_drops_the_address_at_once_and_does_not_take_it_back() {
    let Some(site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let watch = site.watch();
    let begun = Instant::now();
    site.routers[0].host.cut().unwrap();
    let second = wait_other(&site, TAKEN_OVER + SLACK);
    wait("the old owner drops it", SLACK, || {
        !site.routers[0].host.has(VIP4).unwrap() && !site.routers[0].host.has(VIP6).unwrap()
    });
    let dropped = watch.changes().into_iter().find(|held| held.host == "router-1" && !held.has);
    let dropped = dropped.unwrap().at - begun;
    assert!(dropped < Duration::from_millis(50) + SLACK, "{dropped:?}");
    let down = site.routers[0].vip();
    assert_eq!((down.state.as_str(), down.owned), ("down", false));
    assert!(down.why.contains("carrier"), "{}", down.why);
    Site::wait_served(&[&knocks[0], &knocks[1]]);

    let taken = site.routers[0].times_taken();
    site.routers[0].host.heal().unwrap();
    site.wait_settled(second);
    assert_eq!(site.holders(), [second]);
    assert_eq!(site.routers[0].times_taken(), taken, "it took it back");
    wait("the client's neighbour is the new owner", SLACK, || site.client_believes(second));
    println!("carrier: dropped after {dropped:.0?}");
}

/// Waits until another router than the first has it.
fn wait_other(site: &Site, limit: Duration) -> usize {
    let others = || site.holders().into_iter().filter(|place| *place != 0).collect::<Vec<_>>();
    wait("another has it", limit, || !others().is_empty());
    wait("one other has it", LONG, || others().len() == 1);
    others()[0]
}
