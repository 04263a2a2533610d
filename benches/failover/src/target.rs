//! What evenkeel must reach with its defaults, and whether it did.

use crate::balancer::Balancer;
use crate::fault::Fault;
use crate::sample::Sample;
use crate::summary::{Amount, Figure, Metric, Unit, of};
use evenkeel_bench::verdict::{Judged, Verdict};

/// The worst gap of a watch that is allowed after each fault, in seconds. No new connection may
/// fail after any.
const GAPS: [(Fault, f64); 4] =
    [(Fault::Killed, 0.25), (Fault::Terminated, 0.15), (Fault::Cut, 0.6), (Fault::Frozen, 1.0)];

/// Judges all targets by the worst of the rounds.
pub(crate) fn judge(samples: &[Sample]) -> Vec<Judged> {
    let mut judged = Vec::new();
    for (fault, gap) in GAPS {
        judged.push(at_most(samples, fault, Metric::WatchGap, gap));
        judged.push(at_most(samples, fault, Metric::FailedNew, 0.0));
        if fault == Fault::Terminated {
            judged.push(no_resets(samples, fault));
        }
    }
    judged
}

fn at_most(samples: &[Sample], fault: Fault, metric: Metric, most: f64) -> Judged {
    let figure = Figure::of(samples, fault, Balancer::Evenkeel, metric);
    let wanted = match metric {
        Metric::FailedNew => "0".to_owned(),
        Metric::WatchGap | Metric::LongestNew | Metric::KeptGap | Metric::TickGap => {
            format!("<= {most:.2} s")
        }
    };
    Judged {
        title: format!("{}: {}", fault.name(), metric.title()),
        wanted,
        measured: figure.map(|figure| exact(figure.worst)).unwrap_or_default(),
        verdict: figure.map_or(Verdict::NotMeasured, |figure| {
            Verdict::of(figure.worst.value <= most && !figure.worst.open)
        }),
        flawed: figure.is_some_and(|figure| figure.flawed > 0),
    }
}

/// Whoever ends in good order ends its connections itself: none may be cut by evenkeel.
fn no_resets(samples: &[Sample], fault: Fault) -> Judged {
    let resets: Vec<u64> = of(samples, fault, Balancer::Evenkeel)
        .filter_map(|sample| sample.told.as_ref().map(|told| told.resets))
        .collect();
    let worst = resets.iter().max().copied();
    Judged {
        title: format!("{}: connections cut by evenkeel", fault.name()),
        wanted: "0".to_owned(),
        measured: worst.map(|worst| worst.to_string()).unwrap_or_default(),
        verdict: worst.map_or(Verdict::NotMeasured, |worst| Verdict::of(worst == 0)),
        flawed: false,
    }
}

/// An amount to the millisecond, so that what is judged is seen.
fn exact(amount: Amount) -> String {
    match amount.unit {
        Unit::Second if !amount.open => format!("{:.3} s", amount.value),
        Unit::Second | Unit::Connection => amount.text(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Told;
    use crate::sample::tests::sample;

    fn judged(samples: &[Sample], title: &str) -> Judged {
        judge(samples).into_iter().find(|judged| judged.title == title).unwrap()
    }

    #[test]
    fn the_worst_round_is_judged() {
        let title = "cut: worst gap of a watch";
        let of = |gaps: &[f64]| {
            let samples: Vec<Sample> =
                gaps.iter().map(|gap| sample(Balancer::Evenkeel, Fault::Cut, *gap, 0)).collect();
            judged(&samples, title)
        };
        assert_eq!(of(&[0.2, 0.6]).verdict, Verdict::Met);
        let missed = of(&[0.2, 0.601]);
        assert_eq!((missed.verdict, missed.measured.as_str()), (Verdict::Missed, "0.601 s"));
        assert_eq!(of(&[]).verdict, Verdict::NotMeasured);
    }

    #[test]
    fn a_single_failed_connection_is_too_many() {
        let title = "frozen: failed new connections";
        let of = |failed| {
            judged(&[sample(Balancer::Evenkeel, Fault::Frozen, 0.1, failed)], title).verdict
        };
        assert_eq!((of(0), of(1)), (Verdict::Met, Verdict::Missed));
    }

    #[test]
    fn without_samples_nothing_is_judged() {
        let all = judge(&[]);
        assert_eq!(all.len(), 9, "{all:?}");
        assert!(all.iter().all(|judged| judged.verdict == Verdict::NotMeasured), "{all:?}");
    }

    #[test]
    fn a_peer_is_not_judged() {
        let samples = [sample(Balancer::HaproxyTuned, Fault::Frozen, 0.1, 0)];
        assert!(judge(&samples).iter().all(|judged| judged.verdict == Verdict::NotMeasured));
    }

    #[test]
    fn a_graceful_end_is_nobodys_to_hasten() {
        let title = "terminated: connections cut by evenkeel";
        let mut sample = sample(Balancer::Evenkeel, Fault::Terminated, 0.1, 0);
        assert_eq!(judged(&[sample.clone()], title).verdict, Verdict::NotMeasured);
        sample.told = Some(Told { resets: 1, ..Told::default() });
        assert_eq!(judged(&[sample], title).verdict, Verdict::Missed);
    }
}
