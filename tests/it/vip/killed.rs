//! The owner's process is killed: the kernel takes the address away by itself.

use std::time::Duration;

use tokio::time::Instant;

use super::site::{SERVICE4, SERVICE6, SLACK, Site, VIP4, VIP6, config, wait, with};

#[test]
fn the_address_of_a_killed_owner_goes_by_itself_and_is_not_taken_back() {
    let Some(mut site) = Site::start() else { return };
    let knocks = site.knock();
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    let killed = Instant::now();
    site.routers[0].kill();
    wait("it goes by itself", Duration::from_millis(1600) + SLACK, || {
        !site.routers[0].host.has(VIP4).unwrap() && !site.routers[0].host.has(VIP6).unwrap()
    });
    let gone = killed.elapsed();
    let second = site.wait_moved(0, SLACK);
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    // Who asks anew where it is reaches the new owner alone.
    for service in [SERVICE4, SERVICE6] {
        site.client.forget_neighbours().unwrap();
        assert!(site.serves(service), "{service}");
    }
    wait("the client's neighbour is the new owner", SLACK, || site.client_believes(second));

    // It comes back, and the address stays where it is.
    site.routers[0].start(&config());
    site.wait_settled(second);
    assert_eq!(site.holders(), [second]);
    assert_eq!(site.routers[0].times_taken(), 0, "it took it back");
    println!("killed: gone after {gone:.0?}");
}

#[test]
fn what_a_killed_owner_has_left_is_removed_by_the_next_start() {
    let Some(mut site) = Site::new() else { return };
    let config = with(", lifetime: 10s");
    site.run(&config);
    site.routers[0].kill();
    wait("two have it", Duration::from_secs(1) + SLACK, || site.holders().len() == 2);
    site.routers[0].start(&config);
    let second = site.wait_moved(0, SLACK);
    site.wait_settled(second);
    assert_eq!(site.routers[0].times_taken(), 0, "it took it back");
}
