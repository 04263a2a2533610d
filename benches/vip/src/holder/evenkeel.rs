//! evenkeel with its defaults: the address, and a service behind it with a backend on each host.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;

use evenkeel_testbed::Host;
use serde_json::{Value, json};

use super::Programs;
use crate::row::{PORT, ROUTERS, VIP4, VIP6};
use evenkeel_bench::failed::{Doing, Failed};

/// The config, the same on every host.
fn evenkeel_config() -> String {
    let endpoints = ROUTERS.map(|(_name, number)| format!("\"10.0.0.{number}:{BACKEND_PORT}\""));
    format!(
        r#"apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
vips: [{{name: api, addresses: ["{VIP4}", "{VIP6}"], interface: eth0}}]
services:
  - name: api
    preset: tcp
    listen: {{addresses: ["{VIP4}:{PORT}", "[{VIP6}]:{PORT}"]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
    # As for API servers by default; of other servers it is 2s.
    health: {{interval: 500ms}}
"#,
        endpoints.join(", ")
    )
}

/// A command that runs it on a host.
pub(crate) fn command(host: &Host, programs: &Programs) -> Result<Command, Failed> {
    // A file each: another evenkeel may be reading while this one is written.
    let path = host.directory().join(format!("{}-evenkeel.yaml", host.name()));
    fs::write(&path, evenkeel_config()).doing(|| format!("write {}", path.display()))?;
    let mut command = host.command(&programs.evenkeel);
    let ours = ["CONFIG", "KUBECONFIG", "ADMIN", "LOG_LEVEL", "LOG_FORMAT", "COLOR"];
    for name in ours.map(|name| format!("EVENKEEL_{name}")) {
        command.env_remove(name);
    }
    command.args(["run", "--config"]).arg(path);
    Ok(command)
}

/// Its status and its events, where it answers.
pub(crate) fn told(host: &Host) -> Option<Value> {
    let ask = |path: &str| {
        let (status, body) = host.fetch(ADMIN, path).ok()?;
        if status == 200 { serde_json::from_str::<Value>(&body).ok() } else { None }
    };
    let (status, events) = (ask("/api/v1/status"), ask("/api/v1/events"));
    Some(json!({ "host": host.name(), "status": status?, "events": events? }))
}

/// Where the backend on each host listens.
pub(crate) const BACKEND_PORT: u16 = 7443;
/// Where its admin endpoint is by default.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9643);
