//! What the samples come to: figures, each with its values by proxy.

use std::collections::BTreeMap;

use crate::load::{LOADS, Load, Unit};
use crate::measure::{CONNECTION, MEGABYTE, REQUEST, Results, Sample};
use crate::noise;
use crate::proxy::Proxy;
use crate::statistics::{Ratio, median};
use evenkeel_bench::number::float;

/// One row of the tables.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    /// `<load>.<metric>`, as targets name it.
    pub(crate) id: String,
    /// For people.
    pub(crate) title: String,
    /// What the values are in.
    pub(crate) unit: &'static str,
    /// Which way is better.
    pub(crate) better: Better,
    /// Whether it is counted and not sampled, so that one value says it all.
    pub(crate) exact: bool,
    /// Whether there are samples among them during which others used too much CPU.
    pub(crate) noisy: bool,
    /// The values of the usable samples by their round, or the one of round 0.
    pub(crate) values: BTreeMap<Proxy, Rounds>,
}

/// Values by the round in which they were taken.
pub(crate) type Rounds = BTreeMap<u32, f64>;

/// Which way is better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Better {
    /// Less.
    Less,
    /// More.
    More,
}

impl Figure {
    /// The median of a proxy's values, of the rounds that all have a value of if there are any: the
    /// machine may have been faster in those of only some.
    pub(crate) fn of(&self, proxy: Proxy) -> Option<f64> {
        let rounds = self.values.get(&proxy)?;
        let is_of_all = |round| self.values.values().all(|rounds| rounds.contains_key(round));
        let of_all = rounds.iter().filter(|(round, _)| is_of_all(round));
        let of_all: Vec<f64> = of_all.map(|(_, value)| *value).collect();
        median(&of_all).or_else(|| median(&rounds.values().copied().collect::<Vec<_>>()))
    }

    /// What a proxy has where `to` has its median: the median of `to`, of all its rounds, times how
    /// the proxy compares with it. It tells the same of both as their ratio, which two medians need
    /// not.
    pub(crate) fn beside(&self, proxy: Proxy, to: Proxy) -> Option<f64> {
        let of_it: Vec<f64> = self.values.get(&to)?.values().copied().collect();
        Some(self.ratio(proxy, to)?.value * median(&of_it)?)
    }

    /// How a proxy compares with another, round by round.
    pub(crate) fn ratio(&self, proxy: Proxy, to: Proxy) -> Option<Ratio> {
        Ratio::of(self.pairs(proxy, to))
    }

    /// In how many rounds both were measured.
    pub(crate) fn rounds(&self, proxy: Proxy, to: Proxy) -> usize {
        self.pairs(proxy, to).len()
    }

    fn pairs(&self, proxy: Proxy, to: Proxy) -> Vec<(f64, f64)> {
        let Some((values, to)) = self.values.get(&proxy).zip(self.values.get(&to)) else {
            return Vec::new();
        };
        values.iter().filter_map(|(round, value)| Some((*value, *to.get(round)?))).collect()
    }

    /// Which of some proxies is best.
    pub(crate) fn best(&self, of: &[Proxy]) -> Option<Proxy> {
        let known = of.iter().filter_map(|proxy| Some((*proxy, self.of(*proxy)?)));
        let best = match self.better {
            Better::Less => known.min_by(|(_, a), (_, b)| a.total_cmp(b)),
            Better::More => known.max_by(|(_, a), (_, b)| a.total_cmp(b)),
        };
        best.map(|(proxy, _)| proxy)
    }
}

/// All figures of a measurement, in the order of the loads.
pub(crate) fn figures(results: &Results) -> Vec<Figure> {
    let mut all = Vec::new();
    for load in LOADS {
        let samples: Vec<&Sample> = results
            .samples
            .iter()
            .filter(|sample| sample.load == load.name && sample.usable)
            .collect();
        all.extend(of_load(load, &samples));
    }
    for (what, title) in [
        (REQUEST, "system calls a request"),
        (CONNECTION, "system calls a connection"),
        (MEGABYTE, "system calls a MB"),
    ] {
        let unit = if what == MEGABYTE { 1e6 } else { 1.0 };
        let each = results.calls.iter().filter_map(|(proxy, calls)| {
            let calls = calls.get(what)?;
            let made = float(calls.calls.values().sum());
            Some((Proxy::named(proxy)?, once(made * unit / float(calls.count.max(1)))))
        });
        all.push(Figure {
            id: format!("calls.{what}"),
            title: title.to_owned(),
            unit: "calls",
            better: Better::Less,
            exact: true,
            noisy: false,
            values: each.collect(),
        });
    }
    let idle = |of: fn(&crate::stage::Idle) -> f64| {
        let each = results.idle.iter();
        each.filter_map(|(proxy, idle)| Some((Proxy::named(proxy)?, once(of(idle))))).collect()
    };
    all.push(Figure {
        id: "idle.bytes".to_owned(),
        title: "user memory an idle connection".to_owned(),
        unit: "B",
        better: Better::Less,
        exact: true,
        noisy: false,
        values: idle(|idle| idle.bytes),
    });
    all.push(Figure {
        id: "idle.descriptors".to_owned(),
        title: "descriptors an idle connection".to_owned(),
        unit: "fds",
        better: Better::Less,
        exact: true,
        noisy: false,
        values: idle(|idle| idle.descriptors),
    });
    all.retain(|figure| !figure.values.is_empty());
    all
}

/// What is only measured once.
fn once(value: f64) -> Rounds {
    BTreeMap::from([(0, value)])
}

fn of_load(load: &Load, samples: &[&Sample]) -> Vec<Figure> {
    let noisy = samples.iter().any(|sample| !noise::is_usable(sample.foreign));
    let figure = |metric: &str, what: &str, unit, better, of: &dyn Fn(&Sample) -> Option<f64>| {
        let mut values = BTreeMap::<Proxy, Rounds>::new();
        for sample in samples {
            if let Some((proxy, value)) = Proxy::named(sample.proxy).zip(of(sample)) {
                values.entry(proxy).or_default().insert(sample.round, value);
            }
        }
        Figure {
            id: format!("{}.{metric}", load.name),
            title: format!("{}: {what}", load.title),
            unit,
            better,
            exact: false,
            noisy,
            values,
        }
    };
    // Without a proxy there is no CPU of one.
    let cpu = |sample: &Sample| (sample.cpu > 0.0).then_some(sample.cpu);
    let (less, more) = (Better::Less, Better::More);
    let p50 = |sample: &Sample| sample.seen.latency.map(|latency| latency.p50);
    let p99 = |sample: &Sample| sample.seen.latency.map(|latency| latency.p99);
    match load.unit() {
        Unit::Gigabyte => vec![
            figure("cpu", "CPU", "s/GB", less, &cpu),
            figure("rate", "rate", "GB/s", more, &|sample| Some(sample.rate)),
        ],
        Unit::Request | Unit::Connection => vec![
            figure("cpu", "CPU", "us", less, &cpu),
            figure("rate", "rate", "/s", more, &|sample| Some(sample.rate)),
            figure("p50", "p50", "us", less, &p50),
            figure("p99", "p99", "us", less, &p99),
        ],
    }
}

#[cfg(test)]
impl Figure {
    /// One of CPU, for tests.
    pub(crate) fn example(values: impl IntoIterator<Item = (Proxy, Rounds)>) -> Self {
        Self {
            id: "ping.cpu".to_owned(),
            title: "ping: CPU".to_owned(),
            unit: "us",
            better: Better::Less,
            exact: false,
            noisy: false,
            values: values.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Spent;
    use crate::order::Seen;

    fn sample(proxy: &'static str, cpu: f64, usable: bool) -> Sample {
        let spent = Spent::default();
        let seen = Seen { count: 1, seconds: 1.0, latency: None, failed: 0, spent };
        Sample { load: "ping", proxy, round: 1, rate: 7.0, cpu, foreign: 0.0, usable, seen }
    }

    #[test]
    fn only_usable_samples_make_a_figure() {
        let samples = vec![
            sample("evenkeel", 10.0, true),
            sample("evenkeel", 99.0, false),
            sample("haproxy", 20.0, true),
            sample("direct", 0.0, true),
        ];
        let results = Results { samples, ..Results::default() };
        let figures = figures(&results);
        let cpu = figures.iter().find(|figure| figure.id == "ping.cpu").unwrap();
        assert_eq!(cpu.of(Proxy::Evenkeel), Some(10.0));
        assert_eq!(cpu.of(Proxy::Direct), None, "nothing has no CPU");
        let ratio = cpu.ratio(Proxy::Evenkeel, Proxy::Haproxy).map(|ratio| ratio.value);
        assert_eq!(ratio, Some(0.5));
        assert_eq!(cpu.best(&[Proxy::Evenkeel, Proxy::Haproxy]), Some(Proxy::Evenkeel));
        assert!(figures.iter().all(|figure| figure.id != "ping.p99"), "nobody took times");
    }

    #[test]
    fn proxies_are_compared_in_the_rounds_that_both_were_in() {
        let of = |rounds: &[(u32, f64)]| rounds.iter().copied().collect::<Rounds>();
        let values = [
            (Proxy::Evenkeel, of(&[(1, 10.0), (2, 40.0), (3, 12.0)])),
            (Proxy::Haproxy, of(&[(1, 20.0), (2, 80.0), (3, 24.0)])),
            (Proxy::Nginx, of(&[(1, 15.0), (3, 15.0)])),
            (Proxy::Envoy, of(&[])),
        ];
        let mut figure = Figure::example(values);
        assert_eq!(figure.rounds(Proxy::Evenkeel, Proxy::Haproxy), 3);
        assert_eq!(figure.rounds(Proxy::Evenkeel, Proxy::Nginx), 2);
        assert_eq!(figure.ratio(Proxy::Evenkeel, Proxy::Envoy), None);
        assert_eq!(figure.of(Proxy::Evenkeel), Some(12.0), "no round has all of them");
        figure.values.remove(&Proxy::Envoy);
        assert_eq!(figure.of(Proxy::Evenkeel), Some(11.0), "rounds 1 and 3 have all");
        assert_eq!(figure.beside(Proxy::Evenkeel, Proxy::Haproxy), Some(12.0), "half of 24");
    }
}
