//! What is logged, and how. Logs go to standard error, so that data on standard output stays data.

use std::io::IsTerminal as _;

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Args, Color};
use crate::config::{LogConfig, LogFormat, LogLevel};

/// Sets logging up for the whole process. What the command line says wins over the config.
pub(crate) fn set_up(args: &Args, config: &LogConfig) {
    let level = match args.log_level.unwrap_or(config.level) {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Our own crates at the level asked for; of the libraries only what is wrong.
    let filter = tracing_subscriber::filter::Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        .with_targets(
            [
                "evenkeel",
                "evenkeel_core",
                "evenkeel_proxy",
                "evenkeel_health",
                "evenkeel_discovery",
                "evenkeel_admin",
            ]
            .map(|target| (target, level)),
        );
    // kube tells of every try of its own; what comes of it we say ourselves, once.
    let filter = filter
        .with_targets(["kube_runtime", "kube_client"].map(|target| (target, LevelFilter::ERROR)));
    let terminal = std::io::stderr().is_terminal();
    let json = match args.log_format.unwrap_or(config.format) {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let color = match args.color {
        Color::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
        Color::Always => true,
        Color::Never => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let set = if json {
        registry.with(layer.json().flatten_event(true)).try_init()
    } else {
        registry.with(layer.with_ansi(color).with_target(false)).try_init()
    };
    // Only tests set it up twice.
    drop(set);
}
