//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::load::{LOADS, Load};
use crate::proxy::Proxy;

/// What this process is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Measure.
    Measure(Box<Args>),
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
    /// Say how it is used.
    Help,
}

/// How to measure.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// The loads.
    pub(crate) loads: Vec<&'static Load>,
    /// Whether memory is measured.
    pub(crate) idle: bool,
    /// Whether system calls are counted.
    pub(crate) calls: bool,
    /// How many hundred requests a connection they are counted over.
    pub(crate) hundreds: u64,
    /// What is measured.
    pub(crate) proxies: Vec<Proxy>,
    /// Samples of each load and proxy.
    pub(crate) rounds: u32,
    /// Rounds at most: those beyond `rounds` are only of what targets are about.
    pub(crate) most_rounds: u32,
    /// To within which share of itself a ratio is to be known.
    pub(crate) precision: f64,
    /// Seconds of a sample, without its warm-up.
    pub(crate) seconds: f64,
    /// How often a sample is taken at most, until it is quiet.
    pub(crate) attempts: u32,
    /// How long to wait for quiet before a sample is taken again.
    pub(crate) patience: Duration,
    /// Whether noisy samples count too.
    pub(crate) noisy: bool,
    /// The niceness of all processes of the bench.
    pub(crate) nice: i32,
    /// Idle connections.
    pub(crate) idle_connections: usize,
    /// Threads of each proxy.
    pub(crate) threads: usize,
    /// The binary of evenkeel.
    pub(crate) evenkeel: PathBuf,
    /// The binary that is measured as `evenkeel-again`. None: the same.
    pub(crate) again: Option<PathBuf>,
    /// Further environment of evenkeel.
    pub(crate) environment: Vec<(String, String)>,
    /// The binary of Envoy.
    pub(crate) envoy: PathBuf,
    /// Where to draw the result.
    pub(crate) picture: Option<PathBuf>,
}

impl Args {
    fn new(minute: bool) -> Self {
        let common = Self {
            loads: LOADS.iter().collect(),
            idle: true,
            calls: true,
            hundreds: 4,
            proxies: Proxy::ALL.to_vec(),
            rounds: 4,
            most_rounds: 100,
            precision: 0.02,
            seconds: 2.0,
            attempts: 6,
            patience: Duration::from_secs(2),
            noisy: false,
            nice: 0,
            idle_connections: 9500,
            threads: 2,
            evenkeel: "target/release/evenkeel".into(),
            again: None,
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
            most_rounds: 0,
            seconds: 0.8,
            attempts: 2,
            patience: Duration::from_secs(1),
            hundreds: 1,
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
        _ => {
            let all: Vec<String> = std::iter::once(first).chain(words).collect();
            if all.iter().any(|word| word == "--help" || word == "-h") {
                return Ok(Command::Help);
            }
            measure(all).map(boxed)
        }
    }
}

fn boxed(args: Args) -> Command {
    Command::Measure(Box::new(args))
}

fn measure(words: Vec<String>) -> Result<Args, String> {
    // What it sets other arguments then change, wherever it stands.
    let mut args = Args::new(words.iter().any(|word| word == "--minute"));
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (argument, mut value) = match word.split_once('=') {
            Some((argument, value)) => (argument.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut value = || {
            value.take().or_else(|| words.next()).ok_or_else(|| format!("{argument} takes a value"))
        };
        match argument.as_str() {
            "--minute" => {}
            "--noisy" => (args.noisy, args.attempts) = (true, 1),
            "--nice" => args.nice = number(&argument, &value()?)?,
            "--only" => only(&mut args, &value()?)?,
            "--proxies" => args.proxies = proxies(&value()?)?,
            "--rounds" => args.rounds = number::<u32>(&argument, &value()?)?.max(1),
            "--most-rounds" => args.most_rounds = number(&argument, &value()?)?,
            "--precision" => args.precision = number(&argument, &value()?)?,
            "--seconds" => args.seconds = number(&argument, &value()?)?,
            "--attempts" => args.attempts = number(&argument, &value()?)?,
            "--idle-connections" => args.idle_connections = number(&argument, &value()?)?,
            "--threads" => args.threads = number(&argument, &value()?)?,
            "--evenkeel" => args.evenkeel = value()?.into(),
            "--again" => args.again = Some(value()?.into()),
            "--evenkeel-env" => {
                let pair = value()?;
                let (name, set) = pair.split_once('=').ok_or("--evenkeel-env takes NAME=VALUE")?;
                args.environment.push((name.to_owned(), set.to_owned()));
            }
            "--envoy" => args.envoy = value()?.into(),
            "--picture" => args.picture = Some(value()?.into()),
            _ => return Err(format!("{argument} is no argument; --help lists them")),
        }
    }
    if args.again.is_some() && !args.proxies.contains(&Proxy::EvenkeelAgain) {
        args.proxies.push(Proxy::EvenkeelAgain);
    }
    Ok(args)
}

fn only(args: &mut Args, list: &str) -> Result<(), String> {
    let names: Vec<&str> = list.split(',').collect();
    let mut loads = Vec::new();
    for name in &names {
        match Load::named(name) {
            Some(load) => loads.push(load),
            None if [IDLE, CALLS].contains(name) => {}
            None => return Err(format!("{name} is no load; --help lists them")),
        }
    }
    args.loads = loads;
    args.idle = names.contains(&IDLE);
    args.calls = names.contains(&CALLS);
    Ok(())
}

fn proxies(list: &str) -> Result<Vec<Proxy>, String> {
    let named =
        |name| Proxy::named(name).ok_or_else(|| format!("{name} is no proxy; --help lists them"));
    list.split(',').map(named).collect()
}

fn number<T: std::str::FromStr>(argument: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_not_one| format!("{argument} takes a number, not {value}"))
}

/// What `--help` says.
pub(crate) fn help() -> String {
    let mut lines = vec![USAGE.to_owned(), "Loads (* also with --minute):".to_owned()];
    let line = |is_in_a_minute: bool, name: &str, title: &str| {
        let star = if is_in_a_minute { '*' } else { ' ' };
        format!("  {star} {name:<15} {title}")
    };
    lines.extend(LOADS.iter().map(|load| line(load.in_a_minute, load.name, load.title)));
    lines.push(line(true, IDLE, "user memory and descriptors of idle connections"));
    lines.push(line(true, CALLS, "system calls a request, a connection and a MB"));
    lines.push("\nProxies (* also with --minute):".to_owned());
    lines.extend(
        Proxy::ALL
            .map(|proxy| line(Proxy::IN_A_MINUTE.contains(&proxy), proxy.name(), proxy.title())),
    );
    lines.join("\n") + "\n"
}

const IDLE: &str = "idle";
const CALLS: &str = "calls";

const USAGE: &str = "\
Measures evenkeel's data plane beside its peers, in a network namespace of its own.

Usage: benches/dataplane/run [ARGUMENTS]
       benches/dataplane/run traps [--gate] [TRAP...]    which proxies fall into which trap

  --minute              about a minute: fewer loads, proxies, rounds and connections
  --only LOAD[,..]      only these loads
  --proxies NAME[,..]   only these proxies
  --rounds N            samples of each load and proxy [4; 2 with --minute]
  --precision P         further rounds until the ratios that targets are about are known to within
                        this share of themselves, or are surely met or missed [0.02]
  --most-rounds N       but not more rounds than this; 0 for no further ones [100; 0 with --minute]
  --seconds S           length of a sample [2; 0.8 with --minute]
  --attempts N          how often a noisy sample is taken at most [6; 2 with --minute]
  --noisy               takes every sample once and counts it, however noisy the machine is
  --nice N              niceness of all processes of the bench; below 0 others disturb less [0]
  --idle-connections N  how many idle connections memory is measured with [9500; 2000]
  --threads N           threads of each proxy [2]
  --evenkeel PATH       this binary of evenkeel, instead of building one
  --again PATH          another binary, measured as evenkeel-again: before and after a change
  --evenkeel-env N=V    further environment of evenkeel; may be repeated
  --envoy PATH          this binary of Envoy
  --picture PATH        draws the result as an SVG

It takes root, `ip` and `setpriv`. All samples go to target/bench-dataplane/<time>.json.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(line: &str) -> Result<Args, String> {
        let command = parse(line.split_whitespace().map(str::to_owned))?;
        let Command::Measure(args) = command else { return Err(format!("{command:?}")) };
        Ok(*args)
    }

    #[test]
    fn flags_change_what_the_minute_sets_wherever_it_stands() {
        let args = measured("--rounds 7 --minute --seconds=0.1").unwrap();
        assert_eq!((args.rounds, args.seconds, args.attempts), (7, 0.1, 2));
        assert_eq!(measured("").unwrap().rounds, 4);
    }

    #[test]
    fn another_binary_is_measured_whatever_else_is() {
        for line in ["--minute --again old", "--again old --proxies evenkeel", "--again=old"] {
            let args = measured(line).unwrap();
            let again = args.proxies.iter().filter(|proxy| **proxy == Proxy::EvenkeelAgain);
            assert_eq!((again.count(), args.again), (1, Some("old".into())), "{line}");
        }
    }

    #[test]
    fn only_names_loads_and_what_is_counted() {
        let args = measured("--only ping,calls").unwrap();
        assert_eq!(args.loads.len(), 1);
        assert!(args.calls && !args.idle);
        assert_eq!(measured("--only pong").unwrap_err(), "pong is no load; --help lists them");
    }

    #[test]
    fn what_is_no_flag_is_refused() {
        assert_eq!(measured("--fast").unwrap_err(), "--fast is no argument; --help lists them");
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
