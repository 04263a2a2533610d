//! Measures what clients feel when an API server fails, behind evenkeel and its peers:
//! `benches/failover/run --help`.
//!
//! ```text
//!   clients -> balancer (evenkeel, HAProxy, Envoy or nginx) -> three real API servers
//!      \                 a new process a sample                 one of which fails
//!       \------- ticks, past the balancer ------------------>  one that is left alone
//! ```
//!
//! A sample is one fault behind one balancer: the clients come to rest, a member is killed,
//! terminated, cut off or frozen, they go on for a while, and the fault is undone. The lead of etcd
//! is kept off that member, since an election, a second or two, would hide the balancer's part. What
//! the control plane itself kept the clients waiting for shows in the ticks, which go past the
//! balancer: a sample in which they stalled is dropped and taken again.
//!
//! `fault.rs` has what befalls a member, `balancer.rs` and `peers/` what stands before it, `site.rs`
//! one sample, `measure.rs` their order, `target.rs` what must come out. `soak.rs` asks the opposite
//! question: whether a member that is well is taken for dead.

mod args;
mod balancer;
mod fault;
mod held;
mod measure;
mod metrics;
mod quiet;
mod report;
mod sample;
mod site;
mod soak;
mod summary;
mod table;
mod target;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command, Soak};
use evenkeel_bench::failed::{Doing, Failed, in_one_line};
use measure::Results;

fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Measure(args)) => measure(&args).map(|()| ExitCode::SUCCESS),
        Ok(Command::Soak(soak)) => soak_until_its_end(&soak),
        Ok(Command::Burn) => evenkeel_bench::burn::burn(),
        Ok(Command::Help) => say(&args::help()).map(|()| ExitCode::SUCCESS),
        Err(sentence) => Err(Failed::because("understand the command line", sentence)),
    };
    done.unwrap_or_else(|error| {
        let line = format!("{}\n", in_one_line(&error));
        // There is nowhere else to say it.
        std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
        ExitCode::from(NOT_MEASURED)
    })
}

fn measure(args: &Args) -> Result<(), Failed> {
    evenkeel_bench::signals::watch()?;
    let mut results = Results::default();
    let measured = measure::run(args, &mut results, &mut std::io::stderr());
    // Also what there was until it could not go on.
    say(&format!("\n{}", report::text(&results, args)))?;
    let path = report::write(&results, args)?;
    say(&format!("\nAll samples: {}\n", path.display()))?;
    measured
}

fn soak_until_its_end(soak: &Soak) -> Result<ExitCode, Failed> {
    evenkeel_bench::signals::watch()?;
    let outcome = soak::run(soak, &mut std::io::stderr())?;
    say(&format!("{}\n", outcome.line))?;
    Ok(if outcome.is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn say(text: &str) -> Result<(), Failed> {
    std::io::stdout().write_all(text.as_bytes()).doing(|| "write to standard output")
}

/// 1 is for a soak that took a member for dead.
const NOT_MEASURED: u8 = 2;
