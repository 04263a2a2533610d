//! The tables for people.

use evenkeel_bench::text::aligned;

use crate::holder::Holder;
use crate::row::Row;
use crate::sample::Sample;
use crate::summary::{Metric, of};

/// What was seen, a line a metric and a column a holder.
pub(crate) fn figures(samples: &[Sample], rows: &[Row], holders: &[Holder]) -> String {
    let names = holders.iter().map(|holder| holder.name().to_owned());
    let mut lines = vec![std::iter::once(String::new()).chain(names).collect()];
    for row in rows {
        lines.push(vec![format!("{}: {}", row.name, row.title())]);
        for metric in Metric::of_fault(row.fault) {
            let cells = holders.iter().map(|holder| {
                let samples = of(samples, *row, *holder);
                let flaw =
                    if samples.iter().any(|sample| sample.flaw.is_some()) { " *" } else { "" };
                let cell = metric.cell(&samples);
                cell.map_or_else(|| "-".to_owned(), |cell| cell + flaw)
            });
            let title = format!("  {}", metric.title());
            lines.push(std::iter::once(title).chain(cells).collect());
        }
    }
    aligned(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::tests::sample;

    #[test]
    fn a_row_is_a_heading_above_its_metrics() {
        let samples = [
            sample("load", Holder::KeepalivedDefault, 0.7, 1),
            sample("load", Holder::Evenkeel, 0.02, 0),
        ];
        let expected = "
                          keepalived-default  keepalived-tuned  evenkeel
load: all CPUs busy
  claims of the address   0/0/0               -                 0/0/0
  gap of new connections  700/700/700         -                 20/20/20
  failed new connections  1/1/1               -                 0/0/0
";
        let rows = [Row::named("load").unwrap()];
        assert_eq!(format!("\n{}", figures(&samples, &rows, &Holder::ALL)), expected);
    }
}
