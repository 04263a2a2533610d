//! The mode `hook`: a provider's address, which a program moves to the node that is elected by adverts
//! from node to node.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::site::{BACKEND, HEAD, LONG, SLACK, Site, endpoints, wait};

/// A provider that is one file, in which stands who has the address.
const PROVIDER: &str = r#"#!/bin/sh
set -eu
test "$EVENKEEL_VIP" = 203.0.113.10
echo "$1 $EVENKEEL_NODE $EVENKEEL_EPOCH" >> FILE.log
case "$1" in
    acquire) echo "$EVENKEEL_NODE" > "FILE.$$" && mv "FILE.$$" FILE ;;
    release) if [ "$(cat FILE)" = "$EVENKEEL_NODE" ]; then : > FILE; fi ;;
    owner) cat FILE ;;
esac
"#;

fn provider(site: &Site) -> PathBuf {
    let file = site.write("provider", "");
    let hook = PROVIDER.replace("FILE", file.to_str().unwrap());
    let hook = site.write("hook", &hook);
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn config(site: &Site, more: &str) -> String {
    let hook = site.network.directory().join("hook");
    let hook = hook.display();
    format!(
        "{HEAD}vips:
  - name: elastic
    addresses: [\"203.0.113.10\"]
    mode:
      hook:
        peers: [\"10.0.0.21\", \"10.0.0.22\", \"10.0.0.23\"]
        call: {{exec: {{command: [\"{hook}\"]}}}}
        interval: 100ms
        verifyInterval: 5s
{more}services:
  - name: api
    preset: tcp
    listen: {{addresses: [\"0.0.0.0:6443\"]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
",
        endpoints(BACKEND)
    )
}

/// The router that has the address by the provider, and knows it.
fn owner(site: &Site, provider: &Path) -> Option<usize> {
    let named = fs::read_to_string(provider).unwrap();
    let place = site.routers.iter().position(|router| router.host.name() == named.trim())?;
    let router = &site.routers[place];
    router.evenkeel.as_ref()?;
    let vip = router.vip();
    let knows = vip.hook.is_some_and(|hook| hook.contains("is on this node"));
    (vip.state == "owner" && knows).then_some(place)
}

fn wait_owner(site: &Site, provider: &Path, before: Option<usize>) -> usize {
    let limit = LONG + SLACK;
    wait("one other node has it by the provider", limit, || {
        owner(site, provider).is_some_and(|owner| Some(owner) != before)
    });
    owner(site, provider).unwrap()
}

#[test]
fn the_provider_moves_the_address_to_the_node_that_is_elected() {
    let Some(mut site) = Site::new() else { return };
    let provider = provider(&site);
    let config = config(&site, "");
    for router in &mut site.routers {
        router.start(&config);
    }
    let first = wait_owner(&site, &provider, None);
    assert_eq!(site.routers.iter().filter(|router| router.owns()).count(), 1);
    // It is the provider's business: no interface has it.
    let vip = "203.0.113.10".parse().unwrap();
    assert!(site.routers.iter().all(|router| !router.host.has(vip).unwrap()));

    let moved = site.routers[first].run(&["vip", "move"]);
    assert!(moved.status.success(), "{moved:?}");
    let second = wait_owner(&site, &provider, Some(first));

    site.routers[second].kill();
    let third = wait_owner(&site, &provider, Some(second));

    // Somebody takes it at the provider: it is noticed and taken back.
    fs::write(&provider, "somebody\n").unwrap();
    wait("it is taken back", Duration::from_secs(5) + LONG, || {
        owner(&site, &provider) == Some(third)
    });
    assert!(site.routers[third].events().contains("is with somebody"));

    // An orderly end hands it over, and nobody releases it in between.
    site.routers[second].start(&config);
    wait("all three hear the owner", LONG, || {
        let hears = |router: &super::site::Router| router.vip().owner.is_some() || router.owns();
        site.routers.iter().all(hears)
    });
    site.routers[third].end();
    wait_owner(&site, &provider, Some(third));
    let calls = fs::read_to_string(provider.with_extension("log")).unwrap();
    let acquired = calls.lines().filter(|call| call.starts_with("acquire")).count();
    assert!((5..=8).contains(&acquired), "{calls}");
    assert!(!calls.contains("release"), "{calls}");
}

#[test]
fn an_address_that_is_to_be_assigned_is_on_the_interface_of_the_owner_alone() {
    let Some(mut site) = Site::new() else { return };
    let provider = provider(&site);
    let config = config(&site, "        assign: true\n");
    for router in &mut site.routers {
        router.start(&config);
    }
    let first = wait_owner(&site, &provider, None);
    let vip = "203.0.113.10".parse().unwrap();
    let has = |site: &Site| -> Vec<bool> {
        site.routers.iter().map(|router| router.host.has(vip).unwrap()).collect()
    };
    assert_eq!(has(&site), [0, 1, 2].map(|place| place == first));
    site.routers[first].end();
    let second = wait_owner(&site, &provider, Some(first));
    wait("it is on the new owner alone", SLACK, || {
        has(&site) == [0, 1, 2].map(|place| place == second)
    });
}
