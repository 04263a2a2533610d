//! What evenkeel must reach with its defaults, and whether it did.

use crate::holder::Holder;
use crate::row::{Fault, Resolver, Row};
use crate::sample::Sample;
use crate::summary::{Amount, Figure, Metric, Unit, all_ends, of};
use evenkeel_bench::verdict::{Judged, Verdict};

/// What is asked of the samples of a row.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// A metric in the middle of all runs, at most.
    Median(Metric, f64),
    /// In the worst run, at most.
    Worst(Metric, f64),
    /// Every kept connection is ended in time.
    KeptAreEnded,
    /// The first owner takes nothing back.
    NothingTakenBack,
    /// The client is with the owner in the end.
    NotMisled,
}

impl Target {
    /// All that is asked of a row. Times are seconds.
    fn of(row: Row) -> Vec<Self> {
        let one_owner = Self::Worst(Metric::Conflict, CONFLICT);
        match (row.fault, row.resolver) {
            (Fault::Planned | Fault::Rolling, _) => vec![
                Self::Worst(Metric::Failed, 0.0),
                Self::Worst(Metric::Gap, 0.040),
                Self::KeptAreEnded,
                one_owner,
            ],
            (Fault::Silence | Fault::Carrier, _) => {
                vec![Self::Median(Metric::Gap, 0.30), Self::Worst(Metric::Gap, 0.45), one_owner]
            }
            (Fault::Kill, Resolver::Warm) => vec![one_owner],
            (Fault::Kill, Resolver::Cold) => vec![Self::Worst(Metric::Gap, 1.5), one_owner],
            (Fault::Freeze, _) => {
                vec![Self::Worst(Metric::GaveUp, 1.5), Self::NothingTakenBack, one_owner]
            }
            (Fault::Partition, _) => vec![
                Self::Worst(Metric::GaveUp, 2.0),
                Self::Worst(Metric::GapAfter, 0.45),
                Self::NotMisled,
                one_owner,
            ],
            (Fault::Filtered, _) => {
                vec![Self::Worst(Metric::Settled, 2.0), Self::NotMisled]
            }
            (Fault::Load, _) => vec![Self::Worst(Metric::Claims, 0.0), one_owner],
        }
    }

    fn title(self) -> String {
        match self {
            Self::Median(metric, _) => format!("{}, median", metric.title()),
            Self::Worst(metric, _) => format!("{}, worst", metric.title()),
            Self::KeptAreEnded => Metric::Kept.title().to_owned(),
            Self::NothingTakenBack => Metric::TakenBack.title().to_owned(),
            Self::NotMisled => Metric::Misled.title().to_owned(),
        }
    }

    fn wanted(self) -> String {
        match self {
            Self::Median(metric, most) | Self::Worst(metric, most) => match metric {
                Metric::Failed | Metric::Claims => format!("{most:.0}"),
                Metric::Gap
                | Metric::GapAfter
                | Metric::GaveUp
                | Metric::Settled
                | Metric::TwoOwners
                | Metric::Conflict
                | Metric::ConflictAfter
                | Metric::Kept
                | Metric::TakenBack
                | Metric::Misled => format!("<= {:.0} ms", most * 1e3),
            },
            Self::KeptAreEnded => "all/0/0".to_owned(),
            Self::NothingTakenBack | Self::NotMisled => "0".to_owned(),
        }
    }

    /// What was measured, and whether it is good enough. None: there is no sample.
    fn measure(self, samples: &[&Sample]) -> Option<(String, bool)> {
        let at_most = |amount: Amount, most: f64| {
            let is_met = amount.value <= most && amount.unit != Unit::SecondOrMore;
            (exact(amount), is_met)
        };
        let cell = |metric: Metric, is_met| Some((metric.cell(samples)?, is_met));
        match self {
            Self::Median(metric, most) => {
                Figure::of(metric, samples).map(|figure| at_most(figure.median, most))
            }
            Self::Worst(metric, most) => {
                Figure::of(metric, samples).map(|figure| at_most(figure.worst, most))
            }
            Self::KeptAreEnded => {
                let ends = all_ends(samples);
                cell(Metric::Kept, ends.prompt > 0 && ends.late + ends.silent == 0)
            }
            Self::NothingTakenBack => {
                cell(Metric::TakenBack, samples.iter().all(|sample| !sample.taken_back))
            }
            Self::NotMisled => {
                let none_is = samples.iter().all(|sample| sample.believes != Some(false));
                cell(Metric::Misled, none_is)
            }
        }
    }
}

/// Judges all targets of some rows.
pub(crate) fn judge(samples: &[Sample], rows: &[Row]) -> Vec<Judged> {
    let judged = |row: Row| {
        let samples = of(samples, row, Holder::Evenkeel);
        let flawed = samples.iter().any(|sample| sample.flaw.is_some());
        Target::of(row).into_iter().map(move |target| {
            let measured = target.measure(&samples);
            let is_met = measured.as_ref().map(|(_, is_met)| *is_met);
            let verdict = is_met.map_or(Verdict::NotMeasured, Verdict::of);
            Judged {
                title: format!("{}: {}", row.name, target.title()),
                wanted: target.wanted(),
                measured: measured.map(|(measured, _)| measured).unwrap_or_default(),
                verdict,
                flawed,
            }
        })
    };
    rows.iter().copied().flat_map(judged).collect()
}

/// An amount with its unit, to a tenth of a millisecond, so that what is judged is seen.
fn exact(amount: Amount) -> String {
    let millis = amount.value * 1e3;
    match amount.unit {
        Unit::Second if millis.is_finite() => format!("{millis:.1} ms"),
        Unit::SecondOrMore if millis.is_finite() => format!(">{millis:.1} ms"),
        Unit::Second | Unit::SecondOrMore | Unit::Piece => amount.text(),
    }
}

/// How long two owners may hear each other, in seconds.
const CONFLICT: f64 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    fn judged(samples: &[Sample], title: &str) -> Judged {
        judge(samples, &Row::ALL).into_iter().find(|judged| judged.title == title).unwrap()
    }

    fn silence(gaps: &[f64]) -> Vec<Sample> {
        gaps.iter().map(|gap| sample("silence", Holder::Evenkeel, *gap, 12)).collect()
    }

    #[test]
    fn the_median_and_the_worst_are_judged_apart() {
        let samples = silence(&[0.28, 0.29, 0.46]);
        let median = judged(&samples, "silence: gap of new connections, median");
        assert_eq!((median.verdict, median.measured.as_str()), (Verdict::Met, "290.0 ms"));
        let worst = judged(&samples, "silence: gap of new connections, worst");
        assert_eq!((worst.verdict, worst.wanted.as_str()), (Verdict::Missed, "<= 450 ms"));
        let title = "silence: gap of new connections, median";
        assert_eq!(judged(&[], title).verdict, Verdict::NotMeasured);
    }

    #[test]
    fn a_silent_kept_connection_is_one_too_many() {
        let title = "planned: kept ended <= 200 ms/later/silent";
        let mut sample = sample("planned", Holder::Evenkeel, 0.03, 0);
        assert_eq!(judged(std::slice::from_ref(&sample), title).verdict, Verdict::Met);
        sample.kept.silent = 1;
        assert_eq!(judged(&[sample], title).verdict, Verdict::Missed);
    }

    #[test]
    fn an_address_that_is_never_given_up_is_a_miss() {
        let title = "freeze: old owner has the address until, worst";
        let mut sample = sample("freeze", Holder::Evenkeel, 0.3, 0);
        assert_eq!(judged(std::slice::from_ref(&sample), title).verdict, Verdict::Met);
        sample.gave_up = None;
        let judged = judged(&[sample], title);
        assert_eq!((judged.verdict, judged.measured.as_str()), (Verdict::Missed, "never"));
    }

    #[test]
    fn a_peer_is_not_judged() {
        let samples = [sample("load", Holder::KeepalivedTuned, 0.1, 0)];
        assert!(
            judge(&samples, &Row::ALL).iter().all(|judged| judged.verdict == Verdict::NotMeasured)
        );
    }
}
