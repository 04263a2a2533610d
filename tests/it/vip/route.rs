//! The mode `route`: BIRD announces the address of every gateway that serves, with the very file
//! that is deployed, and a router leads clients there.
//!
//! ```text
//! client ---> router 10.0.0.1  BIRD ---> router-1 router-2  evenkeel, BIRD   192.0.2.100 on lo
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use evenkeel_testbed::{Host, Knocks, Process, or_skip, require_program};
use tokio::time::Instant;

use super::site::{BACKEND, HEAD, LONG, SLACK, Site, endpoints, failed, longest, wait};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100));
const SERVICE: SocketAddr = SocketAddr::new(VIP, 6443);
/// Two of the routers of the site are gateways.
const GATEWAYS: [usize; 2] = [0, 1];

#[test]
fn gateways_that_serve_are_announced_and_those_that_end_or_are_killed_are_not() {
    let Some(mut site) = Site::new() else { return };
    let Some(()) = or_skip(require_program("bird", "bird2")) else { return };
    let router = site.network.host_at("router", 1).unwrap();
    lead_through(&site.client, &router);
    let mut daemons = vec![bird(&router, ROUTER)];
    for place in GATEWAYS {
        daemons.push(bird(&site.routers[place].host, &deployed(&site.routers[place].host)));
        site.routers[place].start(&config());
    }
    wait_routed(&router, &site, &GATEWAYS, LONG * 2);
    let knocks = Knocks::start(&site.client, SERVICE).unwrap();
    Site::wait_served(&[&knocks]);
    let [first, second] = GATEWAYS.map(|place| site.routers[place].vip());
    for vip in [&first, &second] {
        assert_eq!((vip.mode.as_str(), vip.state.as_str()), ("route", "owner"), "{vip:?}");
        assert_eq!((vip.interface.as_deref(), vip.vrid), (Some("lo"), None));
    }

    // The one that has the client ends.
    let used = used(&site);
    let told = Instant::now();
    site.routers[used].end();
    let over = told.elapsed();
    wait_routed(&router, &site, &[1 - used], SLACK);
    Site::wait_served(&[&knocks]);
    let knocked = knocks.stop().unwrap();
    let failures = failed(&knocked);
    println!("ended in {over:.0?}, longest {:.0?}, failed: {failures:?}", longest(&knocked));
    // Who was shaking hands while the router turned has the other gateway before it.
    assert!(failures.len() <= 1, "{failures:?}");

    site.routers[used].start(&config());
    wait_routed(&router, &site, &GATEWAYS, LONG * 2);
    // Killed, it is withdrawn when the kernel takes the address away.
    let killed = Instant::now();
    site.routers[used].kill();
    wait_routed(&router, &site, &[1 - used], Duration::from_secs(2) + SLACK);
    let withdrawn = killed.elapsed();
    wait("the other serves", SLACK, || Knocks::once(&site.client, SERVICE).unwrap().answer.is_ok());

    // Where no backend is ready the address stays, and goes from whoever reaches none of them.
    for router in &mut site.routers {
        router.backend = None;
    }
    let left = &site.routers[1 - used];
    wait("no backend is ready", LONG, || left.service().ready == 0);
    assert_eq!(routed(&router, &site), [1 - used]);
    let others: Vec<&Host> = site
        .routers
        .iter()
        .map(|router| &router.host)
        .filter(|host| host.name() != left.host.name())
        .collect();
    let _parted = site.network.part(&[&left.host], &others).unwrap();
    wait_routed(&router, &site, &[], LONG);
    assert_eq!(left.vip().class.as_deref(), Some("fault"), "{:?}", left.vip());
    println!("killed: withdrawn after {withdrawn:.0?}");
}

/// Waits until the router leads clients to these gateways.
fn wait_routed(router: &Host, site: &Site, gateways: &[usize], limit: Duration) {
    let begun = Instant::now();
    while routed(router, site) != gateways {
        if begun.elapsed() > limit {
            let all = [router].into_iter().chain(site.routers.iter().map(|router| &router.host));
            let told: Vec<String> = all.map(routes).collect();
            panic!("not to {gateways:?} within {limit:?}: {}", told.join("\n"));
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// What the kernel of a host and its BIRD know.
fn routes(host: &Host) -> String {
    let control = host.directory().join(format!("{}-bird.ctl", host.name()));
    let mut ask = host.command("birdc");
    ask.arg("-s").arg(control).args(["show", "route", "all"]);
    let bird = String::from_utf8(ask.output().unwrap().stdout).unwrap();
    let kernel = ["route show", "address show dev lo"].map(|line| host.ip(line).unwrap());
    format!("{}: {}{bird}", host.name(), kernel.concat())
}

/// The gateways to which the router leads clients of the VIP.
fn routed(router: &Host, site: &Site) -> Vec<usize> {
    let route = router.ip(&format!("route show {VIP}")).unwrap();
    let is_way = |place: &usize| {
        let via = format!("via {} ", site.routers[*place].host.ipv4());
        format!("{route} ").contains(&via)
    };
    GATEWAYS.into_iter().filter(is_way).collect()
}

/// The gateway to which clients come now.
fn used(site: &Site) -> usize {
    let taken = |place: usize| site.routers[place].service().total_connections;
    let before = GATEWAYS.map(taken);
    let mut used = None;
    wait("clients come", LONG, || {
        used = GATEWAYS.into_iter().find(|place| taken(*place) > before[*place] + 10);
        used.is_some()
    });
    used.expect("it was just found")
}

/// Has a client reach the VIP through the router, and not learn of a shorter way.
fn lead_through(client: &Host, router: &Host) {
    for (host, settings) in [
        (client, ["all/accept_redirects", "eth0/accept_redirects"]),
        (router, ["all/send_redirects", "eth0/send_redirects"]),
    ] {
        let write = |setting| std::fs::write(format!("/proc/sys/net/ipv4/conf/{setting}"), "0");
        host.within(|| settings.into_iter().try_for_each(write)).unwrap().unwrap();
    }
    router.forward(true).unwrap();
    client.ip(&format!("route add {VIP}/32 via {}", router.ipv4())).unwrap();
}

/// Starts BIRD on a host.
fn bird(host: &Host, config: &str) -> Process {
    let path = |what: &str| host.directory().join(format!("{}-bird.{what}", host.name()));
    std::fs::write(path("conf"), config).unwrap();
    let mut command = host.command("bird");
    command.arg("-f").arg("-c").arg(path("conf"));
    command.arg("-s").arg(path("ctl")).arg("-P").arg(path("pid"));
    host.spawn("bird", command).unwrap()
}

/// The file that is deployed, for a gateway.
fn deployed(gateway: &Host) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/route/bird.conf");
    std::fs::read_to_string(path).unwrap().replace("10.0.0.21", &gateway.ipv4().to_string())
}

fn config() -> String {
    format!(
        "{HEAD}vips: [{{name: api, addresses: [\"{VIP}\"], mode: {{route: {{}}}}}}]
services:
  - name: api
    preset: tcp
    listen: {{addresses: [\"{SERVICE}\"]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
",
        endpoints(BACKEND)
    )
}

/// The router before the gateways.
const ROUTER: &str = "router id 10.0.0.1;
protocol device { scan time 10; }
protocol kernel {
    merge paths on;
    ipv4 { import none; export all; };
}
protocol bfd {
    interface \"*\" { min rx interval 50 ms; min tx interval 50 ms; multiplier 3; };
}
template bgp lb {
    local 10.0.0.1 as 65001;
    bfd on;
    hold time 9;
    connect delay time 1;
    connect retry time 1;
    ipv4 { import all; export none; };
}
protocol bgp one from lb { neighbor 10.0.0.21 as 65010; }
protocol bgp two from lb { neighbor 10.0.0.22 as 65010; }
";
