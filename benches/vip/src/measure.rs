//! The whole measurement: every row with every holder in turn, run after run, and then those that
//! keep all CPUs busy.

use std::collections::VecDeque;
use std::io::Write;
use std::thread;

use serde::Serialize;

use crate::args::Args;
use crate::holder::Holder;
use crate::row::Fault;
use crate::sample::{Sample, Subject};
use crate::site::{NotTaken, Site};
use crate::summary::{Amount, Metric};
use evenkeel_bench::failed::Failed;
use evenkeel_bench::report::{in_turn, tell};

/// All that was measured.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// Those that count, in the order in which they were done.
    pub(crate) samples: Vec<Sample>,
    /// Those that were dropped for a flaw, and taken again.
    pub(crate) dropped: Vec<Sample>,
    /// Why samples were not taken at all, each tried again as well.
    pub(crate) unsteady: Vec<String>,
}

/// Measures what is asked for into `results`; `progress` gets a line now and then.
///
/// The networks of samples that are taken at the same time are also made and removed at the same
/// time: that is work of a tenth of a second under a lock of the kernel that all others need.
pub(crate) fn run(
    args: &Args,
    results: &mut Results,
    progress: &mut impl Write,
) -> Result<(), Failed> {
    let (alone, beside_others): (Vec<Subject>, Vec<Subject>) =
        subjects(args).into_iter().partition(|subject| subject.row.fault == Fault::Load);
    for (subjects, at_once) in [(beside_others, args.at_once), (alone, 1)] {
        let mut left: VecDeque<Turn> = subjects.into_iter().map(Turn::new).collect();
        while !left.is_empty() {
            let batch = next_batch(&mut left, at_once);
            let again = take_batch(args, batch, results, progress)?;
            again.into_iter().rev().for_each(|turn| left.push_front(turn));
        }
    }
    Ok(())
}

/// A sample that is to be taken.
#[derive(Debug)]
struct Turn {
    subject: Subject,
    attempts: u32,
    /// The last one, if it had a flaw.
    last: Option<Sample>,
}

impl Turn {
    fn new(subject: Subject) -> Self {
        Self { subject, attempts: 0, last: None }
    }
}

/// Takes some samples at the same time. Returns those that are to be taken again: until they have no
/// flaw, or have had enough attempts.
fn take_batch(
    args: &Args,
    batch: Vec<Turn>,
    results: &mut Results,
    progress: &mut impl Write,
) -> Result<Vec<Turn>, Failed> {
    let sites: Result<Vec<Site>, Failed> =
        batch.iter().map(|turn| Site::new(turn.subject)).collect();
    let mut sites = sites?;
    let taken: Vec<Result<Sample, NotTaken>> = thread::scope(|scope| {
        let take = |(turn, site): (&Turn, _)| {
            let (subject, site): (Subject, &mut Site) = (turn.subject, site);
            scope.spawn(move || site.sample(subject, args))
        };
        let lanes: Vec<_> = batch.iter().zip(&mut sites).map(take).collect();
        let panicked = |_panic| Err(Failed::because("measure", "a sample panicked").into());
        lanes.into_iter().map(|lane| lane.join().unwrap_or_else(panicked)).collect()
    });
    let mut logs = Ok(());
    if let Some(folder) = &args.logs {
        for (turn, site) in batch.iter().zip(&sites) {
            let Subject { row, holder, run } = turn.subject;
            let kept =
                site.keep_logs(&folder.join(format!("{}-{}-{run}", row.name, holder.name())));
            logs = logs.and(kept);
        }
    }
    drop(sites);
    let (mut again, mut noted) = (Vec::new(), Ok(()));
    for (turn, taken) in batch.into_iter().zip(taken) {
        match note(args, turn, taken, results, progress) {
            Ok(turn) => again.extend(turn),
            // What the others are worth is kept nevertheless.
            Err(failed) => noted = noted.and(Err(failed)),
        }
    }
    noted.and(logs).map(|()| again)
}

/// Counts what was taken. Returns it if it is to be taken again.
fn note(
    args: &Args,
    turn: Turn,
    taken: Result<Sample, NotTaken>,
    results: &mut Results,
    progress: &mut impl Write,
) -> Result<Option<Turn>, Failed> {
    let Turn { subject, attempts, mut last } = turn;
    let Subject { row, holder, run } = subject;
    let what = format!("run {run}/{}: {}, {}", args.runs_of(holder), row.name, holder.name());
    let mut is_good = false;
    match taken {
        Ok(sample) => {
            tell(progress, &format!("{what}: {}", brief(&sample, Metric::of_fault(row.fault))))?;
            is_good = sample.flaw.is_none();
            results.dropped.extend(last.replace(sample));
        }
        Err(NotTaken::Failed(failed)) => return Err(failed),
        Err(NotTaken::Unsteady(why)) => {
            tell(progress, &format!("{what}: not steady: {why}"))?;
            results.unsteady.push(format!("{what}: {why}"));
        }
    }
    let attempts = attempts + 1;
    if !is_good && attempts < args.attempts {
        return Ok(Some(Turn { subject, attempts, last }));
    }
    results.samples.extend(last);
    Ok(None)
}

/// All samples in their order: run after run, and in each all rows with one holder after the other.
fn subjects(args: &Args) -> Vec<Subject> {
    let runs = args.holders.iter().map(|holder| args.runs_of(*holder)).max();
    let mut subjects = Vec::new();
    for run in 1..=runs.unwrap_or_default() {
        let holders = in_turn(&args.holders, run, 0).into_iter();
        for holder in holders.filter(|holder| run <= args.runs_of(*holder)) {
            subjects.extend(args.rows.iter().map(|row| Subject { row: *row, holder, run }));
        }
    }
    subjects
}

/// The next that are taken at the same time: of evenkeel, and a peer's alone. A keepalived with
/// real-time priority goes before everybody who measures others.
fn next_batch(left: &mut VecDeque<Turn>, at_once: usize) -> Vec<Turn> {
    let ours = left.iter().take_while(|turn| turn.subject.holder == Holder::Evenkeel).count();
    left.drain(..ours.min(at_once).max(1).min(left.len())).collect()
}

/// A sample in some words.
fn brief(sample: &Sample, metrics: &[Metric]) -> String {
    let words = metrics.iter().map(|metric| {
        let amount = metric.of(sample).map(Amount::text);
        let cell = amount.or_else(|| metric.cell(&[sample])).unwrap_or_default();
        format!("{} {cell}", metric.title())
    });
    let words: Vec<String> = words.collect();
    let flaw = sample.flaw.as_ref().map(|flaw| format!("; flawed: {flaw}")).unwrap_or_default();
    format!("{}{flaw}", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Command};
    use crate::row::Row;

    #[test]
    fn a_peer_is_alone() {
        let row = Row::named("planned").unwrap();
        let turn = |holder| Turn::new(Subject { row, holder, run: 1 });
        let (evenkeel, tuned) = (Holder::Evenkeel, Holder::KeepalivedTuned);
        let mut left: VecDeque<Turn> =
            [evenkeel, evenkeel, evenkeel, tuned, tuned].map(turn).into_iter().collect();
        let mut batches = Vec::new();
        while !left.is_empty() {
            let batch = next_batch(&mut left, 2);
            batches.push(batch.iter().map(|turn| turn.subject.holder).collect::<Vec<_>>());
        }
        let expected = [vec![evenkeel; 2], vec![evenkeel], vec![tuned], vec![tuned]];
        assert_eq!(batches, expected);
    }

    #[test]
    fn peers_may_be_sampled_less_often() {
        let rows = [Row::named("planned").unwrap(), Row::named("kill").unwrap()].to_vec();
        let words = "--only planned,kill --runs 3 --peer-runs 1".split(' ').map(str::to_owned);
        let Ok(Command::Measure(args)) = args::parse(words) else { panic!("no arguments") };
        let subjects = subjects(&args);
        let of = |holder| {
            let of = subjects.iter().filter(move |subject| subject.holder == holder);
            of.map(|subject| (subject.row, subject.run)).collect::<Vec<_>>()
        };
        let every = |run| rows.iter().map(move |row| (*row, run));
        assert_eq!(
            of(Holder::Evenkeel),
            every(1).chain(every(2)).chain(every(3)).collect::<Vec<_>>()
        );
        assert_eq!(of(Holder::KeepalivedTuned), every(1).collect::<Vec<_>>());
    }
}
