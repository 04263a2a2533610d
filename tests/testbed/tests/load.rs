//! Load on one member directly: nothing is felt while nothing befalls it, and much when it does.

use std::time::Duration;

use evenkeel_testbed::{
    ControlPlane, ControlPlaneError, Load, LoadOptions, Member, Network, Options, or_skip, require,
};
use tokio::time::Instant;

#[test]
fn clients_feel_what_befalls_their_member_and_nothing_else() {
    let Some(assets) = or_skip(require()) else { return };
    let network = Network::new().unwrap();
    let client = network.host("client").unwrap();
    let begun = Instant::now();
    let mut plane = ControlPlane::start(&network, &assets, &Options::default()).unwrap();
    println!("three members started in {:?}", begun.elapsed());
    plane.move_etcd_leader_away_from(Member::One).unwrap();
    let options = LoadOptions::new(plane.address(Member::One), plane.address(Member::Two));

    let load = Load::start(&client, plane.admin(), options.clone()).unwrap();
    pause(Duration::from_secs(3));
    let felt = load.stop().unwrap();
    println!("undisturbed:\n{felt}");
    assert_eq!((felt.failed_new(), felt.failed_kept(), felt.failed_watches()), (0, 0, 0), "{felt}");
    assert!(felt.new.len() > 20, "{felt}");
    assert!(felt.watches.iter().all(|watch| watch.events > 10), "{felt}");

    let load = Load::start(&client, plane.admin(), options).unwrap();
    let killed = Instant::now();
    plane.kill(Member::One).unwrap();
    pause(Duration::from_secs(1));
    plane.start_member(Member::One).unwrap();
    let ready = Instant::now();
    pause(Duration::from_secs(1));
    let felt = load.stop().unwrap();
    println!("killed for {:?}:\n{felt}", ready - killed);
    assert!(felt.failed_new() > 0 && felt.failed_kept() > 0 && felt.failed_watches() > 0, "{felt}");
    assert_eq!(felt.failed_new_after(ready), 0, "{felt}");
    assert!(felt.longest_kept_gap() > Duration::from_secs(1), "{felt}");
    assert!(felt.longest_watch_gap() > Duration::from_secs(1), "{felt}");
    assert!(felt.longest_tick_gap() < Duration::from_secs(1), "{felt}");
}

type Verb = fn(&ControlPlane, Member) -> Result<(), ControlPlaneError>;

#[test]
fn a_silent_member_is_felt_as_silence_while_the_others_go_on() {
    let Some(assets) = or_skip(require()) else { return };
    let network = Network::new().unwrap();
    let client = network.host("client").unwrap();
    let options = Options { anonymous: false, ..Options::default() };
    let plane = ControlPlane::start(&network, &assets, &options).unwrap();
    let victim = Member::Three;
    plane.move_etcd_leader_away_from(victim).unwrap();
    let options = LoadOptions {
        new_timeout: Duration::from_millis(500),
        kept_timeout: Duration::from_secs(1),
        ..LoadOptions::new(plane.address(victim), plane.address(Member::One))
    };

    let treatments: [(&str, Verb, Verb); 3] = [
        ("freeze", ControlPlane::freeze, ControlPlane::thaw),
        ("freeze host", ControlPlane::freeze_host, ControlPlane::thaw_host),
        ("cut", ControlPlane::cut, ControlPlane::heal),
    ];
    for (name, treat, undo) in treatments {
        let load = Load::start(&client, plane.admin(), options.clone()).unwrap();
        treat(&plane, victim).unwrap();
        pause(Duration::from_secs(2));
        undo(&plane, victim).unwrap();
        plane.wait_ready(victim, Duration::from_secs(10)).unwrap();
        pause(Duration::from_secs(1));
        let felt = load.stop().unwrap();
        println!("{name}:\n{felt}");
        assert!(felt.failed_new() > 10 && felt.failed_kept() > 0, "{name}: {felt}");
        assert!(felt.longest_watch_gap() > Duration::from_secs(1), "{name}: {felt}");
        assert!(felt.longest_tick_gap() < Duration::from_secs(1), "{name}: {felt}");
    }
}

/// Lets the clients feel for a while: there is no event to wait for.
fn pause(duration: Duration) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a timer needs nothing")
        .block_on(async { tokio::time::sleep(duration).await });
}
