//! Redirected ports beside a server that has bound the port on every address, on hosts of a testbed.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::Duration;

use evenkeel_testbed::{Host, Network, or_skip, require_network};
use evenkeel_vip::addresses::{Addresses, LOOPBACK};
use evenkeel_vip::monitor::{Change, Monitor};
use evenkeel_vip::redirect::{Mapping, Redirect, RedirectError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100));
const VIPS: [IpAddr; 2] = [VIP4, VIP6];
const OWN: &str = "listener of our own";
const SERVER: &str = "server on every address";
const PORT: u16 = 6443;
const TO: u16 = 16443;

#[test]
fn only_the_address_is_redirected_and_only_where_it_is() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let client = network.host("client").unwrap();
    let other = network.host("other").unwrap();
    let _servers = [serve_everywhere(&host, SERVER), serve_everywhere(&other, "the other host")];
    let _listeners = VIPS.map(|vip| serve_vip(&host, vip));
    let mut redirect = host.within(|| Redirect::open("test").unwrap()).unwrap();
    let mut addresses = hold(&host);

    let answers = |from: &Host, to| match from.within(|| answer(to, PORT)).unwrap() {
        Ok(answer) => answer,
        Err(error) => format!("{error} of {to} for {}", from.name()),
    };
    assert!(!redirect.present().unwrap());
    for vip in VIPS {
        assert_eq!([&client, &host].map(|from| answers(from, vip)), [SERVER; 2]);
    }
    let begun = Instant::now();
    redirect.install(&mappings()).unwrap();
    println!("installed in {:?}", begun.elapsed());
    let begun = Instant::now();
    assert!(redirect.present().unwrap());
    println!("seen to be present in {:?}", begun.elapsed());
    for vip in VIPS {
        assert_eq!([&client, &host].map(|from| answers(from, vip)), [OWN; 2], "{vip}");
    }
    for own in host.addresses() {
        assert_eq!([&client, &host].map(|from| answers(from, own)), [SERVER; 2], "{own}");
    }
    for loopback in ["127.0.0.1", "::1"] {
        assert_eq!(answers(&host, loopback.parse().unwrap()), SERVER);
    }

    // Another node has the address now: the clients of this one reach it, in spite of the table.
    let eth0 = addresses.link("eth0").unwrap().unwrap().index;
    for vip in VIPS {
        assert!(addresses.remove(vip, eth0).unwrap());
    }
    let _held_there = hold(&other);
    for vip in VIPS {
        assert_eq!(answers(&host, vip), "the other host");
    }
    let mut monitor = host.within(|| Monitor::open().unwrap()).unwrap();
    for vip in VIPS {
        let begun = Instant::now();
        addresses.hold(vip, eth0, Duration::from_secs(60)).unwrap();
        let held = begun.elapsed();
        // An address of IPv6 works when this is told, and not when it has been added.
        wait_added(&mut monitor, vip);
        println!("{vip} was added in {held:?}, and there in {:?}", begun.elapsed());
        assert_eq!(answers(&host, vip), OWN);
    }

    for _again in 0..2 {
        redirect.remove().unwrap();
        assert!(!redirect.present().unwrap());
        assert_eq!(VIPS.map(|vip| answers(&host, vip)), [SERVER; 2]);
    }
    redirect.install(&mappings()).unwrap();
    assert_eq!(VIPS.map(|vip| answers(&host, vip)), [OWN; 2]);
    drop(redirect);
    assert_eq!(VIPS.map(|vip| answers(&host, vip)), [SERVER; 2]);
}

#[test]
fn open_connections_outlive_what_others_do_and_a_new_table() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let client = network.host("client").unwrap();
    let _server = serve_everywhere(&host, SERVER);
    let _listeners = VIPS.map(|vip| serve_vip(&host, vip));
    let _addresses = hold(&host);
    let (mut redirect, mut second) =
        host.within(|| ["one", "two"].map(|name| Redirect::open(name).unwrap())).unwrap().into();
    redirect.install(&mappings()).unwrap();

    let open = |from: &Host| VIPS.map(|vip| from.within(|| Open::new(vip).unwrap()).unwrap());
    let mut opened: Vec<Open> = open(&client).into_iter().chain(open(&host)).collect();
    let mut all_go_on = |what: &str| {
        for open in &mut opened {
            assert!(open.goes_on().is_ok(), "{what}");
        }
    };
    all_go_on("installed");
    second.install(&[Mapping { address: VIP4, port: 9443, to: 19443 }]).unwrap();
    all_go_on("another table");
    drop(second);
    all_go_on("the other table is gone");
    redirect.install(&mappings()).unwrap();
    all_go_on("installed again");
    let more = [&mappings()[..], &[Mapping { address: VIP4, port: 9443, to: 19443 }]].concat();
    redirect.install(&more).unwrap();
    assert!(redirect.present().unwrap());
    all_go_on("one port more");

    drop(redirect);
    let ended: Vec<_> = opened.iter_mut().map(|open| open.goes_on().err()).collect();
    println!("without the table, open connections: {ended:?}");
    // The server on every address gets their packets, and knows nothing of them.
    let reset = |error: &io::Error| error.kind() == io::ErrorKind::ConnectionReset;
    assert!(ended.iter().all(|error| error.as_ref().is_some_and(reset)), "{ended:?}");
}

#[test]
fn clients_of_the_former_owner_are_reset_at_once() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let other = network.host("other").unwrap();
    let client = network.host("client").unwrap();
    let _listeners = VIPS.map(|vip| [serve_vip(&host, vip), serve_vip(&other, vip)]);
    let _servers = [&host, &other].map(|host| serve_everywhere(host, SERVER));
    let mut redirects =
        [&host, &other].map(|host| host.within(|| Redirect::open("test").unwrap()).unwrap());
    for redirect in &mut redirects {
        redirect.install(&mappings()).unwrap();
    }
    let mut addresses = hold(&host);
    let mut opened = VIPS.map(|vip| client.within(|| Open::new(vip).unwrap()).unwrap());
    let eth0 = addresses.link("eth0").unwrap().unwrap().index;
    for vip in VIPS {
        addresses.remove(vip, eth0).unwrap();
    }
    let _held_there = hold(&other);
    ip(&client, "neighbour flush all");
    for open in &mut opened {
        let begun = Instant::now();
        let error = open.goes_on().unwrap_err();
        println!("{error:?} after {:?}", begun.elapsed());
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_killed_owner_leaves_no_table() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let mut command = host.command(std::env::current_exe().unwrap());
    command.args(HELPER_ARGS).env(HELPER, "1");
    let mut owner = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("installed")));

    let mut redirect = host.within(|| Redirect::open("test").unwrap()).unwrap();
    let refused = redirect.install(&mappings()).unwrap_err();
    assert!(matches!(refused, RedirectError::Taken { .. }), "{refused:?}");
    assert!(!redirect.present().unwrap());

    owner.kill().unwrap();
    owner.wait().unwrap();
    redirect.install(&mappings()).unwrap();
    assert!(redirect.present().unwrap());
}

#[test]
fn without_the_capability_the_error_says_so() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let told = run_with(&host, "-all");
    assert!(told.contains("needs the capability CAP_NET_ADMIN"), "{told}");
}

#[test]
fn one_capability_is_enough() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let told = run_with(&host, "-all,+net_admin");
    assert!(told.contains("installed") && told.contains("held: true"), "{told}");
}

/// What [`a_process_to_be_killed`] says with these capabilities alone.
fn run_with(host: &Host, capabilities: &str) -> String {
    let mut command = host.command("setpriv");
    command.args(["--bounding-set", capabilities, "--inh-caps=-all", "--"]);
    command.arg(std::env::current_exe().unwrap()).args(HELPER_ARGS).env(HELPER, "1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// No test, but what others run, with fewer rights or in order to kill it.
#[test]
fn a_process_to_be_killed() {
    if std::env::var_os(HELPER).is_none() {
        return;
    }
    let mut redirect = Redirect::open("test").unwrap();
    match redirect.install(&mappings()) {
        Ok(()) => println!("installed"),
        Err(error) => println!("{error}"),
    }
    match hold_all(&mut redirect) {
        Ok(all) => println!("held: {all}"),
        Err(error) => println!("{error}"),
    }
    // Until the parent ends.
    drop(io::stdin().read(&mut [0]));
}

/// Does everything else that changes something, and says whether it worked.
fn hold_all(redirect: &mut Redirect) -> io::Result<bool> {
    let mut monitor = Monitor::open()?;
    let mut addresses = Addresses::open()?;
    let mut told = 0;
    for vip in VIPS {
        addresses.hold(vip, LOOPBACK, Duration::from_secs(1))?;
        addresses.keep_locally(vip)?;
        addresses.remove(vip, LOOPBACK)?;
    }
    monitor.read(|_change| told += 1)?;
    Ok(redirect.present()? && addresses.remove_leftover_routes()? == 2 && told > 0)
}

const HELPER_ARGS: [&str; 3] = ["--exact", "a_process_to_be_killed", "--nocapture"];

const HELPER: &str = "EVENKEEL_TEST_REDIRECT";

fn mappings() -> [Mapping; 2] {
    VIPS.map(|address| Mapping { address, port: PORT, to: TO })
}

/// Gives the host the addresses, for long.
fn hold(host: &Host) -> Addresses {
    let mut addresses = host.within(|| Addresses::open().unwrap()).unwrap();
    let eth0 = addresses.link("eth0").unwrap().unwrap().index;
    for vip in VIPS {
        addresses.hold(vip, eth0, Duration::from_secs(60)).unwrap();
    }
    addresses
}

fn wait_added(monitor: &mut Monitor, vip: IpAddr) {
    let end = Instant::now() + Duration::from_secs(5);
    let mut added = false;
    while !added {
        assert!(Instant::now() < end, "{vip} is not there");
        let limit = Timespec { tv_sec: 1, tv_nsec: 0 };
        poll(&mut [PollFd::new(&*monitor, PollFlags::IN)], Some(&limit)).unwrap();
        monitor
            .read(|change| {
                added |= matches!(change, Change::AddressNew { address, .. } if address == vip);
            })
            .unwrap();
    }
}

fn serve_everywhere(host: &Host, greeting: &'static str) -> TcpListener {
    let any = SocketAddr::from(([0; 8], PORT));
    let listener = host.within(|| TcpListener::bind(any).unwrap()).unwrap();
    greet(&listener, greeting);
    listener
}

/// Listens on the address before the host has it.
fn serve_vip(host: &Host, vip: IpAddr) -> TcpListener {
    let listener = host.within(|| {
        let address = SocketAddr::new(vip, TO);
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
        match vip {
            IpAddr::V4(_) => socket.set_freebind_v4(true).unwrap(),
            IpAddr::V6(_) => socket.set_freebind_v6(true).unwrap(),
        }
        socket.bind(&address.into()).unwrap();
        socket.listen(16).unwrap();
        TcpListener::from(socket)
    });
    let listener = listener.unwrap();
    greet(&listener, OWN);
    listener
}

/// Greets whoever connects with a line, and then echoes.
fn greet(listener: &TcpListener, greeting: &'static str) {
    let listener = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _client)) = listener.accept() {
            std::thread::spawn(move || {
                let mut echoing = stream.try_clone()?;
                writeln!(stream, "{greeting}")?;
                io::copy(&mut stream, &mut echoing)
            });
        }
    });
}

/// Who answers.
fn answer(to: IpAddr, port: u16) -> io::Result<String> {
    let stream = connect(to, port)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim_end().to_owned())
}

/// An open connection to our own listener.
struct Open {
    stream: BufReader<TcpStream>,
}

impl Open {
    fn new(vip: IpAddr) -> io::Result<Self> {
        let mut stream = BufReader::new(connect(vip, PORT)?);
        let mut line = String::new();
        stream.read_line(&mut line)?;
        assert_eq!(line.trim_end(), OWN);
        Ok(Self { stream })
    }

    fn goes_on(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"x")?;
        self.stream.read_exact(&mut [0])
    }
}

fn connect(to: IpAddr, port: u16) -> io::Result<TcpStream> {
    let timeout = Duration::from_secs(2);
    let stream = TcpStream::connect_timeout(&SocketAddr::new(to, port), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    Ok(stream)
}

fn ip(host: &Host, arguments: &str) {
    let output = Command::new("ip")
        .args(["-n", host.namespace()])
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(output.status.success(), "ip {arguments}: {output:?}");
}
