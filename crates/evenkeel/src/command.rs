//! What the program can do: a file a command.

mod check;
mod config;
mod demo;
mod events;
mod healthcheck;
mod probe;
mod run;
mod status;
mod version;
mod vip;

use std::io::{self, Write};

use clap::CommandFactory as _;
use tokio::runtime::{Builder, Runtime};

use crate::admin_client::Unreachable;
use crate::args::{Args, Color, Command};
use crate::config::LogConfig;
use crate::exit::Exit;
use crate::log;

/// Carries out what the command line asks for.
///
/// # Errors
/// For `main` to print.
pub(crate) fn run(args: &Args) -> anyhow::Result<Exit> {
    match args.color {
        Color::Auto => {}
        Color::Always => anstream::ColorChoice::Always.write_global(),
        Color::Never => anstream::ColorChoice::Never.write_global(),
    }
    let done = carry_out(args);
    match done {
        // Whoever reads us has seen enough: `evenkeel config schema | head`.
        Err(error) if is_broken_pipe(&error) => Ok(Exit::Done),
        done => done,
    }
}

fn carry_out(args: &Args) -> anyhow::Result<Exit> {
    let out = &mut anstream::stdout();
    // `run` has its logging by its config.
    if !matches!(args.command, Command::Run(_)) {
        let level = crate::config::LogLevel::Warn;
        log::set_up(args, &LogConfig { level, ..LogConfig::default() });
    }
    match &args.command {
        Command::Run(run) => run::run(args, run),
        Command::Check(check) => check::run(check, out),
        Command::Config(config) => config::run(config, out),
        Command::Status(status) => small()?.block_on(status::run(status, out)),
        Command::Events(events) => small()?.block_on(events::run(events, out)),
        Command::Vip(command) => small()?.block_on(vip::run(command, out)),
        Command::Probe(probe) => small()?.block_on(probe::run(probe, out)),
        Command::Demo(demo) => control()?.block_on(demo::run(demo, out)),
        Command::Healthcheck(admin) => small()?.block_on(healthcheck::run(*admin)),
        Command::Completion { shell } => {
            // By way of memory, since it panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Args::command(), "evenkeel", &mut script);
            out.write_all(&script)?;
            Ok(Exit::Done)
        }
        Command::Version { output } => version::run(*output, out),
    }
}

/// A runtime for a question or two.
fn small() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// The runtime of what decides: probes, discovery, admin. Bytes move on threads of their own, so
/// two are enough, and one that computes delays nobody's probe.
fn control() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .thread_name("evenkeel-control")
        .build()
}

/// Whether it is our reader that is gone, and not the process that we asked.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    !error.is::<Unreachable>() && error.downcast_ref::<io::Error>().is_some_and(broken)
}

/// Writes a value as JSON, one key a line.
fn json(value: &impl serde::Serialize, out: &mut impl Write) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    writeln!(out, "{text}")?;
    Ok(())
}
