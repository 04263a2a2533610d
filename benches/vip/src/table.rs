//! The tables for people.

use evenkeel_bench::text::aligned;

use crate::holder::Holder;
use crate::row::Row;
use crate::sample::Sample;
use crate::summary::{Metric, of};
use crate::target::Judged;

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

/// What must come out, and what did.
pub(crate) fn targets(judged: &[Judged]) -> String {
    let head = ["target for evenkeel", "wanted", "measured", "verdict"].map(str::to_owned).to_vec();
    let lines = judged.iter().map(|judged| {
        let Judged { title, wanted, measured, verdict, flawed } = judged;
        let flawed = if *flawed { " *" } else { "" };
        let verdict = format!("{}{flawed}", verdict.word());
        vec![title.clone(), wanted.clone(), measured.clone(), verdict]
    });
    aligned(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
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

    #[test]
    fn a_verdict_is_a_line() {
        let text = targets(&crate::target::judge(&[], &Row::ALL));
        assert!(text.starts_with("target for evenkeel"), "{text}");
        assert!(text.lines().skip(1).all(|line| line.ends_with("not measured")), "{text}");
    }
}
