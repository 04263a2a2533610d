//! What is reported of a row and a holder: each metric over all runs.

use crate::holder::Holder;
use crate::row::{Fault, Row};
use crate::sample::{Ends, Gap, Sample};
use evenkeel_bench::number::{count, float};

/// What is reported of a row.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Metric {
    /// The longest between two good new connections.
    Gap,
    /// The same from when the fault was undone.
    GapAfter,
    /// New connections that failed.
    Failed,
    /// When the first owner had the address for the last time.
    GaveUp,
    /// When there was for the last time another number of owners than one.
    Settled,
    /// How long there were two.
    TwoOwners,
    /// The longest that two heard each other.
    Conflict,
    /// The same from when the fault was undone.
    ConflictAfter,
    /// How often a host came to have the address.
    Claims,
    /// How the kept connections ended.
    Kept,
    /// Whether the first owner took it back.
    TakenBack,
    /// Whether the client was left with who is not the owner.
    Misled,
}

impl Metric {
    /// What is worth a line for a fault, in the order of the table.
    pub(crate) fn of_fault(fault: Fault) -> &'static [Self] {
        match fault {
            Fault::Planned => &[Self::Gap, Self::Failed, Self::Kept, Self::TwoOwners, Self::Claims],
            Fault::Rolling => &[Self::Gap, Self::Failed, Self::Kept, Self::Conflict, Self::Claims],
            Fault::Silence | Fault::Carrier => &[
                Self::Gap,
                Self::Failed,
                Self::Kept,
                Self::GaveUp,
                Self::GapAfter,
                Self::ConflictAfter,
                Self::TakenBack,
            ],
            Fault::Kill => &[Self::Gap, Self::Failed, Self::Kept, Self::GaveUp, Self::TwoOwners],
            Fault::Freeze => &[
                Self::Gap,
                Self::Failed,
                Self::Kept,
                Self::GaveUp,
                Self::TwoOwners,
                Self::GapAfter,
                Self::TakenBack,
            ],
            Fault::Partition => &[
                Self::Gap,
                Self::Failed,
                Self::GaveUp,
                Self::TwoOwners,
                Self::GapAfter,
                Self::ConflictAfter,
                Self::Misled,
            ],
            Fault::Filtered => &[
                Self::Gap,
                Self::Failed,
                Self::Settled,
                Self::TwoOwners,
                Self::GapAfter,
                Self::ConflictAfter,
                Self::Misled,
            ],
            Fault::Load => &[Self::Claims, Self::Gap, Self::Failed],
        }
    }

    /// What it is, for who reads the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Gap => "gap of new connections",
            Self::GapAfter => "gap after it is undone",
            Self::Failed => "failed new connections",
            Self::GaveUp => "old owner has the address until",
            Self::Settled => "not one owner until",
            Self::TwoOwners => "two owners or more for",
            Self::Conflict => "two that hear each other, longest",
            Self::ConflictAfter => "two that hear each other, after",
            Self::Claims => "claims of the address",
            Self::Kept => "kept ended <= 200 ms/later/silent",
            Self::TakenBack => "runs in which it is taken back",
            Self::Misled => "runs that end with a misled client",
        }
    }

    /// Its amount in a sample; none if it is not one.
    pub(crate) fn of(self, sample: &Sample) -> Option<Amount> {
        let time = |seconds: f64| Amount { value: seconds, unit: Unit::Second };
        // Never is later than any time.
        let until = |seconds: Option<f64>| time(seconds.unwrap_or(f64::INFINITY));
        let number = |number| Amount { value: float(count(number)), unit: Unit::Piece };
        let gap = |gap: Gap| {
            let unit = if gap.open { Unit::SecondOrMore } else { Unit::Second };
            Amount { value: gap.seconds, unit }
        };
        Some(match self {
            Self::Gap => gap(sample.gap),
            Self::GapAfter => gap(sample.gap_after),
            Self::Failed => number(sample.failed),
            Self::GaveUp => until(sample.gave_up),
            Self::Settled => until(sample.settled),
            Self::TwoOwners => time(sample.two_owners),
            Self::Conflict => time(sample.conflict),
            Self::ConflictAfter => time(sample.conflict_after),
            Self::Claims => number(sample.claims),
            Self::Kept | Self::TakenBack | Self::Misled => return None,
        })
    }

    /// The cell of the table for some samples; none if there are none.
    pub(crate) fn cell(self, samples: &[&Sample]) -> Option<String> {
        if samples.is_empty() {
            return None;
        }
        let runs_in_which = |is_so: fn(&&&Sample) -> bool| {
            format!("{} of {}", samples.iter().filter(is_so).count(), samples.len())
        };
        Some(match self {
            Self::Kept => {
                let Ends { prompt, late, silent } = all_ends(samples);
                format!("{prompt}/{late}/{silent}")
            }
            Self::TakenBack => runs_in_which(|sample| sample.taken_back),
            Self::Misled => runs_in_which(|sample| sample.believes == Some(false)),
            Self::Gap
            | Self::GapAfter
            | Self::Failed
            | Self::GaveUp
            | Self::Settled
            | Self::TwoOwners
            | Self::Conflict
            | Self::ConflictAfter
            | Self::Claims => Figure::of(self, samples)?.text(),
        })
    }
}

/// The ends of the kept connections of all samples.
pub(crate) fn all_ends(samples: &[&Sample]) -> Ends {
    samples.iter().fold(Ends::default(), |all, sample| Ends {
        prompt: all.prompt + sample.kept.prompt,
        late: all.late + sample.kept.late,
        silent: all.silent + sample.kept.silent,
    })
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amount {
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: Unit,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Seconds.
    Second,
    /// At least as many seconds: it was cut short.
    SecondOrMore,
    /// Whatever the metric counts.
    Piece,
}

impl Amount {
    /// The amount for people, times in milliseconds.
    pub(crate) fn text(self) -> String {
        match self.unit {
            Unit::Second | Unit::SecondOrMore if self.value.is_infinite() => "never".to_owned(),
            Unit::Second => format!("{:.0}", self.value * 1e3),
            Unit::SecondOrMore => format!(">{:.0}", self.value * 1e3),
            Unit::Piece => format!("{:.0}", self.value),
        }
    }
}

/// A metric over some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The one in the middle; of an even number the worse of the two.
    pub(crate) median: Amount,
    /// The least that 95 of 100 do not exceed.
    pub(crate) p95: Amount,
    /// The worst.
    pub(crate) worst: Amount,
}

impl Figure {
    /// None: there is no sample, or the metric is no amount.
    pub(crate) fn of(metric: Metric, samples: &[&Sample]) -> Option<Self> {
        let mut amounts: Vec<Amount> =
            samples.iter().filter_map(|sample| metric.of(sample)).collect();
        amounts.sort_by(|a, b| a.value.total_cmp(&b.value));
        let rank95 = (amounts.len() * 95).div_ceil(100).saturating_sub(1);
        Some(Self {
            median: *amounts.get(amounts.len() / 2)?,
            p95: *amounts.get(rank95)?,
            worst: *amounts.last()?,
        })
    }

    fn text(self) -> String {
        [self.median, self.p95, self.worst].map(Amount::text).join("/")
    }
}

/// The samples of a row and a holder.
pub(crate) fn of(samples: &[Sample], row: Row, holder: Holder) -> Vec<&Sample> {
    let is_meant = |sample: &&Sample| sample.row == row.name && sample.holder == holder.name();
    samples.iter().filter(is_meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    #[test]
    fn a_cell_has_the_median_the_95th_and_the_worst() {
        let all: Vec<Sample> =
            (1..=40).map(|n| sample("kill", Holder::Evenkeel, f64::from(n) / 1e3, 0)).collect();
        let all: Vec<&Sample> = all.iter().collect();
        assert_eq!(Metric::Gap.cell(&all).unwrap(), "21/38/40");
        assert_eq!(Metric::Gap.cell(&all[..1]).unwrap(), "1/1/1");
        assert_eq!(Metric::Gap.cell(&[]), None);
        assert_eq!(Metric::Kept.cell(&all[..2]).unwrap(), "60/0/0");
        assert_eq!(Metric::TakenBack.cell(&all[..2]).unwrap(), "0 of 2");
    }

    #[test]
    fn what_never_ends_is_the_worst() {
        let mut never = sample("kill", Holder::Evenkeel, 5.0, 200);
        never.gave_up = None;
        never.gap.open = true;
        let ends = sample("kill", Holder::Evenkeel, 0.9, 40);
        let all = [&never, &ends, &ends];
        assert_eq!(Metric::GaveUp.cell(&all).unwrap(), "1200/never/never");
        assert_eq!(Metric::Gap.cell(&all).unwrap(), "900/>5000/>5000");
    }

    #[test]
    fn a_row_has_its_own_samples() {
        let all = [
            sample("kill", Holder::Evenkeel, 1.0, 0),
            sample("kill", Holder::KeepalivedTuned, 1.0, 0),
            sample("planned", Holder::Evenkeel, 1.0, 0),
        ];
        let kill = Row::named("kill").unwrap();
        assert_eq!(of(&all, kill, Holder::Evenkeel).len(), 1);
        assert_eq!(of(&all, kill, Holder::KeepalivedDefault).len(), 0);
    }
}
