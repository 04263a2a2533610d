//! `evenkeel events`: what changed, when and why.

use std::io::Write;

use anyhow::Context as _;
use evenkeel_admin::status::Events;

use crate::admin_client;
use crate::args::{EventsArgs, TableOrJson};
use crate::exit::Exit;

pub(super) async fn run(args: &EventsArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let path = format!("/api/v1/events?since={}", args.since);
    let (_, body) = admin_client::ask(args.admin.admin, &path).await?;
    let events: Events = serde_json::from_slice(&body).context("not the events of an evenkeel")?;
    match args.output {
        TableOrJson::Json => super::json(&events, out)?,
        TableOrJson::Table => {
            for event in &events.events {
                let backend = event.backend.as_deref().unwrap_or("");
                let place = format!("{} {backend}", event.service);
                writeln!(out, "{}  {}: {}", event.at, place.trim_end(), event.what)?;
            }
        }
    }
    Ok(Exit::Done)
}
