//! The tables for people.

use evenkeel_bench::text::aligned;

use crate::balancer::Balancer;
use crate::fault::Fault;
use crate::sample::Sample;
use crate::summary::{Figure, Metric};

/// What clients felt, a line a metric and a column a balancer.
pub(crate) fn figures(samples: &[Sample], faults: &[Fault], balancers: &[Balancer]) -> String {
    let names = balancers.iter().map(|balancer| balancer.name().to_owned());
    let mut rows = vec![std::iter::once(String::new()).chain(names).collect()];
    for fault in faults {
        rows.push(vec![fault.title().to_owned()]);
        for metric in Metric::ALL {
            let cells = balancers.iter().map(|balancer| {
                let figure = Figure::of(samples, *fault, *balancer, metric);
                figure.map_or_else(|| "-".to_owned(), Figure::text)
            });
            let title = format!("  {}", metric.title());
            rows.push(std::iter::once(title).chain(cells).collect());
        }
    }
    aligned(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    #[test]
    fn a_fault_is_a_heading_above_its_metrics() {
        let samples = [
            sample(Balancer::HaproxyTuned, Fault::Cut, 0.7, 1),
            sample(Balancer::Evenkeel, Fault::Cut, 12.0, 0),
        ];
        let balancers = [Balancer::HaproxyTuned, Balancer::EnvoyTuned, Balancer::Evenkeel];
        let expected = "
                                  haproxy-tuned  envoy-tuned  evenkeel
host cut off (no RST)
  worst gap of a watch            0.70 s         -            > 12 s
  failed new connections          1              -            0
  longest new connection          0.02 s         -            0.02 s
  worst gap of a kept connection  0.70 s         -            > 12 s
  control: gap of the ticks       0.06 s         -            0.06 s
";
        assert_eq!(format!("\n{}", figures(&samples, &[Fault::Cut], &balancers)), expected);
    }
}
