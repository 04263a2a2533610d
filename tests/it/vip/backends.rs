//! What happens to the backends alone moves no address.

use evenkeel_testbed::{Adverts, Greeter};
use tokio::time::Instant;

use super::site::{BACKEND, LONG, Site, wait};

#[test]
fn the_address_stays_where_it_is_when_no_backend_is_left() {
    let Some(mut site) = Site::start() else { return };
    let (adverts, watch) = (Adverts::hear(&site.client).unwrap(), site.watch());
    for router in &mut site.routers {
        router.backend = None;
    }
    wait("all know", LONG, || {
        site.routers.iter().all(|router| router.vip().class.as_deref() == Some("degraded"))
    });
    let degraded = Instant::now();
    wait("time passes", LONG, || adverts.of(&site.routers[0].host, degraded).len() >= 10);
    assert_eq!(watch.changes().len(), 1, "{:?}", watch.changes());
    assert!(site.routers[0].vip().class_why.contains("no backend is ready"));
}

#[test]
fn the_address_stays_where_it_is_when_the_backends_restart_in_turn() {
    let Some(mut site) = Site::start() else { return };
    let (knocks, watch) = (site.knock(), site.watch());
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    for place in 0..3 {
        site.routers[place].backend = None;
        wait_ready(&site, 2);
        site.routers[place].backend =
            Some(Greeter::start(&site.routers[place].host, BACKEND).unwrap());
        wait_ready(&site, 3);
    }
    Site::wait_served(&[&knocks[0], &knocks[1]]);
    assert_eq!(watch.changes().len(), 1, "{:?}", watch.changes());
    super::site::nobody_failed(knocks);
}

fn wait_ready(site: &Site, ready: usize) {
    wait(&format!("{ready} are ready"), LONG, || {
        site.routers.iter().all(|router| router.service().ready == ready)
    });
}
