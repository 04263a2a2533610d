//! The tables for people.

use crate::figure::Figure;
use crate::proxy::Proxy;
use crate::target::Judged;
use evenkeel_bench::text::aligned;

/// Ratios to one proxy, with where they lie with a confidence of 95 %.
pub(crate) fn ratios(figures: &[Figure], proxies: &[Proxy], to: Proxy) -> String {
    let shown: Vec<Proxy> = proxies.iter().copied().filter(|proxy| *proxy != to).collect();
    let cell = |figure: &Figure, proxy: Proxy| match figure.ratio(proxy, to) {
        None => "-".to_owned(),
        Some(ratio) => match ratio.interval {
            None => format!("{:.2}", ratio.value),
            Some((low, high)) => format!("{:.2} [{low:.2}-{high:.2}]", ratio.value),
        },
    };
    let corner = format!("x {}", to.title());
    by_proxy(figures, &shown, &corner, |figure| figure.title.clone(), cell)
}

/// The medians themselves.
pub(crate) fn absolutes(figures: &[Figure], proxies: &[Proxy]) -> String {
    let cell = |figure: &Figure, proxy: Proxy| match figure.of(proxy) {
        None => "-".to_owned(),
        Some(value) => plain(value),
    };
    let title = |figure: &Figure| format!("{}, {}", figure.title, figure.unit);
    by_proxy(figures, proxies, "absolute", title, cell)
}

/// The p99 from the least to the greatest, since those of one proxy may lie in two heaps, which a
/// median hides; of many some, as far apart as one another. None: there is not one.
pub(crate) fn each_p99(figures: &[Figure], proxies: &[Proxy]) -> Option<String> {
    let cell = |figure: &Figure, proxy: Proxy| {
        let values = figure.values.get(&proxy).into_iter().flat_map(|rounds| rounds.values());
        let mut values: Vec<f64> = values.copied().collect();
        values.sort_unstable_by(f64::total_cmp);
        let shown: Vec<String> = some(&values).into_iter().map(plain).collect();
        if shown.is_empty() { "-".to_owned() } else { shown.join(" ") }
    };
    let title = |figure: &Figure| format!("{}, {}", figure.title, figure.unit);
    let is_p99 = |figure: &&Figure| figure.id.rsplit('.').next() == Some("p99");
    let shown: Vec<Figure> = figures.iter().filter(is_p99).cloned().collect();
    (!shown.is_empty()).then(|| by_proxy(&shown, proxies, "each p99", title, cell))
}

/// The least, the greatest, and some between them.
fn some(sorted: &[f64]) -> Vec<f64> {
    let last = sorted.len().saturating_sub(1);
    let steps = last.min(SOME - 1);
    (0..=steps).filter_map(|step| sorted.get(step * last / steps.max(1)).copied()).collect()
}

/// Values of one row that can be read side by side.
const SOME: usize = 9;

/// What must come out, and what did.
pub(crate) fn targets(judged: &[Judged]) -> String {
    let head =
        ["target", "must", "aim", "measured", "rounds", "verdict"].map(str::to_owned).to_vec();
    let rows = judged.iter().map(|judged| {
        let (must, aim) = judged.wanted.clone();
        let noisy = if judged.noisy { ", but noisy" } else { "" };
        let verdict = format!("{}{noisy}", judged.verdict.word());
        let rounds = judged.rounds.map(|rounds| rounds.to_string()).unwrap_or_default();
        vec![judged.title.to_owned(), must, aim, judged.measured.clone(), rounds, verdict]
    });
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn by_proxy(
    figures: &[Figure],
    proxies: &[Proxy],
    corner: &str,
    title: impl Fn(&Figure) -> String,
    cell: impl Fn(&Figure, Proxy) -> String,
) -> String {
    let names = proxies.iter().map(|proxy| proxy.name().to_owned());
    let head = std::iter::once(corner.to_owned()).chain(names).collect();
    let rows = figures.iter().map(|figure| {
        let cells = proxies.iter().map(|proxy| cell(figure, *proxy));
        std::iter::once(title(figure)).chain(cells).collect()
    });
    aligned(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// Three digits that count.
pub(crate) fn plain(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        Figure::example([
            (Proxy::Haproxy, [(1, 14.0)].into()),
            (Proxy::Evenkeel, [(1, 7.0)].into()),
        ])
    }

    #[test]
    fn of_many_some_are_shown_and_the_ends_always() {
        let sorted: Vec<f64> = (1..=100).map(f64::from).collect();
        let shown = some(&sorted);
        assert_eq!((shown.len(), shown.first(), shown.last()), (SOME, Some(&1.0), Some(&100.0)));
        assert_eq!(some(&sorted[..3]), [1.0, 2.0, 3.0]);
        assert_eq!(some(&sorted[..1]), [1.0]);
        assert!(some(&[]).is_empty());
    }

    #[test]
    fn ratios_leave_out_who_they_are_to() {
        let proxies = [Proxy::Haproxy, Proxy::Evenkeel, Proxy::Envoy];
        let expected = "\
x HAProxy, no splice  evenkeel  envoy
ping: CPU             0.50      -
";
        let text = ratios(&[figure()], &proxies, Proxy::Haproxy);
        assert_eq!(text, expected);
    }

    #[test]
    fn absolutes_have_their_unit() {
        let text = absolutes(&[figure()], &[Proxy::Haproxy, Proxy::Evenkeel]);
        assert_eq!(text, "absolute       haproxy  evenkeel\nping: CPU, us  14.0     7.00\n");
    }

    #[test]
    fn three_digits_count() {
        assert_eq!([0.1234, 5.678, 14.32, 67_512.4].map(plain), ["0.123", "5.68", "14.3", "67512"]);
    }
}
