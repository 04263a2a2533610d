//! What is sent arrives, and other kernels and keepalived understand it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use evenkeel_testbed::{Host, Missing, Network, Process, or_skip, require_network};
use evenkeel_vip::advert_socket::AdvertSocket;
use evenkeel_vip::announcement::{
    Frame, Heard, Kind, Mac, Rank, announcements, arp_reply, arp_request, neighbour_advertisement,
    probe,
};
use evenkeel_vip::frame_socket::FrameSocket;
use evenkeel_vip::packet::{AddressList, Advert, Checksum};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use tokio::time::Instant;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100);
const LINK_LOCAL_VIP6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x100);
/// Nobody's.
const OLD_MAC: &str = "02:00:00:00:00:99";

#[test]
fn adverts_reach_the_group_and_a_peer_and_nobody_else() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [a, b, c] = ["one", "two", "three"].map(|name| network.host(name).unwrap());
    for address in [address_v4, link_local] {
        let [from, to, other] = [address(&a), address(&b), address(&c)];
        let [mut at_a, mut at_b, mut at_c] = [(&a, from), (&b, to), (&c, other)].map(open);
        let everybody = at_a.group();
        let advert = advert(from, 200);

        let send = |at_a: &AdvertSocket, destination| {
            let wire = advert.write(from, destination, Checksum::Keepalived);
            at_a.send(&wire, destination).unwrap();
        };
        send(&at_a, everybody);
        assert!(is_readable_soon(&at_b));
        let expected = Some((advert.clone(), from, everybody));
        assert_eq!(soon(|| received(&mut at_b)), expected);
        assert_eq!(soon(|| received(&mut at_c)), expected);
        send(&at_a, to);
        assert_eq!(soon(|| received(&mut at_b)), Some((advert.clone(), from, to)));

        pause(Duration::from_millis(50));
        assert_eq!(received(&mut at_c), None, "it was for another");
        assert_eq!(received(&mut at_a), None, "it was its own");
        assert!(!is_readable(&at_a));
    }
}

#[test]
fn sockets_need_no_capability_but_net_raw() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("one").unwrap();
    let source = link_local(&host);
    let own = address_v4(&host);
    let opened = |only: CapabilitySet| {
        let open = || {
            let index = index();
            let sets = CapabilitySets {
                effective: only,
                permitted: only,
                inheritable: CapabilitySet::empty(),
            };
            set_capabilities(None, sets).expect("a thread may give up what it has");
            let errors = [
                AdvertSocket::open("eth0", index, own).err(),
                AdvertSocket::open("eth0", index, source).err(),
                FrameSocket::open("eth0", index, &[VIP.into(), VIP6.into()]).err(),
            ];
            errors.into_iter().flatten().map(|error| error.to_string()).collect::<Vec<_>>()
        };
        host.within(open).unwrap()
    };
    assert_eq!(opened(CapabilitySet::NET_RAW), [""; 0]);
    let refused = opened(CapabilitySet::NET_ADMIN);
    assert_eq!(refused, ["no raw socket could be made: that takes CAP_NET_RAW"; 3]);
}

#[test]
fn neighbours_learn_from_an_announcement_at_once() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [a, b] = ["one", "two"].map(|name| network.host(name).unwrap());
    let frames = open_frames(&a);
    let mac = frames.mac();
    let rank = rank(&a, address_v4);
    let rank6 = Rank { source: link_local(&a), ..rank };
    let forms: [(&str, IpAddr, Frame); 4] = [
        ("request", VIP.into(), arp_request(mac, VIP, rank)),
        ("reply", VIP.into(), arp_reply(mac, VIP, rank)),
        ("advertisement", VIP6.into(), neighbour_advertisement(mac, VIP6, rank6)),
        ("plain advertisement", VIP6.into(), neighbour_advertisement(mac, VIP6, rank)),
    ];
    for (form, address, frame) in forms {
        // As young as an entry can be: within a second Linux believes only some forms of ARP.
        ip(&b, &format!("neigh replace {address} lladdr {OLD_MAC} dev eth0 nud reachable"));
        let begun = Instant::now();
        frames.send(&frame).unwrap();
        let entry = || ip(&b, &format!("neigh show {address}"));
        let learnt = soon(|| entry().contains(&written(mac)).then_some(()));
        assert!(learnt.is_some(), "{form}: {}", entry());
        assert!(begun.elapsed() < Duration::from_millis(900), "{form} was late");
    }
}

#[test]
fn the_owner_answers_a_probe_and_is_heard_when_it_uses_the_address() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [a, b] = ["one", "two"].map(|name| network.host(name).unwrap());
    let mut frames = open_frames(&a);
    let owner = open_frames(&b).mac();
    let ask = |frames: &FrameSocket, address: IpAddr| {
        let source = if address.is_ipv4() { address_v4(&a) } else { link_local(&a) };
        frames.send(&probe(frames.mac(), source, address).unwrap()).unwrap();
    };
    for address in [VIP.into(), VIP6.into()] {
        ask(&frames, address);
    }
    pause(Duration::from_millis(100));
    assert_eq!(frames.receive().unwrap(), None, "nobody has them");

    ip(&b, &format!("address add {VIP}/32 dev eth0"));
    ip(&b, &format!("address add {VIP6}/128 dev eth0 nodad"));
    let heard = |kind, address| Heard { kind, address, mac: owner, rank: None };
    ask(&frames, VIP.into());
    let answer = soon(|| frames.receive().unwrap());
    assert_eq!(answer, Some(heard(Kind::Answered, VIP.into())));
    ask(&frames, VIP6.into());
    let answer = soon(|| frames.receive().unwrap());
    assert_eq!(answer, Some(heard(Kind::Answered, VIP6.into())));

    let speak = || UdpSocket::bind((VIP, 0))?.send_to(b"?", (Ipv4Addr::new(10, 0, 0, 250), 9));
    b.within(speak).unwrap().unwrap();
    let asked = soon(|| frames.receive().unwrap());
    assert_eq!(asked, Some(heard(Kind::Asked, VIP.into())));
}

#[test]
fn announcements_of_others_are_heard_and_ones_own_are_not() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [a, b] = ["one", "two"].map(|name| network.host(name).unwrap());
    let [mut at_a, mut at_b] = [&a, &b].map(open_frames);
    let other: [IpAddr; 2] = [Ipv4Addr::new(10, 0, 0, 101).into(), LINK_LOCAL_VIP6.into()];
    let mac = at_a.mac();
    for (address, source) in
        [(IpAddr::from(VIP), address_v4 as Address), (VIP6.into(), link_local as Address)]
    {
        let rank = rank(&a, source);
        for frame in other.into_iter().flat_map(|other| announcements(mac, other, rank)) {
            at_a.send(&frame).unwrap();
        }
        for frame in announcements(mac, address, rank) {
            at_a.send(&frame).unwrap();
            let heard = Heard { kind: Kind::Announced, address, mac, rank: Some(rank) };
            assert_eq!(soon(|| at_b.receive().unwrap()), Some(heard));
        }
    }
    pause(Duration::from_millis(50));
    assert_eq!(at_b.receive().unwrap(), None, "others are of no interest");
    assert_eq!(at_a.receive().unwrap(), None, "and its own neither");
    assert!(!at_a.readable().any(|socket| is_readable(&socket)));
}

#[test]
fn an_interface_that_is_gone_is_an_error_and_no_more() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let a = network.host("one").unwrap();
    let mut frames = open_frames(&a);
    let source = address_v4(&a);
    let mut adverts = open((&a, source));
    ip(&a, "link del eth0");
    assert!(frames.send(&probe(frames.mac(), source, VIP.into()).unwrap()).is_err());
    let wire = advert(source, 1).write(source, adverts.group(), Checksum::Keepalived);
    assert!(adverts.send(&wire, adverts.group()).is_err());
    for _ in 0..3 {
        drop(frames.receive());
        drop(adverts.receive());
    }
    assert!(matches!(frames.receive(), Ok(None)), "it says so once");
    assert!(matches!(adverts.receive(), Ok(None)));
    let reopened = a.within(|| AdvertSocket::open("eth0", 2, source)).unwrap();
    assert!(reopened.is_err());
}

/// keepalived as the only router, then with one of ours that is worth more.
#[test]
fn keepalived_and_we_understand_each_other() {
    let Some(()) = or_skip(require_network().and_then(|()| require_keepalived())) else { return };
    let cases: [(&str, Address, bool); 4] = [
        ("v4", address_v4, false),
        ("v6", link_local, false),
        ("v4 unicast", address_v4, true),
        ("v6 unicast", link_local, true),
    ];
    for (name, address, unicast) in cases {
        let network = Network::new().unwrap();
        let [a, b] = ["one", "two"].map(|name| network.host(name).unwrap());
        let [ours, theirs] = [address(&a), address(&b)];
        let mut socket = open((&a, ours));
        let destination = if unicast { theirs } else { socket.group() };
        let peers = unicast.then_some((theirs, ours));
        let keepalived = keepalived(&b, ours.is_ipv6(), peers);

        let (heard, from, to) = soon(|| received(&mut socket)).expect("an advert of keepalived");
        assert_eq!((heard.vrid, heard.priority, from), (77, 100, theirs), "{name}");
        assert_eq!(to, if unicast { ours } else { socket.group() }, "{name}");
        assert_eq!(heard.interval, Duration::from_millis(100), "{name}");
        assert!(heard.addresses.are(&addresses(ours)), "{name}: {:?}", heard.addresses);

        let wire = advert(ours, 200).write(ours, destination, Checksum::Keepalived);
        for _ in 0..20 {
            socket.send(&wire, destination).unwrap();
            pause(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(keepalived.log()).unwrap();
        assert!(log.contains("Entering BACKUP STATE"), "{name}: {log}");
        while received(&mut socket).is_some() {}
        for _ in 0..6 {
            socket.send(&wire, destination).unwrap();
            pause(Duration::from_millis(50));
        }
        assert_eq!(received(&mut socket), None, "{name}: a backup is silent");

        // Priority 0 makes it the owner again, long before three intervals are over.
        let wire = advert(ours, 0).write(ours, destination, Checksum::Keepalived);
        socket.send(&wire, destination).unwrap();
        assert!(soon(|| received(&mut socket)).is_some(), "{name}: it took over");
    }
}

type Address = fn(&Host) -> IpAddr;

fn address_v4(host: &Host) -> IpAddr {
    host.ipv4().into()
}

/// The address that the kernel made of that of the network card.
fn link_local(host: &Host) -> IpAddr {
    let found = || {
        nix::ifaddrs::getifaddrs()
            .ok()?
            .filter_map(|entry| Some(entry.address?.as_sockaddr_in6()?.ip()))
            .find(Ipv6Addr::is_unicast_link_local)
    };
    let found = || host.within(found).ok()?.map(IpAddr::V6);
    soon(found).expect("IPv6 has a link-local address on every interface")
}

fn addresses(source: IpAddr) -> Vec<IpAddr> {
    match source {
        IpAddr::V4(_) => vec![VIP.into()],
        IpAddr::V6(_) => vec![LINK_LOCAL_VIP6.into(), VIP6.into()],
    }
}

fn advert(source: IpAddr, priority: u8) -> Advert {
    let addresses = AddressList::new(&addresses(source)).expect("a list for an advert");
    Advert { vrid: 77, priority, interval: Duration::from_millis(100), addresses }
}

fn rank(host: &Host, source: Address) -> Rank {
    Rank { vrid: 77, priority: 232, source: source(host) }
}

/// The index of `eth0` in the namespace of this thread.
fn index() -> u32 {
    nix::net::if_::if_nametoindex("eth0").expect("every host has it")
}

fn open((host, source): (&Host, IpAddr)) -> AdvertSocket {
    let opened = || host.within(|| AdvertSocket::open("eth0", index(), source)).ok()?.ok();
    soon(opened).expect("sockets for adverts")
}

fn open_frames(host: &Host) -> FrameSocket {
    let opened = host.within(|| FrameSocket::open("eth0", index(), &[VIP.into(), VIP6.into()]));
    opened.expect("a namespace").expect("sockets for frames")
}

/// The next advert with where it is from and to.
fn received(socket: &mut AdvertSocket) -> Option<(Advert, IpAddr, IpAddr)> {
    let received = socket.receive().expect("an interface")?;
    let (advert, form) = received.advert().expect("an advert");
    assert_eq!(form, Checksum::Keepalived);
    Some((advert, received.source, received.destination))
}

fn is_readable(socket: &impl std::os::fd::AsFd) -> bool {
    readable_within(socket, Duration::ZERO)
}

fn is_readable_soon(socket: &AdvertSocket) -> bool {
    readable_within(&socket.as_fd(), PATIENCE)
}

fn readable_within(socket: &impl std::os::fd::AsFd, patience: Duration) -> bool {
    let patience = Timespec::try_from(patience).expect("a short time");
    poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&patience)).expect("a poll") > 0
}

/// Tries until there is something, for [`PATIENCE`].
fn soon<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(found) = attempt() {
            return Some(found);
        }
        pause(Duration::from_millis(5));
    }
    attempt()
}

/// There is no event to wait for.
fn pause(duration: Duration) {
    let duration = Timespec::try_from(duration).expect("a short time");
    poll(&mut [], Some(&duration)).expect("a poll of nothing");
}

fn ip(host: &Host, line: &str) -> String {
    let output = host.command("ip").args(line.split(' ')).output().expect("ip runs");
    assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn written(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn require_keepalived() -> Result<(), Missing> {
    let found = ["/usr/sbin/keepalived", "/usr/local/sbin/keepalived"]
        .into_iter()
        .any(|path| Path::new(path).is_file());
    found.then_some(()).ok_or(Missing::Program { program: "keepalived", package: "keepalived" })
}

/// keepalived with VRID 77, priority 100 and an interval of 100 ms; with its own address and ours if
/// it is to use unicast.
fn keepalived(host: &Host, v6: bool, unicast: Option<(IpAddr, IpAddr)>) -> Process {
    let path = |name: &str| host.directory().join(name).display().to_string();
    let addresses =
        if v6 { format!("{LINK_LOCAL_VIP6}/64\n{VIP6}/128") } else { format!("{VIP}/32") };
    let unicast = unicast.map_or_else(String::new, |(own, peer)| {
        format!("unicast_src_ip {own}\nunicast_peer {{\n{peer}\n}}")
    });
    let config = format!(
        "global_defs {{\nvrrp_version 3\n}}\n\
         vrrp_instance test {{\nstate BACKUP\ninterface eth0\nvirtual_router_id 77\n\
         priority 100\nadvert_int 0.1\n{unicast}\nvirtual_ipaddress {{\n{addresses}\n}}\n}}\n"
    );
    std::fs::write(path("keepalived.conf"), config).expect("a file");
    let mut command = host.command("keepalived");
    command.args(["-n", "-l", "-D", "-P", "-f", &path("keepalived.conf")]);
    command.args(["-p", &path("keepalived.pid"), "-r", &path("vrrp.pid")]);
    host.spawn("keepalived", command).expect("keepalived runs")
}

const PATIENCE: Duration = Duration::from_secs(3);
