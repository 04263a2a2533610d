//! Samples made into figures: the worst of the rounds, and the one in the middle.

use crate::balancer::Balancer;
use crate::fault::Fault;
use crate::sample::{Gap, Sample};
use evenkeel_bench::number::{count, float};

/// What is reported of a fault.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Metric {
    /// The longest that a watch saw nothing.
    WatchGap,
    /// New connections that failed.
    FailedNew,
    /// The longest that a new connection took.
    LongestNew,
    /// The longest that a kept connection had no good answer.
    KeptGap,
    /// The control: the longest that nothing was written for the watches to see.
    TickGap,
}

impl Metric {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 5] =
        [Self::WatchGap, Self::FailedNew, Self::LongestNew, Self::KeptGap, Self::TickGap];

    /// What it is, for who reads the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::WatchGap => "worst gap of a watch",
            Self::FailedNew => "failed new connections",
            Self::LongestNew => "longest new connection",
            Self::KeptGap => "worst gap of a kept connection",
            Self::TickGap => "control: gap of the ticks",
        }
    }

    /// Its value in a sample.
    fn of(self, sample: &Sample) -> Amount {
        match self {
            Self::WatchGap => Amount::gap(sample.watch_gap),
            Self::FailedNew => Amount::count(sample.failed_new.len()),
            Self::LongestNew => Amount::seconds(sample.longest_new),
            Self::KeptGap => Amount::gap(sample.kept_gap),
            Self::TickGap => Amount::seconds(sample.tick_gap),
        }
    }
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Amount {
    /// How much.
    pub(crate) value: f64,
    /// Of what.
    pub(crate) unit: Unit,
    /// Whether it is at least as much: it was cut short.
    pub(crate) open: bool,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// Seconds.
    Second,
    /// Connections.
    Connection,
}

impl Amount {
    fn seconds(value: f64) -> Self {
        Self { value, unit: Unit::Second, open: false }
    }

    fn gap(gap: Gap) -> Self {
        Self { value: gap.seconds, unit: Unit::Second, open: gap.open }
    }

    fn count(length: usize) -> Self {
        Self { value: float(count(length)), unit: Unit::Connection, open: false }
    }

    /// The amount for people.
    pub(crate) fn text(self) -> String {
        match (self.unit, self.open) {
            (Unit::Connection, _) => format!("{:.0}", self.value),
            // It may have been any longer.
            (Unit::Second, true) => format!("> {:.0} s", self.value.floor()),
            (Unit::Second, false) if self.value >= 10.0 => format!("{:.1} s", self.value),
            (Unit::Second, false) => format!("{:.2} s", self.value),
        }
    }
}

/// A metric of a fault behind a balancer, over all rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Figure {
    /// The worst.
    pub(crate) worst: Amount,
    /// The one in the middle; of an even number the worse of the two.
    pub(crate) median: Amount,
    /// How many samples it is of.
    pub(crate) samples: usize,
    /// How many of them have a flaw.
    pub(crate) flawed: usize,
}

impl Figure {
    /// None: there is no sample.
    pub(crate) fn of(
        samples: &[Sample],
        fault: Fault,
        balancer: Balancer,
        metric: Metric,
    ) -> Option<Self> {
        let meant: Vec<&Sample> = of(samples, fault, balancer).collect();
        let mut amounts: Vec<Amount> = meant.iter().map(|sample| metric.of(sample)).collect();
        amounts.sort_by(|a, b| a.value.total_cmp(&b.value));
        Some(Self {
            worst: *amounts.last()?,
            median: *amounts.get(amounts.len() / 2)?,
            samples: amounts.len(),
            flawed: meant.iter().filter(|sample| sample.flaw.is_some()).count(),
        })
    }

    /// The figure for people: the worst, the median if there is more than one, `*` for a flaw.
    pub(crate) fn text(self) -> String {
        let flaw = if self.flawed > 0 { " *" } else { "" };
        if self.samples == 1 {
            return self.worst.text() + flaw;
        }
        format!("{} ({}){flaw}", self.worst.text(), self.median.text())
    }
}

/// The samples of a fault behind a balancer.
pub(crate) fn of(
    samples: &[Sample],
    fault: Fault,
    balancer: Balancer,
) -> impl Iterator<Item = &Sample> {
    samples
        .iter()
        .filter(move |sample| sample.fault == fault.name() && sample.balancer == balancer.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    const OF: (Fault, Balancer) = (Fault::Cut, Balancer::Evenkeel);

    fn figure(samples: &[Sample], metric: Metric) -> Figure {
        Figure::of(samples, OF.0, OF.1, metric).unwrap()
    }

    #[test]
    fn the_worst_stands_before_the_median() {
        let gaps = [0.5, 0.7, 0.6].map(|gap| sample(OF.1, OF.0, gap, 2));
        assert_eq!(figure(&gaps, Metric::WatchGap).text(), "0.70 s (0.60 s)");
        assert_eq!(figure(&gaps, Metric::FailedNew).text(), "2 (2)");
        assert_eq!(figure(&gaps[..1], Metric::KeptGap).text(), "0.50 s");
        assert_eq!(Figure::of(&gaps, Fault::Killed, OF.1, Metric::WatchGap), None);
    }

    #[test]
    fn who_was_silent_to_the_end_was_silent_for_longer() {
        let samples = [sample(OF.1, OF.0, 40.03, 0), sample(OF.1, OF.0, 35.02, 0)];
        let text = figure(&samples, Metric::WatchGap).text();
        assert_eq!(text, "> 40 s (> 40 s)");
        let long = Amount { value: 35.02, unit: Unit::Second, open: false };
        assert_eq!(long.text(), "35.0 s");
    }

    #[test]
    fn a_flaw_is_marked() {
        let mut flawed = sample(OF.1, OF.0, 0.5, 0);
        flawed.flaw = Some("stalled".to_owned());
        assert_eq!(figure(&[flawed], Metric::WatchGap).text(), "0.50 s *");
    }
}
