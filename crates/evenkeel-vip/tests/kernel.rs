//! Addresses, their lifetimes and what the kernel tells of them, on hosts of a testbed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use evenkeel_testbed::{Host, Network, or_skip, require_network};
use evenkeel_vip::addresses::{Addresses, Assigned, LOOPBACK};
use evenkeel_vip::monitor::{Change, Monitor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::Instant;

const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100));
const VIPS: [IpAddr; 2] = [VIP4, VIP6];

/// The shortest lifetime there is.
const LIFETIME: Duration = Duration::from_secs(1);

/// Long enough for a loaded machine, where the moment does not matter.
const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn an_address_ends_by_itself_when_nobody_renews_it() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    for vip in VIPS {
        let lived = host.within(|| {
            let mut kernel = Kernel::open();
            let begun = Instant::now();
            kernel.addresses.hold(vip, kernel.link, LIFETIME).unwrap();
            let gone = Change::AddressGone { address: vip, link: kernel.link };
            kernel.wait_for(PATIENCE, |change| change == gone);
            let lived = begun.elapsed();
            assert!(!kernel.has(vip));
            lived
        });
        let lived = lived.unwrap();
        println!("{vip} lived for {lived:?}");
        let expected = Duration::from_millis(990)..Duration::from_millis(1500);
        assert!(expected.contains(&lived), "{vip} lived for {lived:?}");
    }
}

#[test]
fn a_renewed_address_stays_without_a_break() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    host.within(|| {
        let mut kernel = Kernel::open();
        let begun = Instant::now();
        let mut longest = Duration::ZERO;
        while begun.elapsed() < Duration::from_secs(3) {
            let called = Instant::now();
            for vip in VIPS {
                kernel.addresses.hold(vip, kernel.link, LIFETIME).unwrap();
            }
            longest = longest.max(called.elapsed());
            kernel.listen(Duration::from_millis(300), |change| {
                let gone = matches!(change, Change::AddressGone { .. } | Change::Lost);
                assert!(!gone, "{change:?}");
            });
        }
        println!("renewing both took {longest:?} at most");
        assert!(VIPS.iter().all(|vip| kernel.has(*vip)));
    })
    .unwrap();
}

#[test]
fn what_somebody_removed_is_added_again() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    host.within(|| {
        let mut kernel = Kernel::open();
        for vip in VIPS {
            kernel.addresses.hold(vip, kernel.link, LIFETIME).unwrap();
            assert!(kernel.addresses.remove(vip, kernel.link).unwrap());
            assert!(!kernel.addresses.remove(vip, kernel.link).unwrap());
            assert!(!kernel.addresses.remove(vip, 999).unwrap());
            kernel.addresses.hold(vip, kernel.link, LIFETIME).unwrap();
            assert!(kernel.has(vip));
            let no_link = kernel.addresses.hold(vip, 999, LIFETIME).unwrap_err();
            assert_eq!(no_link.raw_os_error(), Some(libc::ENODEV));
        }
    })
    .unwrap();
}

#[test]
fn ours_are_told_from_those_of_others() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    ip(&host, "address add 10.0.0.101/32 dev eth0");
    ip(&host, "address add 10.0.0.102/32 dev eth0 valid_lft 100 preferred_lft 0");
    ip(&host, "address add fd00::101/128 dev eth0 nodad");
    ip(&host, "address add 10.0.0.103/24 dev eth0");
    host.within(|| {
        let mut kernel = Kernel::open();
        for vip in VIPS {
            kernel.addresses.hold(vip, kernel.link, LIFETIME).unwrap();
        }
        let list = kernel.addresses.list().unwrap();
        println!("{list:#?}");
        let find = |address: &str| -> Assigned {
            let address: IpAddr = address.parse().unwrap();
            *list.iter().find(|assigned| assigned.address == address).unwrap()
        };
        for ours in ["10.0.0.100", "fd00::100"] {
            let ours = find(ours);
            assert!(ours.ours && !ours.permanent && ours.deprecated && !ours.tentative);
            assert_eq!(ours.link, kernel.link);
            assert_eq!(ours.prefix_length, if ours.address.is_ipv4() { 32 } else { 128 });
        }
        for other in ["10.0.0.101", "fd00::101", "10.0.0.21", "127.0.0.1"] {
            assert!(!find(other).ours && find(other).permanent, "{other}");
        }
        assert!(!find("10.0.0.102").ours && !find("10.0.0.102").permanent);
        assert!(find("10.0.0.103").secondary);
    })
    .unwrap();
}

#[test]
fn links_are_found_by_name_and_by_subnet() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    host.within(|| {
        let mut kernel = Kernel::open();
        let addresses = &mut kernel.addresses;
        let eth0 = addresses.link("eth0").unwrap().unwrap();
        assert!(eth0.up && !eth0.loopback && eth0.mac != [0; 6], "{eth0:?}");
        assert_eq!(eth0.name, "eth0");
        let lo = addresses.link("lo").unwrap().unwrap();
        assert!(lo.loopback && lo.up && lo.carrier && lo.mac == [0; 6], "{lo:?}");
        assert_eq!(lo.index, LOOPBACK);
        for none in ["eth1", "", "a-name-that-is-too-long"] {
            assert_eq!(addresses.link(none).unwrap(), None);
        }
        for vip in VIPS {
            addresses.hold(vip, eth0.index, LIFETIME).unwrap();
            let found = addresses.interface_for(vip).unwrap().unwrap();
            assert_eq!(found.index, eth0.index);
        }
        assert_eq!(addresses.interface_for("192.0.2.1".parse().unwrap()).unwrap(), None);
        assert_eq!(addresses.interface_for("127.0.0.9".parse().unwrap()).unwrap(), None);
        assert_eq!(addresses.interface_for("fe80::9".parse().unwrap()).unwrap(), None);
        assert_eq!(addresses.primary(eth0.index).unwrap().ipv4, Some((host.ipv4(), 24)));
        // The link-local one comes a moment after the carrier.
        let Kernel { addresses, monitor, .. } = &mut kernel;
        wait_until(monitor, PATIENCE, || addresses.primary(eth0.index).unwrap().ipv6.is_some());
        let ipv6 = kernel.addresses.primary(eth0.index).unwrap().ipv6.unwrap();
        assert!(ipv6.is_unicast_link_local());
    })
    .unwrap();
}

#[test]
fn the_address_is_served_and_never_a_source() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let client = network.host("client").unwrap();
    // The routes to a link that name no source take the first address of the link.
    ip(&host, "route add 203.0.113.0/24 dev eth0");
    ip(&host, "route add 198.51.100.0/24 via 10.0.0.22");
    ip(&host, "-6 route add 2001:db8:1::/64 dev eth0");
    let (own, of_client) = (host.addresses(), client.addresses());
    let far = ["203.0.113.9", "198.51.100.9", "2001:db8:1::9"];
    let sources = || -> Vec<IpAddr> {
        let far = far.map(|far| far.parse().unwrap());
        of_client.into_iter().chain(far).map(source).collect()
    };
    let listening =
        client.within(|| of_client.map(|address| TcpListener::bind((address, 7000)).unwrap()));
    let listening = listening.unwrap();

    let mut kernel = host.within(Kernel::open).unwrap();
    for link in [kernel.link, LOOPBACK] {
        for vip in VIPS {
            kernel.addresses.hold(vip, link, Duration::from_secs(60)).unwrap();
        }
        // Now the VIP comes first on the link.
        ip(&host, "address del 10.0.0.21/24 dev eth0");
        ip(&host, "address add 10.0.0.21/24 dev eth0");
        ip(&host, "route replace 203.0.113.0/24 dev eth0");
        ip(&host, "route replace 198.51.100.0/24 via 10.0.0.22");
        ip(&host, "address del fd00::21/64 dev eth0");
        ip(&host, "address add fd00::21/64 dev eth0 nodad");
        ip(&host, "-6 route replace 2001:db8:1::/64 dev eth0");
        let list = kernel.addresses.list().unwrap();
        let first = Addresses::comes_first(&list, &VIPS, link);
        assert_eq!(first, link == kernel.link);
        if first {
            for vip in VIPS {
                kernel.addresses.remove(vip, link).unwrap();
                kernel.addresses.hold(vip, link, Duration::from_secs(60)).unwrap();
            }
            let list = kernel.addresses.list().unwrap();
            assert!(!Addresses::comes_first(&list, &VIPS, link));
        }
        let chosen = host.within(sources).unwrap();
        println!("on link {link}: {chosen:?}");
        assert!(VIPS.iter().all(|vip| !chosen.contains(vip)), "{chosen:?}");
        for (listener, to) in listening.iter().zip(of_client) {
            let _stream = host.within(|| TcpStream::connect((to, 7000)).unwrap()).unwrap();
            let (_, from) = listener.accept().unwrap();
            assert!(own.contains(&from.ip()), "{from}");
        }
        if link == kernel.link {
            for vip in VIPS {
                let _listener = host.within(|| TcpListener::bind((vip, 7001)).unwrap()).unwrap();
                client.within(|| connect(vip, 7001).unwrap()).unwrap();
            }
        }
        for vip in VIPS {
            assert!(kernel.addresses.remove(vip, link).unwrap());
        }
    }
}

#[test]
fn changes_are_told_at_once() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let mut kernel = host.within(Kernel::open).unwrap();
    let link = kernel.link;
    let soon = Duration::from_millis(100);
    for vip in VIPS {
        kernel.addresses.hold(vip, link, Duration::from_secs(60)).unwrap();
        kernel.wait_for(soon, |change| change == Change::AddressNew { address: vip, link });
    }

    // Of one `ip`, so that its start does not count.
    let begun = Instant::now();
    ip(&host, "address flush dev eth0");
    println!("`ip address flush` took {:?}", begun.elapsed());
    let mut missing = VIPS.to_vec();
    kernel.wait_for(soon, |change| {
        missing.retain(|vip| change != Change::AddressGone { address: *vip, link });
        missing.is_empty()
    });

    host.cut().unwrap();
    kernel
        .wait_for(soon, |change| change == Change::Link { index: link, up: true, carrier: false });
    assert!(!kernel.addresses.link("eth0").unwrap().unwrap().carrier);
    host.heal().unwrap();
    kernel.wait_for(PATIENCE, |change| {
        change == Change::Link { index: link, up: true, carrier: true }
    });

    ip(&host, "link set eth0 down");
    kernel
        .wait_for(soon, |change| change == Change::Link { index: link, up: false, carrier: false });
    ip(&host, "link del eth0");
    kernel.wait_for(PATIENCE, |change| change == Change::LinkGone { index: link });
    assert_eq!(kernel.addresses.link("eth0").unwrap(), None);
}

#[test]
fn what_the_monitor_has_no_room_for_is_said_to_be_lost() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    host.within(|| {
        let mut kernel = Kernel::open();
        for _round in 0..5000 {
            kernel.addresses.hold(VIP4, kernel.link, LIFETIME).unwrap();
        }
        let (mut lost, mut told) = (0, 0);
        kernel.listen(Duration::from_millis(100), |change| match change {
            Change::Lost => lost += 1,
            Change::Link { .. }
            | Change::LinkGone { .. }
            | Change::AddressNew { .. }
            | Change::AddressGone { .. } => told += 1,
        });
        println!("{told} changes told, {lost} times lost");
        assert_eq!(lost, 1);
        // It goes on as before.
        kernel.addresses.remove(VIP4, kernel.link).unwrap();
        let gone = Change::AddressGone { address: VIP4, link: kernel.link };
        kernel.wait_for(PATIENCE, |change| change == gone);
    })
    .unwrap();
}

#[test]
fn a_host_serves_an_address_that_it_only_keeps() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let client = network.host("client").unwrap();
    // Outside of the subnet, as in route mode: the client has the route that a router would.
    for (vip, route) in [
        (IpAddr::from([192, 0, 2, 1]), "route add 192.0.2.1 via 10.0.0.21"),
        (IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), "-6 route add 2001:db8::1 via fd00::21"),
    ] {
        ip(&client, route);
        let mut kernel = host.within(Kernel::open).unwrap();
        let addresses = &mut kernel.addresses;
        addresses.hold(vip, LOOPBACK, Duration::from_secs(60)).unwrap();
        let listener = host.within(|| TcpListener::bind((vip, 7000)).unwrap()).unwrap();
        let before = client.within(|| connect(vip, 7000).unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();

        addresses.keep_locally(vip).unwrap();
        addresses.keep_locally(vip).unwrap();
        assert!(addresses.remove(vip, LOOPBACK).unwrap());
        assert!(addresses.list().unwrap().iter().all(|assigned| assigned.address != vip));
        echo(&before, &accepted);
        let new = client.within(|| connect(vip, 7000).unwrap()).unwrap();
        let (accepted_new, _) = listener.accept().unwrap();
        echo(&new, &accepted_new);
        // The address may come and go meanwhile.
        addresses.hold(vip, LOOPBACK, Duration::from_secs(60)).unwrap();
        assert!(addresses.remove(vip, LOOPBACK).unwrap());
        echo(&before, &accepted);

        assert!(addresses.unkeep(vip).unwrap());
        assert!(!addresses.unkeep(vip).unwrap());
        client.within(|| connect(vip, 7000).unwrap_err()).unwrap();

        addresses.keep_locally(vip).unwrap();
        assert_eq!(addresses.remove_leftover_routes().unwrap(), 1);
        assert_eq!(addresses.remove_leftover_routes().unwrap(), 0);

        // Kept after the address is gone it serves, too; between the two it did not.
        addresses.keep_locally(vip).unwrap();
        let late = client.within(|| connect(vip, 7000).unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        echo(&late, &accepted);
        assert!(addresses.unkeep(vip).unwrap());
    }
}

/// Both sides of the kernel, on the host of the calling thread.
struct Kernel {
    addresses: Addresses,
    monitor: Monitor,
    link: u32,
}

impl Kernel {
    fn open() -> Self {
        let mut addresses = Addresses::open().unwrap();
        let link = addresses.link("eth0").unwrap().unwrap().index;
        Self { addresses, monitor: Monitor::open().unwrap(), link }
    }

    fn has(&mut self, vip: IpAddr) -> bool {
        self.addresses.list().unwrap().iter().any(|assigned| assigned.address == vip)
    }

    /// Reads changes until one is `wanted`.
    fn wait_for(&mut self, patience: Duration, mut wanted: impl FnMut(Change) -> bool) {
        let end = Instant::now() + patience;
        let mut heard = Vec::new();
        loop {
            let mut found = false;
            self.monitor
                .read(|change| {
                    heard.push(change);
                    found |= wanted(change);
                })
                .unwrap();
            if found {
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not told within {patience:?}, but {heard:?}");
            wait_readable(&self.monitor, left);
        }
    }

    fn listen(&mut self, duration: Duration, mut tell: impl FnMut(Change)) {
        let end = Instant::now() + duration;
        loop {
            self.monitor.read(&mut tell).unwrap();
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            wait_readable(&self.monitor, left);
        }
    }
}

/// Looks again whenever something has changed.
fn wait_until(monitor: &mut Monitor, patience: Duration, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + patience;
    while !is_so() {
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "not within {patience:?}");
        wait_readable(monitor, left);
        monitor.read(|_change| {}).unwrap();
    }
}

fn wait_readable(monitor: &Monitor, limit: Duration) {
    let limit = Timespec::try_from(limit).unwrap();
    poll(&mut [PollFd::new(monitor, PollFlags::IN)], Some(&limit)).unwrap();
}

/// The source that the host of the calling thread would choose.
fn source(to: IpAddr) -> IpAddr {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 8].into() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.connect((to, 9)).unwrap();
    socket.local_addr().unwrap().ip()
}

fn connect(to: IpAddr, port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::new(to, port), Duration::from_secs(2))
}

/// Sends a byte to the other side and back.
fn echo(mut one: &TcpStream, mut other: &TcpStream) {
    use std::io::{Read as _, Write as _};
    for stream in [one, other] {
        stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    }
    let mut byte = [0];
    one.write_all(b"1").unwrap();
    other.read_exact(&mut byte).unwrap();
    other.write_all(&byte).unwrap();
    one.read_exact(&mut byte).unwrap();
}

fn ip(host: &Host, arguments: &str) {
    let output = Command::new("ip")
        .args(["-n", host.namespace()])
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
