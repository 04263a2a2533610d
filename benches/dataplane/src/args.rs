//! The command line.

use std::path::PathBuf;

use crate::load::{LOADS, Load};
use crate::proxy::Proxy;

/// What this process is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Measure.
    Measure(Box<Options>),
    /// Be the backend.
    Backend {
        /// Where to listen.
        address: String,
    },
    /// Be the load generator.
    Generate {
        /// An order in JSON.
        order: String,
    },
    /// Check that proxies fall into none of the known traps.
    Traps {
        /// What follows the word.
        arguments: Vec<String>,
    },
    /// Say how it is used.
    Help,
}

/// How to measure.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whether it is the one-minute version.
    pub(crate) minute: bool,
    /// The loads.
    pub(crate) loads: Vec<&'static Load>,
    /// Whether memory is measured.
    pub(crate) idle: bool,
    /// Whether system calls are counted.
    pub(crate) calls: bool,
    /// What is measured.
    pub(crate) proxies: Vec<Proxy>,
    /// Samples of each load and proxy.
    pub(crate) rounds: u32,
    /// Seconds of a sample, without its warm-up.
    pub(crate) seconds: f64,
    /// How often a sample is taken at most, until it is quiet.
    pub(crate) attempts: u32,
    /// Idle connections.
    pub(crate) idle_connections: usize,
    /// Threads of each proxy.
    pub(crate) threads: usize,
    /// The binary of evenkeel.
    pub(crate) evenkeel: PathBuf,
    /// Further environment of evenkeel.
    pub(crate) environment: Vec<(String, String)>,
    /// The binary of Envoy.
    pub(crate) envoy: PathBuf,
    /// Where to draw the result.
    pub(crate) picture: Option<PathBuf>,
}

impl Options {
    fn new(minute: bool) -> Self {
        let common = Self {
            minute,
            loads: LOADS.iter().collect(),
            idle: true,
            calls: true,
            proxies: Proxy::ALL.to_vec(),
            rounds: 4,
            seconds: 2.0,
            attempts: 6,
            idle_connections: 9500,
            threads: 2,
            evenkeel: "target/release/evenkeel".into(),
            environment: Vec::new(),
            envoy: "envoy".into(),
            picture: None,
        };
        if !minute {
            return common;
        }
        Self {
            loads: LOADS.iter().filter(|load| load.in_a_minute).collect(),
            proxies: Proxy::IN_A_MINUTE.to_vec(),
            rounds: 2,
            seconds: 0.8,
            attempts: 2,
            idle_connections: 2000,
            ..common
        }
    }
}

/// Reads the words of a command line.
///
/// # Errors
/// With a sentence for who wrote them.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut words = words.into_iter().peekable();
    let mut one = |what: &str| words.next().ok_or_else(|| format!("{what} is missing"));
    let Ok(first) = one("") else { return measure(Vec::new()).map(boxed) };
    match first.as_str() {
        "backend" => Ok(Command::Backend { address: one("an address")? }),
        "generate" => Ok(Command::Generate { order: one("an order")? }),
        "traps" => Ok(Command::Traps { arguments: words.collect() }),
        _ => {
            let all: Vec<String> = std::iter::once(first).chain(words).collect();
            if all.iter().any(|word| word == "--help" || word == "-h") {
                return Ok(Command::Help);
            }
            measure(all).map(boxed)
        }
    }
}

fn boxed(options: Options) -> Command {
    Command::Measure(Box::new(options))
}

fn measure(words: Vec<String>) -> Result<Options, String> {
    // What it sets other flags then change, wherever it stands.
    let mut options = Options::new(words.iter().any(|word| word == "--minute"));
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (flag, mut value) = match word.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut value = || {
            value.take().or_else(|| words.next()).ok_or_else(|| format!("{flag} takes a value"))
        };
        match flag.as_str() {
            "--minute" => {}
            "--only" => only(&mut options, &value()?)?,
            "--proxies" => options.proxies = proxies(&value()?)?,
            "--rounds" => options.rounds = number::<u32>(&flag, &value()?)?.max(1),
            "--seconds" => options.seconds = number(&flag, &value()?)?,
            "--attempts" => options.attempts = number(&flag, &value()?)?,
            "--idle-connections" => options.idle_connections = number(&flag, &value()?)?,
            "--threads" => options.threads = number(&flag, &value()?)?,
            "--evenkeel" => options.evenkeel = value()?.into(),
            "--evenkeel-env" => {
                let pair = value()?;
                let (name, set) = pair.split_once('=').ok_or("--evenkeel-env takes NAME=VALUE")?;
                options.environment.push((name.to_owned(), set.to_owned()));
            }
            "--envoy" => options.envoy = value()?.into(),
            "--picture" => options.picture = Some(value()?.into()),
            _ => return Err(format!("{flag} is no flag; --help lists them")),
        }
    }
    Ok(options)
}

fn only(options: &mut Options, list: &str) -> Result<(), String> {
    let names: Vec<&str> = list.split(',').collect();
    let mut loads = Vec::new();
    for name in &names {
        match Load::named(name) {
            Some(load) => loads.push(load),
            None if [IDLE, CALLS].contains(name) => {}
            None => return Err(format!("{name} is no load; --help lists them")),
        }
    }
    options.loads = loads;
    options.idle = names.contains(&IDLE);
    options.calls = names.contains(&CALLS);
    Ok(())
}

fn proxies(list: &str) -> Result<Vec<Proxy>, String> {
    let named =
        |name| Proxy::named(name).ok_or_else(|| format!("{name} is no proxy; --help lists them"));
    list.split(',').map(named).collect()
}

fn number<T: std::str::FromStr>(flag: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_not_one| format!("{flag} takes a number, not {value}"))
}

/// What `--help` says.
pub(crate) fn help() -> String {
    let mut text = USAGE.to_owned();
    text.push_str("\nLoads (* also with --minute):\n");
    for load in LOADS {
        let star = if load.in_a_minute { '*' } else { ' ' };
        text.push_str(&format!("  {star} {:<15} {}\n", load.name, load.title));
    }
    text.push_str(&format!("  * {IDLE:<15} user memory and descriptors of idle connections\n"));
    text.push_str(&format!("  * {CALLS:<15} system calls a request, a connection and a megabyte\n"));
    text.push_str("\nProxies (* also with --minute):\n");
    for proxy in Proxy::ALL {
        let star = if Proxy::IN_A_MINUTE.contains(&proxy) { '*' } else { ' ' };
        text.push_str(&format!("  {star} {:<15} {}\n", proxy.name(), proxy.title()));
    }
    text
}

const IDLE: &str = "idle";
const CALLS: &str = "calls";

const USAGE: &str = "\
Measures evenkeel's data plane beside its peers, in a network namespace of its own.

Usage: benches/dataplane/run [FLAGS]

  --minute              about a minute: fewer loads, proxies, rounds and connections
  --only LOAD[,..]      only these loads
  --proxies NAME[,..]   only these proxies
  --rounds N            samples of each load and proxy [4; 2 with --minute]
  --seconds S           length of a sample [2; 0.8 with --minute]
  --attempts N          how often a noisy sample is taken at most [6; 2 with --minute]
  --idle-connections N  how many idle connections memory is measured with [9500; 2000]
  --threads N           threads of each proxy [2]
  --evenkeel PATH       this binary of evenkeel, instead of building one
  --evenkeel-env N=V    further environment of evenkeel; may be repeated
  --envoy PATH          this binary of Envoy
  --picture PATH        draws the result as an SVG

It takes root, `ip` and `setpriv`. All samples go to target/bench-dataplane/<time>.json.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(line: &str) -> Result<Options, String> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Command::Measure(options) => Ok(*options),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn flags_change_what_the_minute_sets_wherever_it_stands() {
        let options = measured("--rounds 7 --minute --seconds=0.1").unwrap();
        assert_eq!((options.rounds, options.seconds, options.attempts), (7, 0.1, 2));
        assert_eq!(measured("").unwrap().rounds, 4);
    }

    #[test]
    fn only_names_loads_and_what_is_counted() {
        let options = measured("--only ping,calls").unwrap();
        assert_eq!(options.loads.len(), 1);
        assert!(options.calls && !options.idle);
        assert_eq!(measured("--only pong").unwrap_err(), "pong is no load; --help lists them");
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        assert_eq!(measured("--fast").unwrap_err(), "--fast is no flag; --help lists them");
        assert_eq!(measured("--rounds many").unwrap_err(), "--rounds takes a number, not many");
        assert_eq!(measured("--proxies").unwrap_err(), "--proxies takes a value");
    }

    #[test]
    fn the_help_names_every_load_and_proxy() {
        let help = help();
        let loads = LOADS.iter().map(|load| load.name);
        for name in loads.chain(Proxy::ALL.map(Proxy::name)) {
            assert!(help.contains(name), "{name}");
        }
    }
}
