//! kubectl does through evenkeel what it does without.

use std::fs;
use std::time::Duration;

use evenkeel_testbed::{Member, Options, User};
use tokio::time::Instant;

use super::pause;
use super::site::{Site, wait};
use crate::harness::stdout;

#[test]
fn kubectl_does_not_notice_the_balancer_and_sigterm_waits_for_it() {
    let Some(site) = Site::start(Options::default()) else { return };
    objects_are_made_seen_and_deleted(&site);
    what_is_large_arrives_whole(&site);
    sigterm_lets_open_connections_end(&site);
    sigterm_resets_what_does_not_end(&site);
}

fn objects_are_made_seen_and_deleted(site: &Site) {
    let evenkeel = site.start_usual();
    assert!(site.kubectl(&["get", "namespaces"]).contains("default"));

    let file = site.write("first.yaml", &config_map("first", "one"));
    site.kubectl(&["apply", "--filename", file.to_str().unwrap()]);
    let watch = site.spawn_kubectl("watch", &["get", "configmaps", "--watch", "--output=name"]);
    let seen = |what: &str| fs::read_to_string(watch.log()).unwrap().matches(what).count();
    wait("the watch lists", PATIENCE, || seen("configmap/first") == 1);

    let file = site.write("second.yaml", &config_map("second", "one"));
    site.kubectl(&["apply", "--server-side", "--filename", file.to_str().unwrap()]);
    wait("the watch sees an event", PATIENCE, || seen("configmap/second") == 1);
    site.kubectl(&["delete", "configmap", "first"]);
    wait("the watch sees a deletion", PATIENCE, || seen("configmap/first") == 2);
    assert!(!site.kubectl(&["get", "configmaps", "--output=name"]).contains("first"));

    let table = site.status_table();
    println!("{table}");
    assert!(table.contains("3 of 3 ready, tolerates 1 more failure"), "{table}");
    assert_eq!(evenkeel.get("/readyz").0, 200);
    let (_, metrics) = evenkeel.get("/metrics");
    assert!(metrics.contains("\nevenkeel_connections_total{"), "{metrics}");

    let kubeconfig = site.kubeconfig_of(Member::One, User::Probe);
    let address = site.plane.address(Member::Two).to_string();
    let probe = site.evenkeel(&["probe", &address, "--kubeconfig", kubeconfig.to_str().unwrap()]);
    assert!(probe.status.success() && stdout(&probe).contains("ready (ready)"), "{probe:?}");
}

fn what_is_large_arrives_whole(site: &Site) {
    let _evenkeel = site.start_usual();
    let letters: String = ('a'..='z').cycle().take(900 * 1024).collect();
    let file = site.write("letters", &letters);
    for name in ["large-1", "large-2", "large-3"] {
        let from = format!("--from-file=letters={}", file.display());
        site.kubectl(&["create", "configmap", name, &from]);
    }
    let list = ["get", "--raw", "/api/v1/namespaces/default/configmaps"];
    let begun = Instant::now();
    let through = site.kubectl(&list);
    println!("large list: {} bytes in {:.1?}", through.len(), begun.elapsed());
    assert_eq!(through.matches(&letters).count(), 3);
    // Not `assert_eq`, which would show them.
    assert!(through == site.kubectl_past(Member::One, &list), "not the list that a member has");

    let openapi = site.kubectl(&["get", "--raw", "/openapi/v2"]);
    println!("openapi: {} bytes", openapi.len());
    assert!(openapi.len() > 1_000_000 && openapi.ends_with('}'), "{} bytes", openapi.len());
}

fn sigterm_lets_open_connections_end(site: &Site) {
    let mut evenkeel = site.start_usual();
    let mut watch = site.spawn_kubectl("kept", &["get", "configmaps", "--watch", "--output=name"]);
    let seen = |what: &str, log: &std::path::Path| fs::read_to_string(log).unwrap().contains(what);
    wait("the watch lists", PATIENCE, || seen("configmap/large-1", watch.log()));

    evenkeel.process.terminate().unwrap();
    wait("evenkeel drains", PATIENCE, || evenkeel.get("/readyz").0 != 200);
    let refused = site.try_kubectl(&["get", "namespaces"]);
    assert!(!refused.status.success(), "{refused:?}");
    let args = ["create", "configmap", "while-draining"];
    site.kubectl_past(Member::One, &args);
    wait("the watch goes on", PATIENCE, || seen("configmap/while-draining", watch.log()));
    assert!(evenkeel.process.is_running());

    let ended = Instant::now();
    watch.kill().unwrap();
    let status = evenkeel.process.wait_exit(PATIENCE).unwrap();
    println!("drained: {status}, {:.1?} after the last connection", ended.elapsed());
    assert_eq!(status.code(), Some(0));
}

fn sigterm_resets_what_does_not_end(site: &Site) {
    let config = site.config(&site.credentials(User::Probe), "{drainTimeout: 2s}");
    let mut evenkeel = site.start_configured(&config);
    evenkeel.until_ready(3, PATIENCE);
    let mut watch = site.spawn_kubectl("held", &["get", "configmaps", "--watch", "--output=name"]);
    let seen = |what: &str| fs::read_to_string(watch.log()).unwrap().contains(what);
    wait("the watch lists", PATIENCE, || seen("configmap/while-draining"));

    let told = Instant::now();
    evenkeel.process.terminate().unwrap();
    pause(Duration::from_secs(1));
    assert!(watch.is_running() && evenkeel.process.is_running());
    let status = evenkeel.process.wait_exit(PATIENCE).unwrap();
    let took = told.elapsed();
    println!("not drained: {status} after {took:.1?}");
    assert_eq!(status.code(), Some(0));
    assert!((Duration::from_secs(2)..Duration::from_secs(3)).contains(&took), "{took:?}");
    watch.wait_exit(PATIENCE).unwrap();
}

fn config_map(name: &str, value: &str) -> String {
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\ndata: {{value: {value}}}\n"
    )
}

const PATIENCE: Duration = Duration::from_secs(5);
