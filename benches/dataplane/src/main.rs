//! Measures evenkeel's data plane beside its peers: `benches/dataplane/run --help`.
//!
//! ```text
//!                   one network namespace
//!   generator -> proxy (evenkeel, HAProxy, nginx, Envoy, or none) -> backend
//!      |  a new process a sample: counts, takes times,                 one process
//!      |  and notes the CPU of all at the right moments
//!   runner: starts all, takes the proxies in turn, judges and prints
//! ```
//!
//! What is judged are ratios to HAProxy of the same run, and exact counts. `load.rs` lists what is
//! done, `proxy.rs` what it is done to, `target.rs` what must come out.

mod args;
mod backend;
mod child;
mod cpu;
mod figure;
mod generator;
mod header;
mod load;
mod measure;
mod memory;
mod namespace;
mod noise;
mod order;
mod pause;
mod picture;
mod proxy;
mod reactor;
mod report;
mod signals;
mod stage;
mod statistics;
mod syscalls;
mod table;
mod target;
mod wire;

use std::io::Write;
use std::process::ExitCode;

use args::{Args, Command};
use backend::Backend;
use evenkeel_bench::failed::{Doing, Failed, in_one_line};
use generator::Lines;
use namespace::Namespace;
use order::Order;
use stage::Hello;

fn main() -> ExitCode {
    let done = match args::parse(std::env::args().skip(1)) {
        Ok(Command::Measure(args)) => measure(&args),
        Ok(Command::Backend { address }) => serve(&address),
        Ok(Command::Generate { order }) => generate(&order),
        Ok(Command::Help) => say(&args::help()),
        Err(sentence) => Err(Failed::because("understand the command line", sentence)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = format!("{}\n", in_one_line(&error));
            // There is nowhere else to say it.
            std::io::stderr().write_all(line.as_bytes()).unwrap_or_default();
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<(), Failed> {
    // All processes inherit it, so that none of them has an advantage.
    rustix::process::setpriority_process(None, args.nice).doing(|| "set the niceness")?;
    let namespace = Namespace::enter()?;
    signals::watch(namespace.name().to_owned())?;
    let results = measure::run(namespace, args, &mut std::io::stderr())?;
    say(&report::text(&results, args))?;
    let path = report::write(&results, args)?;
    say(&format!("\nAll samples: {}\n", path.display()))
}

fn serve(address: &str) -> Result<(), Failed> {
    raise_descriptors()?;
    let address = address.parse().map_err(|_not_one| {
        Failed::because("understand the command line", format!("{address} is no address"))
    })?;
    let backend = Backend::bind(address)?;
    let hello = Hello { address: backend.address()?, certificate: backend.certificate().to_vec() };
    let line = serde_json::to_string(&hello).doing(|| "say where the backend listens")?;
    say(&format!("{line}\n"))?;
    backend.run()
}

fn generate(order: &str) -> Result<(), Failed> {
    raise_descriptors()?;
    let order: Order = serde_json::from_str(order).doing(|| "understand an order")?;
    let mut pace = Lines { waits: order.paced };
    generator::run(order, &mut pace).map(drop)
}

/// As many as the hard limit allows.
fn raise_descriptors() -> Result<(), Failed> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).doing(|| "raise the limit of descriptors")
}

fn say(text: &str) -> Result<(), Failed> {
    std::io::stdout().write_all(text.as_bytes()).doing(|| "write to standard output")
}
