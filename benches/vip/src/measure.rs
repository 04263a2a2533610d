//! The whole measurement: every row with every holder in turn, run after run.

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;

use serde::Serialize;

use crate::args::Args;
use crate::holder::Holder;
use crate::row::Fault;
use crate::sample::{Sample, Subject};
use crate::site::{NotTaken, take};
use crate::summary::{Amount, Metric};
use evenkeel_bench::failed::{Doing, Failed};

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
pub(crate) fn run(
    args: &Args,
    results: &mut Results,
    progress: &mut (impl Write + Send),
) -> Result<(), Failed> {
    let (alone, beside_others): (Vec<Subject>, Vec<Subject>) =
        subjects(args).into_iter().partition(|subject| subject.row.fault == Fault::Load);
    let desk = Desk {
        results: Mutex::new(results),
        progress: Mutex::new(progress),
        quiet: RwLock::new(()),
    };
    take_all(args, &beside_others, args.at_once, &desk)?;
    take_all(args, &alone, 1, &desk)
}

/// All samples in their order.
fn subjects(args: &Args) -> Vec<Subject> {
    let runs = args.holders.iter().map(|holder| args.runs_of(*holder)).max();
    let mut subjects = Vec::new();
    for run in 1..=runs.unwrap_or_default() {
        for (place, row) in args.rows.iter().enumerate() {
            let holders = in_turn(&args.holders, run, place).into_iter();
            let holders = holders.filter(|holder| run <= args.runs_of(*holder));
            subjects.extend(holders.map(|holder| Subject { row: *row, holder, run }));
        }
    }
    subjects
}

/// What the lanes share.
struct Desk<'a, W> {
    results: Mutex<&'a mut Results>,
    progress: Mutex<&'a mut W>,
    /// Measuring, or making and removing networks. Writers go first here, so the lanes make their
    /// networks together, measure together and remove them together.
    quiet: RwLock<()>,
}

/// Takes samples in some lanes, each of which takes the next one that is left. No further one is
/// begun after a failure.
fn take_all(
    args: &Args,
    subjects: &[Subject],
    lanes: usize,
    desk: &Desk<'_, impl Write + Send>,
) -> Result<(), Failed> {
    let left = Mutex::new(subjects.iter());
    let lane = || -> Result<(), Failed> {
        loop {
            let next = lock(&left).next();
            let Some(subject) = next else { return Ok(()) };
            take_well(args, *subject, desk).inspect_err(|_failed| *lock(&left) = [].iter())?;
        }
    };
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..lanes).map(|_| scope.spawn(lane)).collect();
        let panicked = |_panic| Err(Failed::because("measure", "a lane panicked"));
        // All are waited for, whatever the first says.
        let ended: Vec<Result<(), Failed>> =
            lanes.into_iter().map(|lane| lane.join().unwrap_or_else(panicked)).collect();
        ended.into_iter().collect()
    })
}

/// Takes a sample until it has no flaw; the last one, if all have one.
fn take_well(
    args: &Args,
    subject: Subject,
    desk: &Desk<'_, impl Write + Send>,
) -> Result<(), Failed> {
    let Subject { row, holder, run } = subject;
    let what = format!("run {run}/{}: {}, {}", args.runs_of(holder), row.name, holder.name());
    let mut last: Option<Sample> = None;
    for _ in 0..args.attempts {
        let sample = match take(subject, args, &desk.quiet) {
            Ok(sample) => sample,
            Err(NotTaken::Failed(failed)) => return Err(failed),
            Err(NotTaken::Unsteady(why)) => {
                tell(desk, &format!("{what}: not steady: {why}"))?;
                lock(&desk.results).unsteady.push(format!("{what}: {why}"));
                continue;
            }
        };
        tell(desk, &format!("{what}: {}", brief(&sample, Metric::of_fault(row.fault))))?;
        let is_good = sample.flaw.is_none();
        lock(&desk.results).dropped.extend(last.replace(sample));
        if is_good {
            break;
        }
    }
    lock(&desk.results).samples.extend(last);
    Ok(())
}

/// The holders, each run and each row beginning with another one.
fn in_turn(holders: &[Holder], run: u32, place: usize) -> Vec<Holder> {
    let run = usize::try_from(run).unwrap_or_default();
    let mut turn = holders.to_vec();
    let by = (run + place).checked_rem(turn.len()).unwrap_or_default();
    turn.rotate_left(by);
    turn
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

/// Says how far it is.
fn tell(desk: &Desk<'_, impl Write + Send>, line: &str) -> Result<(), Failed> {
    writeln!(lock(&desk.progress), "{line}").doing(|| "say how far it is")
}

/// What a lane that panicked left is whole: nothing is done in steps.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{self, Command};
    use crate::row::Row;

    #[test]
    fn nobody_is_always_first() {
        let firsts: Vec<Holder> = (1..=3).map(|run| in_turn(&Holder::ALL, run, 0)[0]).collect();
        for holder in Holder::ALL {
            assert!(firsts.contains(&holder), "{holder:?} in {firsts:?}");
        }
        assert_ne!(in_turn(&Holder::ALL, 1, 0), in_turn(&Holder::ALL, 1, 1));
        assert_eq!(in_turn(&[Holder::Evenkeel], 3, 2), [Holder::Evenkeel]);
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
