//! The whole measurement: every row with every holder in turn, run after run.

use std::io::Write;

use serde::Serialize;

use crate::args::Args;
use crate::holder::Holder;
use crate::sample::{Sample, Subject};
use crate::site::{NotTaken, take};
use crate::summary::{Amount, Metric};
use evenkeel_bench::failed::{Doing, Failed};

/// All that was measured.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// Those that count, in the order in which they were taken.
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
    progress: &mut impl Write,
) -> Result<(), Failed> {
    for run in 1..=args.runs {
        for (place, row) in args.rows.iter().enumerate() {
            for holder in in_turn(&args.holders, run, place) {
                let subject = Subject { row: *row, holder, run };
                take_well(args, subject, results, progress)?;
            }
        }
    }
    Ok(())
}

/// Takes a sample until it has no flaw; the last one, if all have one.
fn take_well(
    args: &Args,
    subject: Subject,
    results: &mut Results,
    progress: &mut impl Write,
) -> Result<(), Failed> {
    let Subject { row, holder, run } = subject;
    let what = format!("run {run}/{}: {}, {}", args.runs, row.name, holder.name());
    let mut last: Option<Sample> = None;
    for _ in 0..args.attempts {
        let sample = match take(subject, args) {
            Ok(sample) => sample,
            Err(NotTaken::Failed(failed)) => return Err(failed),
            Err(NotTaken::Unsteady(why)) => {
                tell(progress, &format!("{what}: not steady: {why}"))?;
                results.unsteady.push(format!("{what}: {why}"));
                continue;
            }
        };
        tell(progress, &format!("{what}: {}", brief(&sample, Metric::of_fault(row.fault))))?;
        let is_good = sample.flaw.is_none();
        results.dropped.extend(last.replace(sample));
        if is_good {
            break;
        }
    }
    results.samples.extend(last);
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
fn tell(progress: &mut impl Write, line: &str) -> Result<(), Failed> {
    writeln!(progress, "{line}").doing(|| "say how far it is")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_always_first() {
        let firsts: Vec<Holder> = (1..=3).map(|run| in_turn(&Holder::ALL, run, 0)[0]).collect();
        for holder in Holder::ALL {
            assert!(firsts.contains(&holder), "{holder:?} in {firsts:?}");
        }
        assert_ne!(in_turn(&Holder::ALL, 1, 0), in_turn(&Holder::ALL, 1, 1));
        assert_eq!(in_turn(&[Holder::Evenkeel], 3, 2), [Holder::Evenkeel]);
    }
}
