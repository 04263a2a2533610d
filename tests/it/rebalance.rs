//! Connections that are spread anew, by the real binary, when a backend has come back to none.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::harness::{Running, echo, free_addresses};

/// Connections that are open before the second backend comes.
const OPEN: u64 = 8;

#[test]
fn idle_connections_of_the_backend_with_most_are_ended_until_it_has_few_enough() {
    let (mut evenkeel, _clients) = skewed("on");
    // Nobody comes back, so each should have half of what is left: two a second go until there is
    // one too many, which is not worth it.
    evenkeel.until("evened out", |evenkeel| {
        evenkeel.get("/metrics").is_some_and(|metrics| metrics.contains("cause=\"rebalanced\"} 6"))
    });
    assert_eq!(connections(&evenkeel), 2);
    assert!(says(&evenkeel, "idle ones are ended"));
}

#[test]
fn a_dry_run_only_tells() {
    let (mut evenkeel, mut clients) = skewed("dryRun");
    evenkeel.until("told", |evenkeel| says(evenkeel, "idle ones would be ended"));
    let metrics = evenkeel.get("/metrics").unwrap();
    let skew = metrics.lines().find(|line| line.starts_with("evenkeel_service_skew_ratio{"));
    assert!(skew.is_some_and(|line| line.ends_with(" 1")), "{metrics}");
    // Whoever is asked for is still there.
    for client in &mut clients {
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(connections(&evenkeel), OPEN);
}

/// evenkeel with all connections on one of two backends, and the clients.
fn skewed(mode: &str) -> (Running, Vec<TcpStream>) {
    let [admin, listen, one, two] = free_addresses();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evenkeel.yaml");
    let config = format!(
        "apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
admin: {{listen: \"{admin}\"}}
services:
  - name: api
    listen: {{addresses: [\"{listen}\"]}}
    sources: [{{static: {{endpoints: [\"{one}\", \"{two}\"]}}}}]
    health: {{interval: 100ms}}
    failover: {{slowStart: 0s, rebalance: {{mode: \"{mode}\", rate: 2, idle: 1s}}}}
"
    );
    fs::write(&file, config).unwrap();
    echo(TcpListener::bind(one).unwrap());
    let mut evenkeel = Running::start(&file, admin);
    evenkeel.until("one of two is ready", |evenkeel| ready(evenkeel) == 1);
    let clients: Vec<TcpStream> = (0..OPEN)
        .map(|_| {
            let mut client = TcpStream::connect(listen).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            client
        })
        .collect();
    echo(TcpListener::bind(two).unwrap());
    evenkeel.until("both are ready", |evenkeel| ready(evenkeel) == 2);
    (evenkeel, clients)
}

fn ready(evenkeel: &Running) -> u64 {
    evenkeel.status()["services"][0]["ready"].as_u64().unwrap()
}

fn connections(evenkeel: &Running) -> u64 {
    evenkeel.status()["services"][0]["connections"].as_u64().unwrap()
}

fn says(evenkeel: &Running, what: &str) -> bool {
    evenkeel.get("/api/v1/events").unwrap().contains(what)
}
