//! Plain servers and clients, and what is seen of the addresses and adverts of hosts.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use evenkeel_testbed::{
    Adverts, Greeter, Holders, Knocks, Network, Stays, or_skip, require_network,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;

const PORT: u16 = 7000;

#[test]
fn clients_notice_when_a_server_ends() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [server, client] = ["server", "client"].map(|name| network.host(name).unwrap());
    let greeter = Greeter::start(&server, PORT).unwrap();
    assert!(Greeter::start(&server, PORT).is_err(), "the port is taken");
    for address in server.addresses() {
        let knock = Knocks::once(&client, (address, PORT).into()).unwrap();
        assert_eq!(knock.answer.as_deref(), Ok("server"));
    }
    let front = (server.ipv4(), PORT).into();
    let (knocks, stays) =
        (Knocks::start(&client, front).unwrap(), Stays::start(&client, front, 3).unwrap());
    soon("all are answered", || knocks.good_in_a_row() >= 5);
    assert_eq!((stays.open(), stays.ends().len()), (3, 0));

    drop(greeter);
    soon("those that stay are ended", || stays.open() == 0);
    soon("those that come are refused", || knocks.good_in_a_row() == 0);
    let knocks = knocks.stop().unwrap();
    assert!(knocks.is_sorted_by_key(|knock| knock.sent));
    assert!(knocks.last().unwrap().answer.is_err());
    assert!(Stays::start(&client, front, 2).is_err());
}

#[test]
fn it_is_seen_which_host_has_an_address_and_which_a_neighbour_believes_in() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [one, two] = ["one", "two"].map(|name| network.host(name).unwrap());
    let vip = IpAddr::from(Ipv4Addr::new(10, 0, 0, 100));
    let holders = Holders::watch([&one, &two], vip).unwrap();
    assert!(holders.now().is_empty() && !one.has(vip).unwrap());
    one.ip(&format!("address add {vip}/32 dev eth0")).unwrap();
    soon("one has it", || holders.now() == ["one"]);
    assert!(one.has(vip).unwrap());
    two.ip(&format!("neigh replace {vip} lladdr {} dev eth0", one.mac().unwrap())).unwrap();
    assert_eq!(two.believes(vip).unwrap(), Some(one.mac().unwrap()));
    two.ip(&format!("neigh delete {vip} dev eth0")).unwrap();
    assert_eq!(two.believes(vip).unwrap(), None);

    one.remove_interface().unwrap();
    soon("nobody has it", || holders.now().is_empty());
    assert_eq!(holders.changes().len(), 2);
    one.add_interface().unwrap();
    assert!(one.has(one.ipv4().into()).unwrap() && one.has(one.ipv6().into()).unwrap());
}

#[test]
fn adverts_are_heard_with_who_sent_them() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let [sender, listener] = ["sender", "listener"].map(|name| network.host(name).unwrap());
    let begun = Instant::now();
    let adverts = Adverts::hear(&listener).unwrap();
    // Version 3, VRID 7, priority 200, no address.
    let advert = [0x31, 7, 200, 0, 0, 10, 0, 0];
    let send = || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(112)))?;
        socket.set_multicast_if_v4(&sender.ipv4())?;
        let group = std::net::SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 18), 0);
        socket.send_to(&advert, &group.into())
    };
    sender.within(send).unwrap().unwrap();
    soon("it is heard", || !adverts.heard().is_empty());
    let heard = adverts.of(&sender, begun);
    assert_eq!((heard[0].vrid, heard[0].priority), (7, 200));
    assert!(adverts.of(&listener, begun).is_empty());
}

fn soon(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(5), "not {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}
