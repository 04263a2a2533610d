//! `evenkeel config show` and `evenkeel config schema`.

use std::io::Write;

use crate::args::ConfigCommand;
use crate::config::Config;
use crate::exit::Exit;

pub(super) fn run(command: &ConfigCommand, out: &mut impl Write) -> anyhow::Result<Exit> {
    match command {
        ConfigCommand::Show { config } => {
            let (config, _) = Config::load(config)?;
            write!(out, "{}", config.to_yaml()?)?;
        }
        ConfigCommand::Schema => super::json(&schemars::schema_for!(Config), out)?,
    }
    Ok(Exit::Done)
}
