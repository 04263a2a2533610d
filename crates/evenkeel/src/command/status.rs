//! `evenkeel status`: the verdict first, then what it rests on.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use evenkeel_admin::status::{BackendStatus, ServiceStatus, Status, VipStatus};
use evenkeel_core::health::Health;

use crate::admin_client;
use crate::args::{StatusArgs, TableOrJson};
use crate::exit::Exit;
use crate::table::{Table, age};

pub(super) async fn run(args: &StatusArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let (_, body) = admin_client::ask(args.admin.admin, "/api/v1/status").await?;
    let status: Status = serde_json::from_slice(&body).context("not the status of an evenkeel")?;
    match args.output {
        TableOrJson::Json => super::json(&status, out)?,
        TableOrJson::Table => show(&status, out)?,
    }
    Ok(if args.check { verdict(&status) } else { Exit::Done })
}

fn verdict(status: &Status) -> Exit {
    let services = &status.services;
    if services.iter().any(|service| service.ready == 0) {
        Exit::NoReadyBackend
    } else if services.iter().any(|s| s.tolerable == 0 && s.ready < s.members) {
        Exit::NoTolerance
    } else {
        Exit::Done
    }
}

/// Writes the status for people.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn show(status: &Status, out: &mut impl Write) -> anyhow::Result<()> {
    let up = age(f64::from(u32::try_from(status.uptime_seconds).unwrap_or(u32::MAX)));
    let draining = if status.draining { ", draining" } else { "" };
    writeln!(
        out,
        "evenkeel {} on {}, up {up}, config {}{draining}\n",
        status.version, status.node, status.config_hash
    )?;
    for service in &status.services {
        let (glyph, style) = mark(service);
        let name = &service.name;
        writeln!(out, "{style}{glyph} {name}: {}{style:#}", service.verdict)?;
        for warning in &service.warnings {
            let style = AnsiColor::Yellow.on_default();
            writeln!(out, "  {style}! {warning}{style:#}")?;
        }
    }
    for vip in &status.vips {
        let (glyph, style) = vip_mark(vip);
        writeln!(out, "{style}{glyph} vip {}: {}{style:#}", vip.name, vip_words(vip))?;
        for warning in &vip.warnings {
            let style = AnsiColor::Yellow.on_default();
            writeln!(out, "  {style}! {warning}{style:#}")?;
        }
    }
    writeln!(out)?;
    if !status.vips.is_empty() {
        writeln!(out, "{}", vips(status))?;
    }
    writeln!(out, "{}", services(status))?;
    for service in &status.services {
        writeln!(out, "{}", service.name)?;
        let table = backends(service).to_string();
        for (line, backend) in
            table.lines().zip(std::iter::once(None).chain(service.backends.iter().map(Some)))
        {
            match backend {
                None => writeln!(out, "    {line}")?,
                Some(backend) => {
                    let (glyph, style) = health_mark(backend.health);
                    writeln!(out, "  {style}{glyph}{style:#} {line}")?;
                }
            }
        }
        writeln!(out)?;
    }
    Ok(())
}

fn vip_words(vip: &VipStatus) -> String {
    match (&vip.owner, vip.owned) {
        (_, true) => {
            format!("this node is {} for {}: {}", vip.state, age(vip.since_seconds), vip.why)
        }
        (Some(owner), false) => format!("{owner} has it; this node is {}", vip.state),
        (None, false) if vip.state == "backup" => {
            let class = vip.class.as_deref().unwrap_or("new");
            format!("nobody is heard to have it; this node is {class}: {}", vip.class_why)
        }
        (None, false) => format!("this node is {}: {}", vip.state, vip.why),
    }
}

fn vip_mark(vip: &VipStatus) -> (&'static str, Style) {
    if vip.owned {
        health_mark(Health::Ready)
    } else if vip.owner.is_some() {
        health_mark(Health::Unknown)
    } else {
        health_mark(Health::Unready)
    }
}

fn vips(status: &Status) -> Table {
    let mut table =
        Table::new(&["VIP", "ADDRESSES", "STATE", "SINCE", "OWNER", "CLASS", "INTERFACE", "VRID"]);
    for vip in &status.vips {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let owner = if vip.owned { Some("this node".to_owned()) } else { vip.owner.clone() };
        table.row(vec![
            vip.name.clone(),
            vip.addresses.join(","),
            vip.state.clone(),
            age(vip.since_seconds),
            or_none(owner),
            or_none(vip.class.clone()),
            or_none(vip.interface.clone()),
            or_none(vip.vrid.map(|vrid| vrid.to_string())),
        ]);
    }
    table
}

fn services(status: &Status) -> Table {
    let mut table = Table::new(&[
        "SERVICE",
        "LISTEN",
        "READY",
        "TOLERATES",
        "CONNS",
        "TOTAL",
        "POLICY",
        "FROM",
    ]);
    for service in &status.services {
        let listen: Vec<&str> = service.listeners.iter().map(|l| l.address.as_str()).collect();
        let from: Vec<&str> = service.sources.iter().map(|s| s.kind.as_str()).collect();
        table.row(vec![
            service.name.clone(),
            listen.join(","),
            format!("{}/{}", service.ready, service.members),
            service.tolerable.to_string(),
            service.connections.to_string(),
            service.total_connections.to_string(),
            service.policy.clone(),
            from.join(","),
        ]);
    }
    table
}

fn backends(service: &ServiceStatus) -> Table {
    let mut table = Table::new(&["BACKEND", "HEALTH", "SINCE", "TREATMENT", "CONNS", "LAST PROBE"]);
    for backend in &service.backends {
        let treatment = if backend.leaving { "leaving" } else { backend.treatment.as_str() };
        table.row(vec![
            backend.endpoint.clone(),
            health(backend),
            age(backend.since_seconds),
            treatment.to_owned(),
            backend.connections.to_string(),
            last_probe(backend),
        ]);
    }
    table
}

fn health(backend: &BackendStatus) -> String {
    let (health, class) = (backend.health.as_str(), backend.class.as_str());
    if health == class || backend.health == Health::Unknown {
        health.to_owned()
    } else {
        format!("{health} ({class})")
    }
}

fn last_probe(backend: &BackendStatus) -> String {
    backend.last_probe.as_ref().map_or_else(
        || "none yet".to_owned(),
        |probe| {
            format!("{} in {:.0} ms, {:.1}s ago", probe.detail, probe.took_ms, probe.seconds_ago)
        },
    )
}

fn mark(service: &ServiceStatus) -> (&'static str, Style) {
    if service.ready == 0 {
        health_mark(Health::Dead)
    } else if service.ready < service.members {
        ("!", AnsiColor::Yellow.on_default())
    } else {
        health_mark(Health::Ready)
    }
}

/// Glyph and colour of a health; the word always stands beside them.
fn health_mark(health: Health) -> (&'static str, Style) {
    match health {
        Health::Ready => ("●", AnsiColor::Green.on_default()),
        Health::Unknown => ("○", Style::new()),
        Health::Unready => ("◐", AnsiColor::Yellow.on_default()),
        Health::Dead => ("✕", AnsiColor::Red.on_default()),
        Health::Foreign => ("⊘", AnsiColor::Red.on_default()),
    }
}
