//! Members that end: whoever connects meanwhile is served by the others.

use std::time::Duration;

use evenkeel_core::treatment::Treatment;
use evenkeel_testbed::{Felt, LoadOptions, Member, Options};
use tokio::time::Instant;

use super::site::{Evenkeel, Site};
use super::{LONG, pause};

#[test]
fn members_end_and_come_back_and_no_new_connection_fails() {
    let Some(mut site) = Site::start(Options::default()) else { return };
    let evenkeel = site.start_usual();
    one_ends_in_good_order(&mut site, &evenkeel);
    one_is_killed(&mut site, &evenkeel);
    all_are_killed(&mut site, &evenkeel);
}

#[test]
fn an_end_that_is_announced_fails_nobody() {
    let shutdown_delay = Duration::from_secs(2);
    let Some(mut site) = Site::start(Options { shutdown_delay, ..Options::default() }) else {
        return;
    };
    let evenkeel = site.start_usual();
    let victim = Member::Two;
    let load = site.load(Member::One);
    pause(Duration::from_secs(1));
    site.plane.terminate(victim).unwrap();
    let seen = evenkeel.until_ready(2, shutdown_delay);
    site.wait_refused(site.plane.address(victim));
    pause(Duration::from_secs(2));
    let felt = load.stop().unwrap();
    println!("announced, seen after {seen:.1?}:\n{felt}");
    assert_eq!((felt.failed_new(), felt.failed_watches()), (0, 0), "{felt}");
    // An idle connection that it closes may cross a request, as with every HTTP/1.1 server.
    assert!(felt.longest_new() < LONG && felt.longest_kept_gap() < LONG, "{felt}");
    start_again(&mut site, &evenkeel, victim);
}

fn one_ends_in_good_order(site: &mut Site, evenkeel: &Evenkeel) {
    let [victim, ticker] = [Member::Two, Member::One];
    let load = site.load(ticker);
    pause(Duration::from_secs(1));
    let told = Instant::now();
    site.plane.terminate(victim).unwrap();
    site.wait_refused(site.plane.address(victim));
    let refused = Instant::now();
    let seen = evenkeel.until_ready(2, Duration::from_secs(2));
    pause(Duration::from_secs(3));
    let felt = load.stop().unwrap();
    let after = refused - told;
    println!("terminated, refuses after {after:.1?}, seen {seen:.1?} later:\n{felt}");
    // Until its listener is closed, which is some milliseconds, it shakes hands, reads an HTTP/1.1
    // request and closes instead of an answer: so does Go's `conn.serve` when it shuts down. From
    // the handshake on no balancer can give that client to another member.
    assert_eq!(felt.failed_new_after(refused), 0, "{felt}");
    let mut failed = felt.new.iter().filter(|attempt| attempt.error.is_some());
    assert!(failed.all(|attempt| attempt.started + attempt.took >= told), "{felt}");
    assert!(felt.longest_new_after(told) < LONG, "{felt}");
    // It serves the watches that it has for as long as they last, and evenkeel lets it.
    assert_eq!(felt.failed_watches(), 0, "{felt}");
    start_again(site, evenkeel, victim);
}

fn start_again(site: &mut Site, evenkeel: &Evenkeel, victim: Member) {
    site.plane.wait_exit(victim, Duration::from_secs(20)).unwrap();
    site.plane.start_member(victim).unwrap();
    evenkeel.until_ready(3, Duration::from_secs(5));
}

fn one_is_killed(site: &mut Site, evenkeel: &Evenkeel) {
    let [victim, ticker] = [Member::Two, Member::One];
    site.plane.move_etcd_leader_away_from(victim).unwrap();
    let load = site.load(ticker);
    pause(Duration::from_secs(1));
    let killed = Instant::now();
    site.plane.kill(victim).unwrap();
    let gone = Instant::now();
    let seen = evenkeel.until_ready(2, Duration::from_secs(2));
    pause(Duration::from_secs(3));
    let felt = load.stop().unwrap();
    println!("killed, seen after {seen:.1?}:\n{felt}");
    assert_eq!(felt.failed_new_after(gone), 0, "{felt}");
    // Whom it had begun to answer when it was killed, no balancer can give to another.
    let mut failed = felt.new.iter().filter(|attempt| attempt.error.is_some());
    assert!(failed.all(|attempt| attempt.started + attempt.took >= killed), "{felt}");
    assert!(felt.longest_new_after(killed) < LONG, "{felt}");
    // Its kernel resets what it had, evenkeel passes that on, and the clients connect again.
    assert!(felt.longest_watch_gap() < LONG, "{felt}");
    assert!(felt.longest_kept_gap() < LONG, "{felt}");

    site.plane.start_member(victim).unwrap();
    evenkeel.until_ready(3, Duration::from_secs(5));
}

fn all_are_killed(site: &mut Site, evenkeel: &Evenkeel) {
    // No watches and kept connections: those of a cluster that is gone have nothing to tell.
    let usual = LoadOptions::new(site.front(), site.plane.address(Member::One));
    let load = site.load_with(LoadOptions { kept: 0, watches: 0, ..usual });
    for member in Member::ALL {
        site.plane.kill(member).unwrap();
    }
    let killed = Instant::now();
    // One that resets a handshake as it dies is still the best there is, until it refuses.
    evenkeel.until("nobody is served", Duration::from_secs(2), |status| {
        status.backends.iter().all(|backend| backend.treatment != Treatment::Serve)
    });
    let table = site.status_table();
    assert!(table.contains("0 of 3 ready, no backend is ready"), "{table}");
    assert_ne!(evenkeel.get("/readyz").0, 200);
    pause(Duration::from_secs(2));
    let launched = Instant::now();
    for member in Member::ALL {
        site.plane.launch(member).unwrap();
    }
    for member in Member::ALL {
        site.plane.wait_ready(member, Duration::from_secs(90)).unwrap();
    }
    let up = launched.elapsed();
    let seen = evenkeel.until_ready(3, Duration::from_secs(5));
    let ready = Instant::now();
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));
    let felt = load.stop().unwrap();

    let longest = longest_between(&felt, killed, launched);
    println!("all killed, back after {up:.1?}, seen {seen:.1?} later:\n{felt}");
    println!("while none was there a client waited for its reset at most {longest:.1?}");
    assert!(longest < LONG, "{felt}");
    assert_eq!(felt.failed_new_after(ready), 0, "{felt}");
}

/// The longest that a new connection took which began in a span of time; all of these failed.
fn longest_between(felt: &Felt, from: Instant, to: Instant) -> Duration {
    let within = felt.new.iter().filter(|attempt| (from..to).contains(&attempt.started));
    let took: Vec<Duration> = within
        .inspect(|attempt| assert!(attempt.error.is_some(), "served by nobody: {attempt:?}"))
        .map(|attempt| attempt.took)
        .collect();
    took.into_iter().max().expect("clients tried all the time")
}
