//! `evenkeel version`.

use std::io::Write;

use serde_json::json;

use crate::args::TextOrJson;
use crate::config::API_VERSION;
use crate::exit::Exit;

pub(super) fn run(output: TextOrJson, out: &mut impl Write) -> anyhow::Result<Exit> {
    let version = env!("CARGO_PKG_VERSION");
    match output {
        TextOrJson::Text => writeln!(out, "evenkeel {version} (config {API_VERSION})")?,
        TextOrJson::Json => {
            super::json(&json!({"version": version, "configApiVersion": API_VERSION}), out)?;
        }
    }
    Ok(Exit::Done)
}
