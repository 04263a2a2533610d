//! Members that fall silent, which nobody tells the clients: evenkeel notices, and tells them by a
//! reset.

use std::time::Duration;

use evenkeel_health::probe::{KubeApiserverProbe, Probe};
use evenkeel_health::{Failure, HealthConfig, WorstCase};
use evenkeel_proxy::OWED;
use evenkeel_testbed::{ControlPlane, ControlPlaneError, LoadOptions, Member, Options, User};
use tokio::time::Instant;

use super::site::{Evenkeel, Site, wait};
use super::{AGAIN, LONG, pause};

type Verb = fn(&ControlPlane, Member) -> Result<(), ControlPlaneError>;

/// What this test itself needs to see something, and what a busy machine takes.
const SLACK: Duration = Duration::from_millis(400);

#[test]
fn a_silent_member_is_avoided_and_its_clients_are_told() {
    let Some(site) = Site::start(Options::default()) else { return };
    // The second failure comes before a slow start would be over.
    let usual = site.config(&site.credentials(User::Probe), "{}");
    let evenkeel = site.start_configured(&format!("{usual}    failover: {{slowStart: 0s}}\n"));
    evenkeel.until_ready(3, Duration::from_secs(5));
    falls_silent(&site, &evenkeel, Failure::Hung, ControlPlane::freeze, ControlPlane::thaw);
    falls_silent(&site, &evenkeel, Failure::Silent, ControlPlane::cut, ControlPlane::heal);
}

fn falls_silent(site: &Site, evenkeel: &Evenkeel, failure: Failure, treat: Verb, undo: Verb) {
    let name = failure.as_str();
    // What `evenkeel check` says of the very same config.
    let probe = Probe::KubeApiserver(KubeApiserverProbe::default());
    let health = HealthConfig { probe, ..HealthConfig::default() };
    let worst = WorstCase::with_traffic(&health, failure, OWED).unwrap();
    let (avoided, reset_by) = (worst.avoid + SLACK, worst.reset.unwrap() + SLACK);
    let [victim, ticker] = [Member::Three, Member::One];
    let address = site.plane.address(victim);
    let connections = || evenkeel.backend(address).map_or(0, |backend| backend.connections);
    site.plane.move_etcd_leader_away_from(victim).unwrap();
    // As many for each member, so that a new connection may go to any.
    let usual = LoadOptions::new(site.front(), site.plane.address(ticker));
    let load = site.load_with(LoadOptions { kept: 11, ..usual });
    pause(Duration::from_secs(1));
    let had = connections();
    assert!(had >= 4, "of 21 that stay it has {had}");

    let treated = Instant::now();
    treat(&site.plane, victim).unwrap();
    let silent = Instant::now();
    let suspected = evenkeel.until_ready(2, avoided);
    let reset = evenkeel.until("all reset", reset_by, |_| connections() == 0);
    let reset = suspected + reset;
    pause(Duration::from_secs(3));
    undo(&site.plane, victim).unwrap();
    let undone = Instant::now();
    site.plane.wait_ready(victim, Duration::from_secs(20)).unwrap();
    let ready = undone.elapsed();
    let seen = evenkeel.until_ready(3, Duration::from_secs(5));
    let (taken, healthy) = (evenkeel.taken(address), Instant::now());
    wait("it is used", Duration::from_secs(5), || evenkeel.taken(address) > taken);
    let used = healthy.elapsed();
    pause(Duration::from_secs(1));
    let felt = load.stop().unwrap();

    println!(
        "{name} (at worst {worst:?}): avoided after {suspected:.1?}, {had} connections reset after {reset:.1?}; undone: \
         ready after {ready:.1?}, seen {seen:.1?} and used {used:.1?} later\n{felt}\
         new since then: {} failed, longest {:.1?}; since {avoided:?} after it: longest {:.1?}\n",
        felt.failed_new_after(silent),
        felt.longest_new_after(silent),
        felt.longest_new_after(treated + avoided),
    );
    assert!(reset <= reset_by, "{reset:?}, and at worst {worst:?}");
    // Whom its kernel still accepted has heard nothing yet, so another member takes over.
    assert_eq!(felt.failed_new_after(silent), 0, "{felt}");
    assert!(felt.longest_new_after(silent) < avoided + AGAIN, "{felt}");
    assert!(felt.longest_new_after(treated + avoided) < LONG, "{felt}");
    assert!(felt.longest_watch_gap() <= reset_by + AGAIN, "{felt}");
    assert!(felt.longest_kept_gap() <= reset_by + AGAIN, "{felt}");
}
