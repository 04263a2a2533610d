//! What `evenkeel check` refuses about a VIP.

use super::site::{HEAD, Site};
use crate::harness::{command, stderr};

/// A service that listens on the VIP of these tests.
const SERVICE: &str = "services:
  - {name: api, preset: tcp, listen: {addresses: [\"10.0.0.100:6443\"]}, sources: [{static: {endpoints: [\"10.0.0.11:6443\"]}}]}
";

/// Holds that `check` refuses a config, and says on which line and what to do.
fn refused(vips: &str, services: &str, line: u32, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("evenkeel.yaml");
    std::fs::write(&path, format!("{HEAD}{vips}\n{services}")).unwrap();
    let output = command(&["check", "--config", path.to_str().unwrap()]).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{vips}: {said}");
    assert!(said.contains(&format!("evenkeel.yaml:{line}:")), "line {line}: {said}");
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn what_cannot_be_right_about_a_vip_is_refused_with_its_place() {
    let fronted = SERVICE.replace("10.0.0.11:6443", "10.0.0.100:7443");
    refused(
        "vips:\n  - {name: api, addresses: [\"10.0.0.100\"]}",
        &fronted,
        4,
        &["10.0.0.100 is an endpoint of the service `api`", "an address of its own"],
    );
    refused(
        "vips:\n  - {name: api, addresses: [\"10.0.0.101\"]}",
        SERVICE,
        4,
        &["no service listens on the VIP `api`", "listen: {addresses: [\"10.0.0.101:6443\"]}"],
    );
    let two = "vips:\n  - {name: api, addresses: [\"10.0.0.100\"], interface: eth0}\n";
    let both = SERVICE.replace("\"10.0.0.100:6443\"", "\"0.0.0.0:6443\"");
    refused(
        &format!("{two}  - {{name: web, addresses: [\"10.0.1.100\"], interface: eth0}}"),
        &both,
        5,
        &["`api` and `web` have the same VRID 100", "mode: {l2: {vrid: N}}"],
    );
    refused(
        &format!("{two}  - {{name: web, addresses: [\"10.0.0.100\"], mode: {{l2: {{vrid: 7}}}}}}"),
        &both,
        5,
        &["10.0.0.100 stands twice: it is the VIP `api` already"],
    );
    refused(
        "vips:\n  - {name: api, addresses: [\"127.0.0.1\"]}",
        &both,
        4,
        &["127.0.0.1 cannot move: it is loopback"],
    );
    refused(
        "vips:\n  - name: api\n    addresses: [\"10.0.0.100\"]\n    mode: {l2: {interval: 15ms}}",
        SERVICE,
        6,
        &["15ms", "hundredths of a second"],
    );
    refused(
        "vips:\n  - name: api\n    addresses: [\"10.0.0.100\"]\n    lifetime: 1500ms",
        SERVICE,
        6,
        &["1500ms", "whole seconds"],
    );
}

#[test]
fn an_address_that_nobody_asks_for_on_its_interface_is_refused() {
    let Some(site) = Site::new() else { return };
    let service = SERVICE.replace("10.0.0.100", "0.0.0.0");
    let check = |address: &str| {
        let vips =
            format!("vips:\n  - {{name: api, addresses: [\"{address}\"], interface: eth0}}\n");
        let path = site.write("checked.yaml", &format!("{HEAD}{vips}{service}"));
        site.routers[0].run(&["check", "--config", path.to_str().unwrap()])
    };
    let outside = check("10.0.7.100");
    let said = stderr(&outside);
    assert_eq!(outside.status.code(), Some(3), "{said}");
    assert!(said.contains("checked.yaml:4:"), "{said}");
    assert!(said.contains("10.0.7.100 is not in the subnet of eth0, 10.0.0.21/24"), "{said}");
    assert!(said.contains("Take a free address of that subnet, or `mode: {route: {}}`"), "{said}");
    let own = check("10.0.0.21");
    let said = stderr(&own);
    assert!(said.contains("10.0.0.21 is the address of eth0 itself: it cannot move"), "{said}");
    let fine = check("10.0.0.100");
    assert!(fine.status.success(), "{}", stderr(&fine));
}
