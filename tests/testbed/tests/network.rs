//! Hosts: they reach each other, can be cut off, and leave nothing behind.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use evenkeel_testbed::{Host, Network, or_skip, require_filters, require_network};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

const PORT: u16 = 7000;

#[test]
fn hosts_reach_each_other_over_both_families() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let server = network.host("server").unwrap();
    let client = network.host("client").unwrap();
    let _listening = serve(&server);
    for address in server.addresses() {
        assert!(reaches(&client, address), "{address}");
    }
}

#[test]
fn a_cut_host_is_silent_until_it_is_healed() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let server = network.host("server").unwrap();
    let client = network.host("client").unwrap();
    let _listening = serve(&server);
    assert!(reaches(&client, server.ipv4().into()));

    server.cut().unwrap();
    assert!(!reaches(&client, server.ipv4().into()));

    server.heal().unwrap();
    assert!(reaches(&client, server.ipv4().into()));
}

#[test]
fn a_filter_is_in_force_until_it_is_lifted_or_dropped() {
    let Some(()) = or_skip(require_filters()) else { return };
    let network = Network::new().unwrap();
    let server = network.host("server").unwrap();
    let client = network.host("client").unwrap();
    let other = network.host("other").unwrap();
    let _listening = serve(&server);

    let silence = network.silence(&server).unwrap();
    assert!(!reaches(&client, server.ipv4().into()));
    silence.lift().unwrap();
    assert!(reaches(&client, server.ipv4().into()));

    let apart = network.part(&[&client], &[&server]).unwrap();
    assert!(!reaches(&client, server.ipv6().into()));
    assert!(reaches(&other, server.ipv6().into()));
    drop(apart);
    assert!(reaches(&client, server.ipv6().into()));

    // What the server answers is what does not arrive.
    let deaf = network.deafen(&server, &client).unwrap();
    assert!(!reaches(&client, server.ipv4().into()));
    drop(deaf);
    let _only_vrrp = network.forbid_vrrp().unwrap();
    assert!(reaches(&client, server.ipv4().into()));
}

#[test]
fn a_host_forwards_if_it_is_told_to() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let forwards =
        || host.within(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward")).unwrap().unwrap();
    host.forward(true).unwrap();
    assert_eq!(forwards(), "1\n");
    host.forward(false).unwrap();
    assert_eq!(forwards(), "0\n");
}

#[test]
fn networks_with_the_same_addresses_do_not_hear_each_other() {
    let Some(()) = or_skip(require_network()) else { return };
    let (one, other) = (Network::new().unwrap(), Network::new().unwrap());
    let server = one.host("server").unwrap();
    let _namesake = other.host("server").unwrap();
    let stranger = other.host("client").unwrap();
    let _listening = serve(&server);
    assert!(!reaches(&stranger, server.ipv4().into()));
}

#[test]
fn nothing_is_left_of_a_network_whose_test_panicked() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let namespace = format!("/run/netns/{}", host.namespace());
    let directory = network.directory().to_owned();
    drop(host.spawn("true", host.command("true")).unwrap());
    drop(host);
    // Nobody owns it as a `Process`: only its network ends it.
    let mut forgotten = network.host("other").unwrap().command("sleep");
    let mut forgotten = forgotten.arg("1000").spawn().unwrap();
    assert!(fs::exists(&namespace).unwrap() && fs::exists(&directory).unwrap());

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _dropped_by_the_panic = network;
        std::panic::resume_unwind(Box::new("as a failed test does"));
    }));
    assert!(panicked.is_err());
    assert!(!fs::exists(&namespace).unwrap());
    assert!(!fs::exists(&directory).unwrap());
    assert_eq!(forgotten.wait().unwrap().signal(), Some(9));
}

#[test]
fn a_killed_test_process_leaves_nothing_either() {
    let Some(()) = or_skip(require_network()) else { return };
    let mut test = Command::new(env!("CARGO_BIN_EXE_network-to-be-killed"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(test.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.find_map(|line| Some(line.split_once("made ")?.1.to_owned())).unwrap();
    let [namespace, directory, pid] = told.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{told}")
    };
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    let process = pidfd_open(pid, PidfdFlags::empty()).unwrap();

    test.kill().unwrap();
    test.wait().unwrap();
    let limit = Timespec { tv_sec: 5, tv_nsec: 0 };
    let mut ends = [PollFd::new(&process, PollFlags::IN)];
    assert_eq!(poll(&mut ends, Some(&limit)).unwrap(), 1, "its child goes on");

    assert!(fs::exists(namespace).unwrap() && fs::exists(directory).unwrap());
    let _next = Network::new().unwrap();
    assert!(!fs::exists(namespace).unwrap() && !fs::exists(directory).unwrap());
}

#[test]
fn a_process_outlives_the_thread_that_asked_for_it() {
    let Some(()) = or_skip(require_network()) else { return };
    let network = Network::new().unwrap();
    let host = network.host("host").unwrap();
    let mut process = std::thread::scope(|scope| {
        let ask = || {
            let mut sleep = host.command("sleep");
            sleep.arg("1000");
            host.spawn("sleep", sleep).unwrap()
        };
        scope.spawn(ask).join().unwrap()
    });
    assert!(process.wait_exit(Duration::from_millis(300)).is_err());
    assert!(process.is_running());
    process.freeze().unwrap();
    assert!(process.is_running());
    process.terminate().unwrap();
    // A stopped process takes the signal when it goes on.
    process.thaw().unwrap();
    process.wait_exit(Duration::from_secs(5)).unwrap();
    assert!(!process.is_running());
}

/// Greets whoever connects, until the thread's process ends; the listener is there on return.
fn serve(host: &Host) -> TcpListener {
    let listener = host
        .within(|| TcpListener::bind(SocketAddr::from(([0; 8], PORT))))
        .expect("the host is there")
        .expect("the port of a new host is free");
    let accepting = listener.try_clone().expect("a socket can be shared");
    std::thread::spawn(move || {
        while let Ok((mut stream, _client)) = accepting.accept() {
            if stream.write_all(b"hello").is_err() {
                break;
            }
        }
    });
    listener
}

fn reaches(from: &Host, to: IpAddr) -> bool {
    from.within(|| {
        let timeout = Duration::from_millis(1500);
        let mut greeting = String::new();
        let connected = TcpStream::connect_timeout(&SocketAddr::new(to, PORT), timeout);
        let read = connected.and_then(|mut stream| {
            stream.set_read_timeout(Some(timeout))?;
            stream.read_to_string(&mut greeting)
        });
        read.is_ok() && greeting == "hello"
    })
    .expect("the host is there")
}
