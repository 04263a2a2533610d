//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::holder::{Holder, Programs};
use crate::row::Row;
use crate::server::{SERVE, Server};
use evenkeel_bench::burn::BURN;

/// What this process is to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Measure every row with every holder.
    Measure(Args),
    /// Be what is behind the address.
    Serve(Server),
    /// Keep a CPU busy.
    Burn,
    /// Say how it is used.
    Help,
}

/// How to measure.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    /// The rows.
    pub(crate) rows: Vec<Row>,
    /// The holders.
    pub(crate) holders: Vec<Holder>,
    /// Samples of each row and holder.
    pub(crate) runs: u32,
    /// Samples of each row and each peer. None: as many.
    pub(crate) peer_runs: Option<u32>,
    /// How many samples of evenkeel are taken at the same time.
    pub(crate) at_once: usize,
    /// How long all CPUs are busy in the row `load`.
    pub(crate) load: Duration,
    /// How often a sample is taken at most, until it has no flaw.
    pub(crate) attempts: u32,
    /// Where to keep the logs of all holders.
    pub(crate) logs: Option<PathBuf>,
    /// Where the programs are.
    pub(crate) programs: Programs,
}

impl Args {
    /// How many samples of each row are taken of a holder.
    pub(crate) fn runs_of(&self, holder: Holder) -> u32 {
        match holder {
            Holder::Evenkeel => self.runs,
            Holder::KeepalivedDefault | Holder::KeepalivedTuned => {
                self.peer_runs.unwrap_or(self.runs)
            }
        }
    }
}

/// Reads the words of a command line.
///
/// # Errors
/// With a sentence for who wrote them.
pub(crate) fn parse(words: impl IntoIterator<Item = String>) -> Result<Command, String> {
    let words: Vec<String> = words.into_iter().collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        return Ok(Command::Help);
    }
    match words.split_first() {
        Some((first, _)) if first == BURN => Ok(Command::Burn),
        Some((first, rest)) if first == SERVE => Server::parse(rest).map(Command::Serve),
        Some(_) | None => measure(words).map(Command::Measure),
    }
}

fn measure(words: Vec<String>) -> Result<Args, String> {
    let mut args = Args {
        rows: Row::ALL.to_vec(),
        holders: Holder::ALL.to_vec(),
        runs: 5,
        peer_runs: None,
        at_once: 1,
        load: Duration::from_secs(30),
        attempts: 3,
        logs: None,
        programs: Programs {
            evenkeel: PathBuf::from("target/release/evenkeel"),
            keepalived: PathBuf::from("keepalived"),
        },
    };
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let (argument, mut value) = match word.split_once('=') {
            Some((argument, value)) => (argument.to_owned(), Some(value.to_owned())),
            None => (word, None),
        };
        let mut ask = || {
            value.take().or_else(|| words.next()).ok_or_else(|| format!("{argument} takes a value"))
        };
        match argument.as_str() {
            "--only" => args.rows = list(&ask()?, "row", Row::named)?,
            "--holders" => args.holders = list(&ask()?, "holder", Holder::named)?,
            "--runs" => args.runs = number::<u32>(&argument, &ask()?)?.max(1),
            "--peer-runs" => args.peer_runs = Some(number::<u32>(&argument, &ask()?)?.max(1)),
            "--at-once" => args.at_once = number::<usize>(&argument, &ask()?)?.max(1),
            "--seconds" => args.load = Duration::from_secs(number(&argument, &ask()?)?),
            "--attempts" => args.attempts = number::<u32>(&argument, &ask()?)?.max(1),
            "--logs" => args.logs = Some(ask()?.into()),
            "--evenkeel" => args.programs.evenkeel = ask()?.into(),
            "--keepalived" => args.programs.keepalived = ask()?.into(),
            _ => return Err(format!("{argument} is no argument; --help lists them")),
        }
    }
    Ok(args)
}

fn list<T>(names: &str, what: &str, named: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, String> {
    let one =
        |name: &str| named(name).ok_or_else(|| format!("{name} is no {what}; --help lists them"));
    names.split(',').map(one).collect()
}

fn number<T: std::str::FromStr>(argument: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_not_one| format!("{argument} takes a number, not {value}"))
}

/// What `--help` says.
pub(crate) fn help() -> String {
    let line = |name: &str, title: &str| format!("  {name:<19} {title}");
    let mut lines = vec![USAGE.to_owned(), "Rows:".to_owned()];
    lines.extend(Row::ALL.map(|row| line(row.name, &row.title())));
    lines.push("\nHolders:".to_owned());
    lines.extend(Holder::ALL.map(|holder| line(holder.name(), holder.title())));
    lines.join("\n") + "\n"
}

const USAGE: &str = "\
Measures what clients feel when the owner of a virtual IP goes: evenkeel with its defaults, and
keepalived. Three routers and a client are network namespaces on one bridge.

Usage: benches/vip/run [ARGUMENTS]

  --only ROW[,..]         only these rows
  --holders NAME[,..]     only these holders
  --runs N                samples of each row and holder [5]
  --peer-runs N           samples of each row and holder but evenkeel [as many]
  --at-once N             how many samples of evenkeel are taken at the same time, but of the row
                          `load`; they disturb each other a little [1]
  --seconds N             how long all CPUs are busy in the row `load` [30]
  --attempts N            how often a sample is taken at most, until it has no flaw [3]
  --logs FOLDER           keeps the configs and the logs of all samples there
  --evenkeel PATH         this binary of evenkeel, instead of building one
  --keepalived PATH       this binary of keepalived

It takes root, `ip`, `nft`, `setpriv`, `unshare` and `keepalived`. All samples go to
target/bench-vip/<time>.json.
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
            Command::Serve(_) | Command::Burn | Command::Help => Err("something else".to_owned()),
        }
    }

    #[test]
    fn without_arguments_all_is_measured() {
        let args = measured("").unwrap();
        assert_eq!((args.rows.len(), args.holders.len(), args.runs), (26, 3, 5));
    }

    #[test]
    fn rows_and_holders_have_names() {
        let args = measured("--only kill,planned --holders=evenkeel --runs 2 --seconds 9").unwrap();
        let names: Vec<&str> = args.rows.iter().map(|row| row.name).collect();
        assert_eq!((names.as_slice(), args.runs), (["kill", "planned"].as_slice(), 2));
        assert_eq!((args.holders, args.load), (vec![Holder::Evenkeel], Duration::from_secs(9)));
        let args = measured("--runs 20 --peer-runs 3 --at-once 4").unwrap();
        assert_eq!((args.runs_of(Holder::Evenkeel), args.at_once), (20, 4));
        assert_eq!(args.runs_of(Holder::KeepalivedTuned), 3);
        assert_eq!(measured("--only flood").unwrap_err(), "flood is no row; --help lists them");
        assert!(measured("--runs").is_err() && measured("--fast").is_err());
    }

    #[test]
    fn other_words_come_first() {
        assert!(matches!(parsed("burn"), Ok(Command::Burn)));
        assert!(matches!(parsed("serve router-1 6443"), Ok(Command::Serve(_))));
        assert!(matches!(parsed("--runs 2 --help"), Ok(Command::Help)));
    }

    #[test]
    fn the_help_names_every_row() {
        let help = help();
        assert!(Row::ALL.iter().all(|row| help.contains(&row.title())), "{help}");
    }
}
