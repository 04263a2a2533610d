//! Planned moves: make before break.

use std::time::Duration;

use evenkeel_testbed::Stays;
use tokio::time::Instant;

use super::site::{SERVICE4, SERVICE6, SLACK, Site, nobody_failed, wait};
use crate::harness::{stderr, stdout};

#[test]
fn planned_moves_fail_nobody_and_end_open_connections_at_once() {
    moves(false);
}

#[test]
fn planned_moves_fail_nobody_where_the_kernel_forwards() {
    moves(true);
}

fn moves(forwards: bool) {
    let Some(mut site) = Site::new() else { return };
    for router in &site.routers {
        router.host.forward(forwards).unwrap();
    }
    site.run(&super::site::config());
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);

    // Somebody asks for it.
    let stays = stay(&site);
    let asked = Instant::now();
    let moved = site.routers[0].run(&["vip", "move", "api"]);
    assert!(moved.status.success(), "{}", stderr(&moved));
    let answered = asked.elapsed();
    let second = site.wait_moved(0, SLACK);
    let ended = all_end(&stays, asked);
    let second_address = site.routers[second].host.ipv4().to_string();
    assert_eq!(stdout(&moved), format!("api: {second_address} has taken over\n"));
    site.wait_settled(second);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    wait("the client knows", SLACK, || site.client_believes(second));

    // The owner's process ends.
    let stays_of_second = stay(&site);
    let told = Instant::now();
    site.routers[second].end();
    let over = told.elapsed();
    let third = site.wait_moved(second, SLACK);
    let ended_too = all_end(&stays_of_second, told);
    site.wait_settled(third);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    assert_eq!(site.holders(), [third]);
    let longest = nobody_failed(knocks);
    println!(
        "forwards {forwards}: moved in {answered:.0?}, stayed ended after {ended:.0?}; process over in {over:.0?}, \
         stayed ended after {ended_too:.0?}; longest connection {longest:.0?}"
    );
}

fn stay(site: &Site) -> [Stays; 2] {
    [SERVICE4, SERVICE6].map(|service| Stays::start(&site.client, service, 10).unwrap())
}

/// Waits until all are ended; how long the last was left without word.
fn all_end(stays: &[Stays; 2], since: Instant) -> Duration {
    wait("all that stay are ended", Duration::from_secs(5), || {
        stays.iter().all(|stays| stays.open() == 0)
    });
    let last = stays.iter().flat_map(Stays::ends).max().unwrap();
    assert!(last - since < Duration::from_millis(500) + SLACK, "{:?}", last - since);
    last - since
}
