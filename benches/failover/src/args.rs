//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::balancer::{Balancer, Programs};
use crate::fault::Fault;
use evenkeel_bench::burn::BURN;

/// What this process is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Measure every fault behind every balancer.
    Measure(Args),
    /// Burn all CPUs and see whether a member is taken for dead.
    Soak(Soak),
    /// Keep a CPU busy.
    Burn,
    /// Say how it is used.
    Help,
}

/// How to measure.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// The faults.
    pub(crate) faults: Vec<Fault>,
    /// The balancers.
    pub(crate) balancers: Vec<Balancer>,
    /// Samples of each fault and balancer.
    pub(crate) rounds: u32,
    /// How long the clients go on after a fault, at most.
    pub(crate) observe: Duration,
    /// How often a sample is taken at most, until it has no flaw.
    pub(crate) attempts: u32,
    /// How many processes keep each CPU busy meanwhile.
    pub(crate) busy: usize,
    /// Where the programs are.
    pub(crate) programs: Programs,
}

/// How to soak.
#[derive(Clone, Debug)]
pub(crate) struct Soak {
    /// Which balancer.
    pub(crate) balancer: Balancer,
    /// For how long.
    pub(crate) lasts: Duration,
    /// How many processes keep each CPU busy.
    pub(crate) busy: usize,
    /// Where the programs are.
    pub(crate) programs: Programs,
}

/// Reads the words of a command line.
///
/// # Errors
/// With a sentence for who wrote them.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let mut words: Vec<String> = words.into_iter().collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Command::Help);
    }
    match words.first().map(String::as_str) {
        Some(BURN) => Ok(Command::Burn),
        Some(SOAK) => {
            words.remove(0);
            soak(words).map(Command::Soak)
        }
        Some(_) | None => measure(words).map(Command::Measure),
    }
}

fn measure(words: Vec<String>) -> Result<Args, String> {
    let mut args = Args {
        faults: Fault::ALL.to_vec(),
        balancers: Balancer::ALL.to_vec(),
        rounds: 3,
        observe: Duration::from_secs(40),
        attempts: 5,
        busy: 0,
        programs: programs(),
    };
    each(words, |argument, value| {
        match argument {
            "--only" => args.faults = list(&value()?, "fault", Fault::named)?,
            "--balancers" => args.balancers = list(&value()?, "balancer", Balancer::named)?,
            "--rounds" => args.rounds = number::<u32>(argument, &value()?)?.max(1),
            "--observe" => args.observe = span(argument, &value()?, 1.0)?,
            "--attempts" => args.attempts = number::<u32>(argument, &value()?)?.max(1),
            "--saturate" => args.busy = args.busy.max(1),
            "--busy" => args.busy = number(argument, &value()?)?,
            _ => return place(&mut args.programs, argument, value),
        }
        Ok(())
    })?;
    Ok(args)
}

fn soak(words: Vec<String>) -> Result<Soak, String> {
    let mut soak = Soak {
        balancer: Balancer::Evenkeel,
        lasts: Duration::from_secs(600),
        busy: 1,
        programs: programs(),
    };
    each(words, |argument, value| {
        match argument {
            "--minutes" => soak.lasts = span(argument, &value()?, 60.0)?,
            "--busy" => soak.busy = number(argument, &value()?)?,
            "--balancer" => soak.balancer = one(&value()?, "balancer", Balancer::named)?,
            _ => return place(&mut soak.programs, argument, value),
        }
        Ok(())
    })?;
    Ok(soak)
}

/// Gives `take` every argument, with what asks for its value.
fn each(
    words: Vec<String>,
    mut take: impl FnMut(&str, &mut dyn FnMut() -> Result<String, String>) -> Result<(), String>,
) -> Result<(), String> {
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (argument, mut value) = match word.split_once('=') {
            Some((argument, value)) => (argument.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut ask = || {
            value.take().or_else(|| words.next()).ok_or_else(|| format!("{argument} takes a value"))
        };
        take(&argument, &mut ask)?;
    }
    Ok(())
}

/// An argument that both commands have.
fn place(
    programs: &mut Programs,
    argument: &str,
    value: &mut dyn FnMut() -> Result<String, String>,
) -> Result<(), String> {
    match argument {
        "--evenkeel" => programs.evenkeel = value()?.into(),
        "--envoy" => programs.envoy = value()?.into(),
        _ => return Err(format!("{argument} is no argument; --help lists them")),
    }
    Ok(())
}

fn programs() -> Programs {
    Programs { evenkeel: PathBuf::from("target/release/evenkeel"), envoy: PathBuf::from("envoy") }
}

fn list<T>(names: &str, what: &str, named: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    names.split(',').map(|name| one(name, what, &named)).collect()
}

fn one<T>(name: &str, what: &str, named: impl Fn(&str) -> Option<T>) -> Result<T, String> {
    named(name).ok_or_else(|| format!("{name} is no {what}; --help lists them"))
}

fn number<T: std::str::FromStr>(argument: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_not_one| format!("{argument} takes a number, not {value}"))
}

/// A number of units, each so many seconds.
fn span(argument: &str, value: &str, unit: f64) -> Result<Duration, String> {
    let units: f64 = number(argument, value)?;
    Duration::try_from_secs_f64(units * unit)
        .map_err(|_not_one| format!("{argument} takes a number that is not negative, not {value}"))
}

/// What `--help` says.
pub(crate) fn help() -> String {
    let line = |name: &str, title: &str| format!("  {name:<17} {title}");
    let mut lines = vec![USAGE.to_owned(), "Faults:".to_owned()];
    lines.extend(Fault::ALL.map(|fault| line(fault.name(), fault.title())));
    lines.push("\nBalancers:".to_owned());
    lines.extend(Balancer::ALL.map(|balancer| line(balancer.name(), balancer.title())));
    lines.join("\n") + "\n"
}

const SOAK: &str = "soak";

const USAGE: &str = "\
Measures what clients feel when one of three real API servers fails: behind evenkeel with its
defaults, and behind HAProxy, Envoy and nginx.

Usage: benches/failover/run [ARGUMENTS]
       benches/failover/run soak [--minutes N] [--busy N] [--balancer NAME]

`soak` is without a fault, but with all CPUs busy, for ten minutes: is a member taken for dead that
is well? It ends with 1 if one is. Balancer: evenkeel, unless another is named.

  --only FAULT[,..]       only these faults
  --balancers NAME[,..]   only these balancers
  --rounds N              samples of each fault and balancer [3]
  --observe S             seconds after a fault at most; only who ends no silence gets all [40]
  --attempts N            how often a sample is taken at most when the ticks stall [5]
  --saturate              keeps all CPUs busy meanwhile; then ticks may stall
  --busy N                the same with N processes a CPU
  --evenkeel PATH         this binary of evenkeel, instead of building one
  --envoy PATH            this binary of Envoy

It takes root, `ip`, `setpriv` and `unshare`. All samples go to target/bench-failover/<time>.json.
";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    fn measured(line: &str) -> Result<Args, String> {
        match parsed(line)? {
            Command::Measure(args) => Ok(args),
            other @ (Command::Soak(_) | Command::Burn | Command::Help) => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn without_arguments_all_is_measured() {
        let args = measured("").unwrap();
        assert_eq!((args.faults.len(), args.balancers.len(), args.rounds), (4, 5, 3));
        assert_eq!((args.observe, args.busy), (Duration::from_secs(40), 0));
    }

    #[test]
    fn what_is_named_is_measured_in_that_order() {
        let args = measured("--only=frozen,cut --balancers evenkeel,haproxy-tuned --rounds 1");
        let args = args.unwrap();
        assert_eq!(args.faults, [Fault::Frozen, Fault::Cut]);
        assert_eq!(args.balancers, [Balancer::Evenkeel, Balancer::HaproxyTuned]);
        assert_eq!(args.rounds, 1);
    }

    #[test]
    fn to_saturate_is_to_keep_each_cpu_busy_with_one_process_at_least() {
        let busy = ["--saturate", "--busy 3 --saturate", "--busy=2"];
        assert_eq!(busy.map(|line| measured(line).unwrap().busy), [1, 3, 2]);
    }

    #[test]
    fn a_soak_lasts_minutes_and_may_last_less() {
        let (evenkeel, haproxy) = (Balancer::Evenkeel, Balancer::HaproxyTuned);
        for (line, lasts, balancer) in
            [("soak", 600, evenkeel), ("soak --minutes 0.5 --balancer haproxy-tuned", 30, haproxy)]
        {
            let Command::Soak(soak) = parsed(line).unwrap() else { panic!("{line}") };
            assert_eq!((soak.lasts, soak.balancer), (Duration::from_secs(lasts), balancer));
        }
        let refused = parsed("soak --rounds 2").unwrap_err();
        assert_eq!(refused, "--rounds is no argument; --help lists them");
    }

    #[test]
    fn what_is_no_argument_is_refused() {
        for (line, told) in [
            ("--fast", "--fast is no argument; --help lists them"),
            ("--only dead", "dead is no fault; --help lists them"),
            ("--balancers ipvs", "ipvs is no balancer; --help lists them"),
            ("--rounds many", "--rounds takes a number, not many"),
            ("--observe -1", "--observe takes a number that is not negative, not -1"),
            ("--rounds", "--rounds takes a value"),
        ] {
            assert_eq!(measured(line).unwrap_err(), told);
        }
    }

    #[test]
    fn the_help_names_every_fault_and_balancer() {
        let help = help();
        for name in Fault::ALL.map(Fault::name).into_iter().chain(Balancer::ALL.map(Balancer::name))
        {
            assert!(help.contains(name), "{name}");
        }
    }
}
