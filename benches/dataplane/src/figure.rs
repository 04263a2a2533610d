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
    /// The values of the usable samples, or the one.
    pub(crate) values: BTreeMap<Proxy, Vec<f64>>,
}

/// Which way is better.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Better {
    /// Less.
    Less,
    /// More.
    More,
}

impl Figure {
    /// The median of a proxy's values.
    pub(crate) fn of(&self, proxy: Proxy) -> Option<f64> {
        median(self.values.get(&proxy)?)
    }

    /// How a proxy compares with another.
    pub(crate) fn ratio(&self, proxy: Proxy, to: Proxy) -> Option<Ratio> {
        Ratio::of(self.values.get(&proxy)?, self.values.get(&to)?)
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
            Some((Proxy::named(proxy)?, vec![made * unit / float(calls.count.max(1))]))
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
        each.filter_map(|(proxy, idle)| Some((Proxy::named(proxy)?, vec![of(idle)]))).collect()
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

fn of_load(load: &Load, samples: &[&Sample]) -> Vec<Figure> {
    let noisy = samples.iter().any(|sample| !noise::is_usable(sample.foreign));
    let figure = |metric: &str, what: &str, unit, better, of: &dyn Fn(&Sample) -> Option<f64>| {
        let mut values = BTreeMap::<Proxy, Vec<f64>>::new();
        for sample in samples {
            if let Some((proxy, value)) = Proxy::named(sample.proxy).zip(of(sample)) {
                values.entry(proxy).or_default().push(value);
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
}
