//! The switch falls apart, the owner on the lesser side.

use std::time::Duration;

use evenkeel_testbed::Greeter;
use tokio::time::Instant;

use super::site::{BACKEND, LONG, SLACK, Site, wait};

#[test]
fn a_node_alone_without_a_ready_backend_gives_the_address_up() {
    let Some(mut site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let [first, second, third] = &site.routers[..] else { unreachable!("there are three") };
    let others = [&second.host, &third.host, &site.client];
    let parted = site.network.part(&[&first.host], &others).unwrap();
    let begun = Instant::now();
    // As an API server whose etcd has lost its quorum.
    site.routers[0].backend = None;
    wait("the others have an owner", Duration::from_secs(1) + SLACK, || {
        site.holders().iter().any(|place| *place != 0)
    });
    wait("the first gives up", Duration::from_secs(3) + SLACK, || !site.holders().contains(&0));
    let given_up = begun.elapsed();
    let winner = site.wait_moved(0, LONG);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let alone = site.routers[0].vip();
    assert_eq!(alone.class.as_deref(), Some("fault"), "{alone:?}");

    let watch = site.watch();
    parted.lift().unwrap();
    site.routers[0].backend = Some(Greeter::start(&site.routers[0].host, BACKEND).unwrap());
    site.wait_settled(winner);
    assert_eq!(watch.changes().len(), 1, "{:?}", watch.changes());
    wait("the client's neighbour is the owner", SLACK, || site.client_believes(winner));
    println!("parted: given up after {given_up:.1?}");
}
