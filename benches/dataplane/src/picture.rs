//! The result as a picture: a group of horizontal bars a figure, evenkeel beside its peers.

use std::fmt::Write;

use crate::figure::{Better, Figure};
use crate::proxy::Proxy;
use crate::table::plain;

/// Draws the figures that a reader asks for first. Its colours follow the reader's.
///
/// `caption` says below them what they were measured on.
pub(crate) fn draw(figures: &[Figure], caption: &str) -> String {
    let groups: Vec<Group> = SHOWN
        .iter()
        .filter_map(|(id, title)| {
            let figure = figures.iter().find(|figure| figure.id == *id)?;
            Group::new(title, figure)
        })
        .collect();
    let (left, right) = groups.split_at(groups.len().div_ceil(COLUMNS));
    let height = [left, right].map(|column| column.iter().map(Group::height).sum::<usize>());
    let below = TOP + height.into_iter().max().unwrap_or_default();
    let height = below + ROW;
    let body: String =
        [left, right].iter().zip([0, COLUMN]).map(|(groups, x)| column(groups, x)).collect();
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\" \
         aria-label=\"evenkeel beside other load balancers\">\n{STYLE}{body}\
         <text class=\"caption\" x=\"0\" y=\"{}\">{caption}</text>\n</svg>\n",
        below + 12
    )
}

/// Groups below each other, `x` from the left.
fn column(groups: &[Group], x: usize) -> String {
    let mut text = format!("<g transform=\"translate({x})\">\n");
    let mut y = TOP;
    for group in groups {
        text += &group.draw(y);
        y += group.height();
    }
    text + "</g>\n"
}

struct Group {
    title: String,
    unit: &'static str,
    bars: Vec<(Proxy, f64)>,
    longest: f64,
}

impl Group {
    fn new(title: &str, figure: &Figure) -> Option<Self> {
        let bars: Vec<(Proxy, f64)> =
            BARS.iter().filter_map(|proxy| Some((*proxy, length(figure, *proxy)?))).collect();
        let longest = bars.iter().map(|(_, value)| *value).max_by(f64::total_cmp)?;
        let way = match figure.better {
            Better::Less => "less is better",
            Better::More => "more is better",
        };
        let title = format!("{title} ({way})");
        (longest > 0.0).then_some(Self { title, unit: figure.unit, bars, longest })
    }

    fn height(&self) -> usize {
        TITLE + GAP + self.bars.len() * ROW
    }

    fn draw(&self, y: usize) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // Writing to a string cannot fail.
            writeln!(text, "{line}").unwrap_or_default();
        };
        line(format!("<text class=\"title\" x=\"0\" y=\"{}\">{}</text>", y + 14, self.title));
        let mut y = y + TITLE;
        for (proxy, value) in &self.bars {
            let width = value / self.longest * LONGEST;
            let class = if *proxy == Proxy::Evenkeel { "ours" } else { "peer" };
            let middle = y + 13;
            line(format!(
                "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{}</text>",
                LEFT - 8,
                label(*proxy)
            ));
            line(format!(
                "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"12\" rx=\"2\"/>",
                y + 3
            ));
            let end = LEFT_END + width;
            line(format!(
                "<text x=\"{end:.1}\" y=\"{middle}\">{}</text>",
                short(*value, self.unit)
            ));
            y += ROW;
        }
        text
    }
}

/// How long a bar is: beside HAProxy's where it was measured, so that both tell what their ratio does.
fn length(figure: &Figure, proxy: Proxy) -> Option<f64> {
    figure.beside(proxy, Proxy::Haproxy).or_else(|| figure.of(proxy))
}

/// A value as people say it.
fn short(value: f64, unit: &str) -> String {
    let (value, unit) = match unit {
        "us" if value >= 1000.0 => (value / 1000.0, "ms"),
        "us" => (value, "\u{b5}s"),
        "/s" => (value / 1000.0, "k/s"),
        "B" if value >= 1024.0 => (value / 1024.0, "KiB"),
        unit => (value, unit),
    };
    format!("{} {unit}", plain(value))
}

fn label(proxy: Proxy) -> &'static str {
    match proxy {
        Proxy::Direct => "no proxy",
        Proxy::Haproxy => "HAProxy",
        Proxy::Evenkeel => "evenkeel",
        Proxy::EvenkeelAgain => "evenkeel again",
        Proxy::HaproxySplice => "HAProxy, spliced",
        Proxy::HaproxyPinned => "HAProxy, pinned",
        Proxy::Nginx => "nginx",
        Proxy::Envoy => "Envoy",
    }
}

/// What is drawn, in this order.
const SHOWN: [(&str, &str); 8] = [
    ("down-32.cpu", "CPU a gigabyte, 32 connections"),
    ("down-32.rate", "Bulk, 32 connections"),
    ("ping.cpu", "CPU a request of 128 bytes"),
    ("ping.rate", "Requests of 128 bytes, 64 connections"),
    ("ping.p99", "99 of 100 requests are answered within"),
    ("connect.rate", "New connections"),
    ("connect.cpu", "CPU a new connection"),
    ("idle.bytes", "Memory an idle connection"),
];

const BARS: [Proxy; 5] =
    [Proxy::Evenkeel, Proxy::Haproxy, Proxy::HaproxySplice, Proxy::Nginx, Proxy::Envoy];

const COLUMNS: usize = 2;
const COLUMN: usize = 450;
const WIDTH: usize = 880;
const TOP: usize = 4;
const TITLE: usize = 22;
const ROW: usize = 18;
const GAP: usize = 14;
const LEFT: usize = 110;
const LEFT_END: f64 = 116.0;
const LONGEST: f64 = 230.0;

const STYLE: &str = "\
<style>
text { font: 12px system-ui, sans-serif; fill: #424a53 }
.title { font-weight: 600; fill: #1f2328 }
.caption { font-size: 11px }
.ours { fill: #0969da }
.peer { fill: #afb8c1 }
@media (prefers-color-scheme: dark) {
  text { fill: #9198a1 }
  .title { fill: #f0f6fc }
  .ours { fill: #4493f8 }
  .peer { fill: #484f58 }
}
</style>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_is_the_greatest_value() {
        let values = [(Proxy::Haproxy, [(1, 14.0)].into()), (Proxy::Evenkeel, [(1, 7.0)].into())];
        let figure = Figure::example(values);
        let svg = draw(&[figure], "2 CPUs");
        assert!(svg.contains("class=\"peer\" x=\"110\" y=\"47\" width=\"230.0\""), "{svg}");
        assert!(svg.contains("class=\"ours\" x=\"110\" y=\"29\" width=\"115.0\""), "{svg}");
        assert!(svg.contains(">7.00 \u{b5}s</text>") && svg.contains(">2 CPUs<"), "{svg}");
    }

    #[test]
    fn units_are_as_large_as_their_values() {
        assert_eq!(short(4536.0, "us"), "4.54 ms");
        assert_eq!(short(67_512.0, "/s"), "67.5 k/s");
        assert_eq!(short(17_529.0, "B"), "17.1 KiB");
        assert_eq!(short(512.0, "B"), "512 B");
    }

    #[test]
    fn what_was_not_measured_is_not_drawn() {
        assert!(!draw(&[], "").contains("<rect"));
    }
}
