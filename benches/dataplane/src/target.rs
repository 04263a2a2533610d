//! What must come out, against HAProxy 2.6 without splicing in the same run.

use crate::figure::{Better, Figure};
use crate::load::Load;
use crate::proxy::Proxy;
use crate::statistics::Ratio;

/// One line of the table of targets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    title: &'static str,
    figure: &'static str,
    against: Against,
    better: Better,
    must: f64,
    aim: f64,
}

/// What a value is divided by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Against {
    /// HAProxy's.
    Haproxy,
    /// What there is without a proxy.
    Direct,
    /// Nothing.
    Nothing,
}

impl Against {
    /// The proxy whose value it is.
    fn proxy(self) -> Option<Proxy> {
        match self {
            Self::Haproxy => Some(Proxy::Haproxy),
            Self::Direct => Some(Proxy::Direct),
            Self::Nothing => None,
        }
    }
}

/// How a target was met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// As good as we want it.
    Aim,
    /// Good enough.
    Met,
    /// Not good enough.
    Missed,
    /// There is no figure.
    NotMeasured,
}

impl Verdict {
    /// The word in the table.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Aim => "met, aim too",
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A target with what was measured.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    /// What it is about.
    pub(crate) title: &'static str,
    /// What must be reached, and what we want.
    pub(crate) wanted: (String, String),
    /// What was measured.
    pub(crate) measured: String,
    /// In how many rounds. None: it is counted, or there is no figure.
    pub(crate) rounds: Option<usize>,
    /// How that was.
    pub(crate) verdict: Verdict,
    /// Whether it is of noisy samples, and so worth little.
    pub(crate) noisy: bool,
}

impl Target {
    fn figure<'a>(&self, figures: &'a [Figure]) -> Option<&'a Figure> {
        figures.iter().find(|figure| figure.id == self.figure)
    }

    /// Whether further rounds would say more about it: its ratio is not known to within `share`, nor
    /// surely on one side of what must be reached.
    fn is_open(&self, figures: &[Figure], share: f64) -> bool {
        let Some((figure, to)) = self.figure(figures).zip(self.against.proxy()) else {
            return false;
        };
        let Some(ratio) = figure.ratio(Proxy::Evenkeel, to) else { return false };
        let is_known = ratio.is_within(share) || ratio.is_surely_not(self.must);
        figure.rounds(Proxy::Evenkeel, to) < LEAST || !is_known
    }

    fn judge(&self, figures: &[Figure]) -> Judged {
        let figure = self.figure(figures);
        let compared = figure.zip(self.against.proxy());
        let ratio = compared.and_then(|(figure, to)| figure.ratio(Proxy::Evenkeel, to));
        let rounds = compared.map(|(figure, to)| figure.rounds(Proxy::Evenkeel, to));
        let interval = ratio.and_then(|ratio| ratio.interval);
        let value = match self.against {
            Against::Haproxy | Against::Direct => ratio.map(|ratio| ratio.value),
            Against::Nothing => figure.and_then(|figure| figure.of(Proxy::Evenkeel)),
        };
        let sign = if self.better == Better::Less { "<=" } else { ">=" };
        let number = |value: f64| match self.against {
            Against::Haproxy | Against::Direct => format!("{value:.2}"),
            Against::Nothing if value >= 100.0 => format!("{value:.0}"),
            Against::Nothing => format!("{value:.1}"),
        };
        let interval = interval.map(|(low, high)| format!(" [{low:.2}-{high:.2}]"));
        Judged {
            title: self.title,
            wanted: (
                format!("{sign} {}", number(self.must)),
                format!("{sign} {}", number(self.aim)),
            ),
            measured: value.map(number).unwrap_or_default() + &interval.unwrap_or_default(),
            rounds,
            verdict: value.map_or(Verdict::NotMeasured, |value| self.verdict(value)),
            noisy: figure.is_some_and(|figure| figure.noisy),
        }
    }

    fn verdict(&self, value: f64) -> Verdict {
        let reaches = |limit: f64| match self.better {
            Better::Less => value <= limit,
            Better::More => value >= limit,
        };
        match (reaches(self.aim), reaches(self.must)) {
            (true, _) => Verdict::Aim,
            (false, true) => Verdict::Met,
            (false, false) => Verdict::Missed,
        }
    }
}

/// Whether further rounds of a load would say more about a target: one of its ratios is not known to
/// within `share`, nor surely on one side of what must be reached.
pub(crate) fn is_open(load: &Load, figures: &[Figure], share: f64) -> bool {
    TARGETS
        .iter()
        .filter(|target| target.figure.split_once('.').is_some_and(|(of, _)| of == load.name))
        .any(|target| target.is_open(figures, share))
}

/// Judges all targets.
pub(crate) fn judge(figures: &[Figure]) -> Vec<Judged> {
    let mut judged: Vec<Judged> = TARGETS.iter().map(|target| target.judge(figures)).collect();
    judged.push(against_the_others(figures));
    judged
}

/// No figure may be surely worse than the best of nginx and Envoy.
fn against_the_others(figures: &[Figure]) -> Judged {
    let compared: Vec<Worse<'_>> = figures.iter().filter_map(Worse::than_the_others).collect();
    let worse = compared.iter().filter(|worse| worse.is_sure()).count();
    let verdict = match (compared.len(), worse) {
        (0, _) => Verdict::NotMeasured,
        (_, 0) => Verdict::Aim,
        _ => Verdict::Missed,
    };
    let measured = match verdict {
        Verdict::NotMeasured => String::new(),
        Verdict::Aim | Verdict::Met | Verdict::Missed => format!("{worse} of {}", compared.len()),
    };
    Judged {
        title: "figures worse than the best of nginx and Envoy",
        wanted: ("none".to_owned(), "none".to_owned()),
        measured,
        rounds: None,
        verdict,
        noisy: compared.iter().any(|worse| worse.figure.noisy),
    }
}

/// The figures that are surely worse than the best of nginx and Envoy, a line each.
pub(crate) fn worse(figures: &[Figure]) -> String {
    let all = figures.iter().filter_map(Worse::than_the_others).filter(Worse::is_sure);
    all.fold(String::new(), |text, Worse { figure, best, ratio }| {
        let (best, title, ratio) = (best.name(), &figure.title, ratio.value);
        text + &format!("worse than {best}: {title} (x {ratio:.2})\n")
    })
}

/// How a figure compares with the best of nginx and Envoy; above 1 is worse, either way.
struct Worse<'a> {
    figure: &'a Figure,
    best: Proxy,
    ratio: Ratio,
}

impl<'a> Worse<'a> {
    /// None: it was not measured, or not often enough to tell.
    fn than_the_others(figure: &'a Figure) -> Option<Self> {
        let best = figure.best(&[Proxy::Nginx, Proxy::Envoy])?;
        let ratio = match figure.better {
            Better::Less => figure.ratio(Proxy::Evenkeel, best),
            Better::More => figure.ratio(best, Proxy::Evenkeel),
        }?;
        (figure.exact || ratio.interval.is_some()).then_some(Self { figure, best, ratio })
    }

    fn is_sure(&self) -> bool {
        self.ratio.is_surely_above(SAME)
    }
}

/// Rounds from which on an interval is believed.
const LEAST: usize = 8;

/// A difference in the last digit of an exact count is none.
const SAME: f64 = 1.01;

const fn target(
    title: &'static str,
    figure: &'static str,
    better: Better,
    ends: [f64; 2],
) -> Target {
    let [must, aim] = ends;
    Target { title, figure, against: Against::Haproxy, better, must, aim }
}

const fn against(against: Against, target: Target) -> Target {
    Target { against, ..target }
}

const LESS: Better = Better::Less;
const MORE: Better = Better::More;

/// All targets.
const TARGETS: [Target; 13] = [
    target("bulk down, CPU a GB, 32 connections", "down-32.cpu", LESS, [0.25, 0.19]),
    target("bulk up, CPU a GB, 32 connections", "up-32.cpu", LESS, [0.25, 0.19]),
    against(
        Against::Direct,
        target("bulk down, share of direct, 32 connections", "down-32.rate", MORE, [0.70, 0.80]),
    ),
    against(
        Against::Direct,
        target("bulk up, share of direct, 32 connections", "up-32.rate", MORE, [0.70, 0.80]),
    ),
    target("128 B request, CPU", "ping.cpu", LESS, [0.95, 0.85]),
    target("128 B request, rate", "ping.rate", MORE, [1.03, 1.16]),
    target("128 B request, p99", "ping.p99", LESS, [1.0, 0.80]),
    target("connect-request-close, rate", "connect.rate", MORE, [1.05, 1.13]),
    target("connect-request-close, CPU", "connect.cpu", LESS, [0.93, 0.83]),
    against(
        Against::Nothing,
        target("user memory an idle connection, B", "idle.bytes", LESS, [1536.0, 512.0]),
    ),
    against(Against::Nothing, target("system calls a request", "calls.request", LESS, [4.5, 4.3])),
    against(
        Against::Nothing,
        target("system calls a connection", "calls.connection", LESS, [21.5, 17.0]),
    ),
    against(Against::Nothing, target("system calls a MB", "calls.megabyte", LESS, [10.0, 8.0])),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(id: &str, better: Better, values: &[(Proxy, f64)]) -> Figure {
        let thrice = |value| (1..=3).map(|round| (round, value)).collect();
        let values = values.iter().map(|(proxy, value)| (*proxy, thrice(*value)));
        let (id, title) = (id.to_owned(), id.to_owned());
        Figure { id, title, better, ..Figure::example(values) }
    }

    fn judged(figures: &[Figure], title: &str) -> Judged {
        judge(figures).into_iter().find(|judged| judged.title == title).unwrap()
    }

    #[test]
    fn a_ratio_is_judged_against_haproxy() {
        let with = |value| {
            let values = [(Proxy::Evenkeel, value), (Proxy::Haproxy, 10.0)];
            judged(&[figure("ping.cpu", LESS, &values)], "128 B request, CPU").verdict
        };
        assert_eq!(
            [with(8.5), with(9.0), with(9.6)],
            [Verdict::Aim, Verdict::Met, Verdict::Missed]
        );
    }

    #[test]
    fn throughput_is_judged_against_nothing_between() {
        let values = [(Proxy::Evenkeel, 7.5), (Proxy::Haproxy, 1.0), (Proxy::Direct, 10.0)];
        let figures = [figure("down-32.rate", MORE, &values)];
        let judged = judged(&figures, "bulk down, share of direct, 32 connections");
        assert_eq!(judged.verdict, Verdict::Met);
        assert_eq!(judged.measured, "0.75 [0.75-0.75]");
    }

    #[test]
    fn an_absolute_figure_needs_no_peer() {
        let figures = [figure("idle.bytes", LESS, &[(Proxy::Evenkeel, 500.0)])];
        assert_eq!(judged(&figures, "user memory an idle connection, B").verdict, Verdict::Aim);
        assert_eq!(judged(&figures, "system calls a MB").verdict, Verdict::NotMeasured);
    }

    #[test]
    fn worse_than_the_better_of_the_others_is_named() {
        let title = "figures worse than the best of nginx and Envoy";
        let values = [(Proxy::Evenkeel, 5.0), (Proxy::Nginx, 9.0), (Proxy::Envoy, 4.0)];
        let less = [figure("calls.megabyte", LESS, &values)];
        assert_eq!(judged(&less, title).measured, "1 of 1");
        assert_eq!(worse(&less), "worse than envoy: calls.megabyte (x 1.25)\n");
        let more = [figure("ping.rate", MORE, &values)];
        assert_eq!(judged(&more, title).verdict, Verdict::Missed);
        assert_eq!(worse(&more), "worse than nginx: ping.rate (x 1.80)\n");
        assert_eq!(judged(&[], title).verdict, Verdict::NotMeasured);
    }

    #[test]
    fn one_sample_proves_nothing_but_one_count_does() {
        let once = |value| [(1, value)].into();
        let values = [(Proxy::Evenkeel, once(5.0)), (Proxy::Nginx, once(4.0))].into();
        let sampled = Figure { values, ..figure("ping.cpu", LESS, &[]) };
        let counted = Figure { exact: true, ..sampled.clone() };
        assert_eq!(worse(&[sampled]), "");
        assert_eq!(worse(&[counted]), "worse than nginx: ping.cpu (x 1.25)\n");
    }

    #[test]
    fn rounds_go_on_until_a_ratio_is_known_or_surely_on_one_side() {
        let ping = Load::named("ping").unwrap();
        let open = |value: f64, swing: f64, rounds: u32| {
            let swung = |round: u32| {
                value * if round.is_multiple_of(2) { 1.0 + swing } else { 1.0 - swing }
            };
            let ours = (0..rounds).map(|round| (round, swung(round))).collect();
            let theirs = (0..rounds).map(|round| (round, 1.0)).collect();
            let values = [(Proxy::Evenkeel, ours), (Proxy::Haproxy, theirs)].into();
            let figure = Figure { values, ..figure("ping.cpu", LESS, &[]) };
            is_open(ping, &[figure], 0.02)
        };
        assert!(open(0.94, 0.1, 12), "either side of 0.95");
        assert!(!open(0.94, 0.01, 12), "well known");
        assert!(!open(0.6, 0.1, 12), "below 0.95 in any case");
        assert!(open(0.6, 0.01, 7), "too few rounds");
        let alone = figure("ping.cpu", LESS, &[(Proxy::Evenkeel, 1.0)]);
        assert!(!is_open(ping, &[alone], 0.02), "nothing to compare with");
        assert!(!is_open(Load::named("open").unwrap(), &[], 0.02), "no target is about it");
    }

    #[test]
    fn every_target_is_about_a_figure_that_is_measured() {
        for target in TARGETS {
            let (load, _) = target.figure.split_once('.').unwrap();
            let known = Load::named(load).is_some_and(|load| load.in_a_minute);
            assert!(known || ["idle", "calls"].contains(&load), "{}", target.figure);
        }
    }
}
