//! Measures what clients feel when the owner of a virtual IP goes, with evenkeel and with
//! keepalived: `benches/vip/run --help`.
//!
//! A sample is one row with one holder, on a network of its own: three routers of which the first
//! is the owner, a client with new and with kept connections, and a fault. The table says what the
//! client felt and which routers had the address meanwhile.
//!
//! `row.rs` has what befalls whom, `holder.rs` what holds the address, `server.rs` what is behind
//! it, `site.rs` one sample, `measure.rs` their order, `target.rs` what must come out.

mod args;
mod holder;
mod kept;
mod measure;
mod neighbour;
mod owners;
mod prober;
mod report;
mod row;
mod sample;
mod server;
mod site;
mod summary;
mod table;
mod target;
mod timeline;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command};
use evenkeel_bench::failed::{Doing, Failed, in_one_line};
use measure::Results;

fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Measure(args)) => measure(&args),
        Ok(Command::Serve(server)) => server.run(),
        Ok(Command::Burn) => evenkeel_bench::burn::burn(),
        Ok(Command::Help) => say(&args::help()),
        Err(sentence) => Err(Failed::because("understand the command line", sentence)),
    };
    done.map_or_else(
        |error| {
            let line = format!("{}\n", in_one_line(&error));
            // There is nowhere else to say it.
            std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn measure(args: &Args) -> Result<(), Failed> {
    evenkeel_testbed::require_filters().doing(|| "make a network on this machine")?;
    evenkeel_bench::signals::watch()?;
    let mut results = Results::default();
    let measured = measure::run(args, &mut results, &mut std::io::stderr());
    // Also what there was until it could not go on.
    let path = report::write(&results, args)?;
    say(&format!("\n{}", report::text(&results, args)))?;
    say(&format!("All samples: {}\n", path.display()))?;
    measured
}

fn say(text: &str) -> Result<(), Failed> {
    std::io::stdout().write_all(text.as_bytes()).doing(|| "write to standard output")
}
