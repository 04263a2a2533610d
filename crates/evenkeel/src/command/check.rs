//! `evenkeel check`: whether a config is valid, without binding anything or asking anybody.

use std::io::Write;

use crate::args::CheckArgs;
use crate::config::{Config, warnings};
use crate::exit::Exit;

pub(super) fn run(args: &CheckArgs, out: &mut impl Write) -> anyhow::Result<Exit> {
    let (config, file) = Config::load(&args.config)?;
    let warnings = warnings(&config);
    for warning in &warnings {
        writeln!(out, "{warning}")?;
    }
    let services: Vec<&str> = config.services.iter().map(|s| s.name.as_str()).collect();
    let count = match warnings.len() {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        more => format!(", {more} warnings"),
    };
    writeln!(out, "{}: valid{count} (services: {})", file.file, services.join(", "))?;
    Ok(if args.strict && !warnings.is_empty() { Exit::ConfigWarnings } else { Exit::Done })
}
