//! A cluster that tells nothing to strangers, and one that is not the right one.

use std::io::ErrorKind;
use std::time::Duration;

use evenkeel_lab::Authority;
use evenkeel_testbed::{Member, Options, User};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use super::site::Site;
use super::{LONG, pause};
use crate::harness::{stderr, stdout};

#[test]
fn without_a_credential_the_cluster_is_served_and_with_the_wrong_ca_it_is_not() {
    let Some(site) = Site::start(Options { anonymous: false, ..Options::default() }) else {
        return;
    };
    a_cluster_that_wants_a_credential_is_served_without(&site);
    with_a_credential_all_are_ready(&site);
    what_is_of_another_cluster_is_never_served(&site);
}

fn a_cluster_that_wants_a_credential_is_served_without(site: &Site) {
    let credentials = format!("{{files: {{ca: {}}}}}", site.plane.ca_file().display());
    let evenkeel = site.start_configured(&site.config(&credentials, "{}"));
    evenkeel.until("all unauthorized", PATIENCE, |status| {
        status.backends.iter().all(|backend| backend.class.as_str() == "unauthorized")
    });
    let table = site.status_table();
    println!("{table}");
    assert!(table.contains("unready (unauthorized)"), "{table}");
    assert!(table.contains("nothing is ready: what answers is served (fail-open)"), "{table}");
    let status = evenkeel.status();
    assert!(status.fails_open && status.identity_verified, "{status:#?}");
    let why = status.backends.iter().map(|backend| backend.why.as_str());
    for why in why {
        assert!(why.contains("it wants a credential"), "{why}");
    }
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));
    assert_eq!(evenkeel.get("/readyz").0, 200);

    let load = site.load(Member::One);
    pause(Duration::from_secs(2));
    let felt = load.stop().unwrap();
    println!("failing open:\n{felt}");
    assert_eq!((felt.failed_new(), felt.failed_kept(), felt.failed_watches()), (0, 0, 0), "{felt}");
}

fn with_a_credential_all_are_ready(site: &Site) {
    for user in [User::Probe, User::Evenkeel] {
        let evenkeel = site.start_configured(&site.config(&site.credentials(user), "{}"));
        let took = evenkeel.until_ready(3, PATIENCE);
        println!("as {}: all ready after {took:.1?}", user.name());
        assert!(!evenkeel.status().fails_open);
        assert!(site.kubectl(&["get", "namespaces"]).contains("default"));
    }
}

fn what_is_of_another_cluster_is_never_served(site: &Site) {
    let ca = site.write("other-ca.crt", Authority::new("another cluster").unwrap().pem());
    let credentials = format!("{{files: {{ca: {}}}}}", ca.display());
    let evenkeel = site.start_configured(&site.config(&credentials, "{}"));
    evenkeel.until("all foreign", PATIENCE, |status| {
        status.backends.iter().all(|backend| backend.class.as_str() == "foreign")
    });
    let table = site.status_table();
    println!("{table}");
    assert!(table.contains("proves to be of another cluster"), "{table}");
    assert_ne!(evenkeel.get("/readyz").0, 200);

    let refused = site.try_kubectl(&["get", "namespaces", "--request-timeout=5s"]);
    assert!(!refused.status.success(), "{}", stdout(&refused));
    println!("kubectl says: {}", stderr(&refused).lines().last().unwrap_or_default());
    let waited: Vec<Duration> = (0..20).map(|_| wait_for_reset(site)).collect();
    let longest = waited.into_iter().max().unwrap();
    println!("a client waits for its reset at most {longest:.1?}");
    assert!(longest < LONG, "{longest:?}");
    assert_eq!(evenkeel.status().total_connections, 0);
}

/// Connects, says something, and must be reset; how long that took.
fn wait_for_reset(site: &Site) -> Duration {
    let front = site.front();
    let begun = Instant::now();
    let ended = site.client.block_on(async move {
        timeout(PATIENCE, async move {
            let mut stream = TcpStream::connect(front).await?;
            stream.write_all(b"hello").await?;
            stream.read_u8().await
        })
        .await
    });
    let error = ended.unwrap().expect("a reset is not waited for").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    begun.elapsed()
}

const PATIENCE: Duration = Duration::from_secs(5);
