//! evenkeel: a load balancer that knows what a Kubernetes API server is.
//!
//! The binary is the only crate that knows all the others: they meet in `service.rs`.

mod admin_client;
mod args;
mod balancer;
mod command;
mod config;
mod control;
mod credentials;
mod exit;
mod log;
mod membership;
mod metrics;
mod observer;
mod preset;
mod service;
mod signals;
mod table;
mod vip;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Args;
use crate::config::ConfigError;
use crate::exit::Exit;

fn main() -> ExitCode {
    // One provider for the whole process, before anything asks for the default.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        return Exit::Failure.report("another TLS provider is installed already");
    }
    let args = Args::parse();
    match command::run(&args) {
        Ok(exit) => exit.into(),
        Err(error) => match error.downcast_ref::<ConfigError>() {
            // Shown as it stands: it has a headline of its own.
            Some(ConfigError::Wrong(mistakes)) => Exit::ConfigInvalid.show(&mistakes.to_string()),
            Some(ConfigError::Unreadable { .. }) | None => {
                Exit::of(&error).report(&format!("{error:#}"))
            }
        },
    }
}
