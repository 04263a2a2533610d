//! The whole measurement: every load on every proxy in turn, round after round.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use crate::args::Args;
use crate::figure::figures;
use crate::load::{Load, Unit};
use crate::namespace::Namespace;
use crate::noise::{self, Turn};
use crate::order::{Seen, Work};
use crate::proxy::Proxy;
use crate::stage::{Calls, Idle, Stage};
use crate::target;
use evenkeel_bench::failed::Failed;
use evenkeel_bench::number::float;
use evenkeel_bench::report::tell;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    /// In the order in which they were taken.
    pub(crate) samples: Vec<Sample>,
    /// By proxy.
    pub(crate) idle: BTreeMap<&'static str, Idle>,
    /// By proxy, then by what they were counted for: `request`, `connection`, `megabyte`.
    pub(crate) calls: BTreeMap<&'static str, BTreeMap<&'static str, Calls>>,
}

/// One load on one proxy, once.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    /// The load's name.
    pub(crate) load: &'static str,
    /// The proxy's name.
    pub(crate) proxy: &'static str,
    /// Which round it is of.
    pub(crate) round: u32,
    /// Gigabytes, requests or connections a second.
    pub(crate) rate: f64,
    /// CPU of the proxy: seconds a gigabyte, or microseconds a request or connection.
    pub(crate) cpu: f64,
    /// Cores that others used.
    pub(crate) foreign: f64,
    /// Whether that was little enough.
    pub(crate) usable: bool,
    /// What the generator saw.
    pub(crate) seen: Seen,
}

impl Sample {
    fn new(load: &Load, proxy: Proxy, round: u32, seen: Seen, args: &Args) -> Self {
        let foreign = seen.spent.foreign_cores();
        // A sample of nothing says nothing: its CPU would be infinite.
        let done = float(seen.count.max(1));
        let (rate, cpu) = match load.unit() {
            Unit::Gigabyte => (1e-9, 1e9),
            Unit::Request | Unit::Connection => (1.0, 1e6),
        };
        Self {
            load: load.name,
            proxy: proxy.name(),
            round,
            rate: done * rate / seen.seconds,
            cpu: seen.spent.proxy * cpu / done,
            foreign,
            usable: args.noisy || noise::is_usable(foreign),
            seen,
        }
    }
}

/// Measures what is asked for; `progress` gets a line now and then.
pub(crate) fn run(
    namespace: Namespace,
    args: &Args,
    progress: &mut impl Write,
) -> Result<Results, Failed> {
    let mut stage = Stage::set(namespace, args)?;
    let mut results = Results::default();
    if !stage.knows_data_plane() && args.proxies.contains(&Proxy::Evenkeel) {
        tell(
            progress,
            "evenkeel does not know the key `dataPlane`: it has as many threads as it likes",
        )?;
    }
    for round in 1..=args.rounds {
        for load in &args.loads {
            tell(progress, &format!("round {round}/{}: {}", args.rounds, load.title))?;
            for proxy in in_turn(args.proxies.iter().copied(), round) {
                let sample = noise::quietest(
                    args.attempts,
                    |sample: &Sample| sample.foreign,
                    |turn| {
                        if turn == Turn::Again {
                            stage.wait_for_quiet(args.patience)?;
                        }
                        let seen = stage.sample(load, proxy, args.seconds)?;
                        Ok::<_, Failed>(Sample::new(load, proxy, round, seen, args))
                    },
                )?;
                results.samples.push(sample);
            }
        }
    }
    go_on(&mut stage, &mut results, args, progress)?;
    let proxies = args.proxies.iter().copied().filter(|proxy| *proxy != Proxy::Direct);
    if args.calls {
        for proxy in proxies.clone() {
            tell(progress, &format!("system calls of {}", proxy.name()))?;
            let of_it = results.calls.entry(proxy.name()).or_default();
            for (name, work, each) in counted(args.hundreds) {
                of_it.insert(name, stage.calls(work, proxy, each)?);
            }
        }
    }
    // Last, since it starts the proxies anew.
    if args.idle {
        for proxy in proxies {
            tell(progress, &format!("memory of {}", proxy.name()))?;
            if let Some(idle) = stage.idle(proxy, args.idle_connections)? {
                results.idle.insert(proxy.name(), idle);
            }
        }
    }
    Ok(results)
}

/// Further rounds, short ones, of the loads about which a target is still open.
///
/// A machine that others share does not get quieter by looking longer, only by looking more often.
fn go_on(
    stage: &mut Stage,
    results: &mut Results,
    args: &Args,
    progress: &mut impl Write,
) -> Result<(), Failed> {
    let proxies = || args.proxies.iter().copied().filter(|proxy| Proxy::JUDGED.contains(proxy));
    for round in args.rounds + 1..=args.most_rounds {
        let figures = figures(results);
        let is_open = |load: &&&Load| target::is_open(load, &figures, args.precision);
        let open: Vec<&Load> = args.loads.iter().filter(is_open).copied().collect();
        if open.is_empty() {
            break;
        }
        let names: Vec<&str> = open.iter().map(|load| load.name).collect();
        let at_most = args.most_rounds;
        tell(progress, &format!("round {round}, of {at_most} at most: {}", names.join(", ")))?;
        for load in open {
            for proxy in in_turn(proxies(), round) {
                let seen = stage.sample(load, proxy, args.seconds.min(SHORT))?;
                results.samples.push(Sample::new(load, proxy, round, seen, args));
            }
        }
    }
    Ok(())
}

/// Each other round the other way about.
fn in_turn(proxies: impl Iterator<Item = Proxy>, round: u32) -> Vec<Proxy> {
    let mut order: Vec<Proxy> = proxies.collect();
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// Seconds of a sample of a further round.
const SHORT: f64 = 0.5;

/// What system calls are counted for: requests a connection, connections, bytes a connection.
fn counted(hundreds: u64) -> [(&'static str, Work, u64); 3] {
    [
        (REQUEST, Work::Ping { request: 128, answer: 128 }, hundreds * 100),
        (CONNECTION, Work::Connect { request: 128, answer: 128 }, hundreds * 800),
        (MEGABYTE, Work::Down { from_memory: false }, hundreds * (32 << 20)),
    ]
}

/// Requests.
pub(crate) const REQUEST: &str = "request";
/// Connections.
pub(crate) const CONNECTION: &str = "connection";
/// 10^6 bytes.
pub(crate) const MEGABYTE: &str = "megabyte";
