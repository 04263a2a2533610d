//! Beside keepalived, which Debian has as 2.2.7: the same VRRP group, each the owner once.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_testbed::{Greeter, Host, Knocks, Process, or_skip, require_program};
use rustix::process::{Pid, Signal, kill_process};

use super::site::{
    BACKEND, HEAD, LONG, SERVICE4, SERVICE6, SLACK, Site, VIP4, VIP6, endpoints, failed, longest,
    wait,
};

/// The addresses of one VIP, and how a keepalived is told of them.
#[derive(Clone, Copy, Debug)]
struct Family {
    /// What clients connect to.
    vip: IpAddr,
    /// All, in the order of adverts.
    addresses: &'static [&'static str],
}

const V4: Family = Family { vip: VIP4, addresses: &["10.0.0.100"] };
/// keepalived takes no group of IPv6 without a link-local address in the first place.
const V6: Family = Family { vip: VIP6, addresses: &["fe80::100", "fd00::100"] };

#[test]
fn an_owner_hands_over_to_keepalived_and_nobody_fails() {
    hands_over(V4);
}

#[test]
fn an_owner_hands_over_to_keepalived_and_nobody_fails_in_ipv6() {
    hands_over(V6);
}

fn hands_over(family: Family) {
    let Some(mut site) = with_keepalived() else { return };
    site.routers[0].start(&config(family));
    wait("it is the owner", LONG, || site.routers[0].owns());
    // Both as good as one of evenkeel's that serves.
    let _others = [(1, 210), (2, 205)]
        .map(|(place, priority)| Keepalived::start(&site, place, family, priority));
    let heard = |place: usize| log_of(&site, place).contains("Entering BACKUP STATE");
    wait("both hear it", LONG, || heard(1) && heard(2));
    let knocks = Knocks::start(&site.client, (family.vip, 6443).into()).unwrap();
    Site::wait_served(&[&knocks]);
    let moved = site.routers[0].run(&["vip", "move"]);
    assert!(moved.status.success(), "{}", crate::harness::stderr(&moved));
    wait("keepalived has it alone", SLACK, || holders(&site, family) == [1]);
    Site::wait_served(&[&knocks]);
    wait("it hears keepalived", LONG, || {
        let vip = site.routers[0].vip();
        vip.state == "backup" && vip.owner == Some(source(&site.routers[1].host, family))
    });
    assert_eq!(holders(&site, family), [1]);
    let knocks = knocks.stop().unwrap();
    assert_eq!(failed(&knocks), Vec::<String>::new(), "of {}", knocks.len());
    println!("{}: longest {:.0?}", family.vip, longest(&knocks));
}

#[test]
fn a_backup_takes_over_from_a_keepalived_that_ends_or_is_killed() {
    for family in [V4, V6] {
        let Some(mut site) = with_keepalived() else { return };
        let mut keepalived = Keepalived::start(&site, 1, family, 230);
        wait("keepalived has it", LONG, || holders(&site, family) == [1]);
        site.routers[0].start(&config(family));
        wait("evenkeel hears it and waits", LONG, || {
            let vip = site.routers[0].vip();
            vip.class.as_deref() == Some("healthy")
                && vip.state == "backup"
                && vip.owner == Some(source(&site.routers[1].host, family))
        });
        assert_eq!(holders(&site, family), [1]);
        keepalived.end();
        wait("evenkeel has it alone", Duration::from_secs(1) + SLACK, || {
            holders(&site, family) == [0]
        });
        assert!(site.serves((family.vip, 6443).into()));

        // Of the greater priority it is, and told not to take it back.
        let mut again = Keepalived::start(&site, 1, family, 230);
        let heard = || log_of(&site, 1).matches("Entering BACKUP STATE").count() >= 2;
        wait("keepalived waits", LONG, heard);
        assert_eq!(holders(&site, family), [0]);
        assert!(site.routers[0].run(&["vip", "move"]).status.success());
        wait("keepalived has it alone", SLACK, || holders(&site, family) == [1]);
        again.kill();
        // Killed, it leaves the address behind: who is in doubt is told where it is.
        wait("evenkeel has it", Duration::from_secs(1) + SLACK, || {
            site.routers[0].owns() && holders(&site, family).contains(&0)
        });
        wait("and serves", SLACK, || site.serves((family.vip, 6443).into()));
    }
}

#[test]
fn keepalived_yields_to_an_evenkeel_that_goes_before() {
    for family in [V4, V6] {
        let Some(mut site) = with_keepalived() else { return };
        let _keepalived = Keepalived::start(&site, 1, family, 150);
        wait("keepalived has it", LONG, || holders(&site, family) == [1]);
        site.routers[0].start(&config(family));
        wait("evenkeel has it alone", LONG, || holders(&site, family) == [0]);
        wait("it says why", SLACK, || site.routers[0].vip().why.contains("is only degraded"));
        assert!(log_of(&site, 1).contains("Entering BACKUP STATE"));
        wait("it serves", SLACK, || site.serves((family.vip, 6443).into()));
    }
}

/// The hosts, with a server behind keepalived where it may run; `None` where there is none.
fn with_keepalived() -> Option<Site> {
    let mut site = Site::new()?;
    or_skip(require_program("keepalived", "keepalived"))?;
    let two: Vec<Greeter> =
        [1, 2].map(|place| Greeter::start(&site.routers[place].host, 6443).unwrap()).into();
    site.others.extend(two);
    Some(site)
}

/// The places of those that have the address.
fn holders(site: &Site, family: Family) -> Vec<usize> {
    (0..3).filter(|place| site.routers[*place].host.has(family.vip).unwrap()).collect()
}

/// Where adverts of a host come from.
fn source(host: &Host, family: Family) -> String {
    let [v4, v6] = super::site::sources(host);
    if family.vip.is_ipv4() { v4 } else { v6 }
}

fn log_of(site: &Site, place: usize) -> String {
    let name = format!("{}-keepalived.log", site.routers[place].host.name());
    std::fs::read_to_string(site.network.directory().join(name)).unwrap_or_default()
}

fn config(family: Family) -> String {
    let addresses = family.addresses.iter().map(|address| format!("\"{address}\""));
    let addresses = addresses.collect::<Vec<_>>().join(", ");
    let service = if family.vip.is_ipv4() { SERVICE4 } else { SERVICE6 };
    format!(
        "{HEAD}vips: [{{name: api, addresses: [{addresses}], interface: eth0, mode: {{l2: {{vrid: 100}}}}}}]
services:
  - name: api
    preset: tcp
    listen: {{addresses: [\"{service}\"]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
",
        endpoints(BACKEND)
    )
}

/// keepalived on a router, instead of evenkeel.
#[derive(Debug)]
struct Keepalived {
    process: Process,
    child: std::path::PathBuf,
}

impl Keepalived {
    fn start(site: &Site, place: usize, family: Family, priority: u8) -> Self {
        let host = &site.routers[place].host;
        let addresses = family.addresses.join("\n        ");
        let config = format!(
            "global_defs {{
    vrrp_version 3
}}
vrrp_instance api {{
    state BACKUP
    nopreempt
    interface eth0
    virtual_router_id 100
    priority {priority}
    advert_int 0.1
    virtual_ipaddress {{
        {addresses}
    }}
}}
"
        );
        let path = |what: &str| site.network.directory().join(format!("{}-{what}", host.name()));
        std::fs::write(path("keepalived.conf"), config).unwrap();
        let mut command = host.command("keepalived");
        command.args(["-n", "-l", "-D", "-P", "-f"]).arg(path("keepalived.conf"));
        command.arg("-p").arg(path("keepalived.pid")).arg("-r").arg(path("vrrp.pid"));
        let process = host.spawn("keepalived", command).unwrap();
        Self { process, child: path("vrrp.pid") }
    }

    fn end(&mut self) {
        self.process.terminate().unwrap();
        self.process.wait_exit(LONG).unwrap();
    }

    /// Kills both its processes: the child would leave in good order when its parent dies.
    fn kill(&mut self) {
        self.process.freeze().unwrap();
        let child = std::fs::read_to_string(&self.child).unwrap();
        let child = Pid::from_raw(child.trim().parse().unwrap()).unwrap();
        kill_process(child, Signal::KILL).unwrap();
        self.process.kill().unwrap();
    }
}
