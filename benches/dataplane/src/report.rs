//! What is printed and written in the end.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::Args;
use crate::figure::{Figure, figures};
use crate::measure::Results;
use crate::proxy::Proxy;
use crate::statistics::median;
use crate::{noise, picture, table, target};
use evenkeel_bench::burn::cpus;
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::report::{self, kernel, version};

/// All tables, as one text.
pub(crate) fn text(results: &Results, args: &Args) -> String {
    let figures = figures(results);
    let proxies = &args.proxies;
    let judged = target::judge(&figures);
    let mut parts = vec![head(args)];
    if proxies.contains(&Proxy::Haproxy) {
        parts.push(table::ratios(&figures, proxies, Proxy::Haproxy));
    }
    if args.again.is_some() {
        parts.push(table::ratios(&figures, &[Proxy::EvenkeelAgain], Proxy::Evenkeel));
    }
    parts.push(table::absolutes(&figures, proxies));
    parts.extend(table::each_p99(&figures, proxies));
    parts.push(table::targets(&judged) + &target::worse(&figures));
    let resolution = resolution(&figures).filter(|_| args.again.is_none());
    parts.push(resolution.unwrap_or_default() + &noise(results));
    parts.join("\n")
}

/// Writes all samples to a file named after the time, and the picture if there is to be one.
pub(crate) fn write(results: &Results, args: &Args) -> Result<PathBuf, Failed> {
    let figures = figures(results);
    let medians = figures.iter().map(|figure| {
        let values =
            figure.values.keys().filter_map(|proxy| Some((proxy.name(), figure.of(*proxy)?)));
        let values: serde_json::Map<String, serde_json::Value> =
            values.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        (figure.id.clone(), json!({"unit": figure.unit, "medians": values}))
    });
    let medians: serde_json::Map<String, serde_json::Value> = medians.collect();
    let all = json!({
        "conditions": conditions(args),
        "figures": medians,
        "results": results,
    });
    let kept = report::write("dataplane", "", &all)?;
    if let Some(path) = &args.picture {
        fs::write(path, picture::draw(&figures, &caption(args)))
            .doing(|| format!("write {}", path.display()))?;
    }
    Ok(kept)
}

/// What the measurement ran on, in lines.
fn head(args: &Args) -> String {
    let kernel = kernel();
    let lines = std::iter::once(format!("{} CPUs, Linux {kernel}", cpus()));
    let versions = versions(args).into_iter().map(|(name, version)| {
        let version = version.unwrap_or_else(|| "not here".to_owned());
        format!("{name}: {version}")
    });
    let lines: Vec<String> = lines.chain(versions).collect();
    lines.join("\n") + "\n"
}

/// What the measurement ran on, in one line.
fn caption(args: &Args) -> String {
    let machine = format!("{} CPUs, {} threads each, loopback", cpus(), args.threads);
    let versions = versions(args).into_iter().filter_map(|(name, version)| {
        let version = version?;
        Some(format!("{name} {}", number_in(&version)?))
    });
    let noisy = args.noisy.then(|| "noisy samples counted too".to_owned());
    let parts: Vec<String> = std::iter::once(machine).chain(versions).chain(noisy).collect();
    parts.join("; ")
}

/// The number in what a program says of its version.
fn number_in(version: &str) -> Option<&str> {
    let mut words = version.split(|c: char| !c.is_ascii_digit() && c != '.');
    words.find(|word| word.trim_matches('.').contains('.')).map(|word| word.trim_matches('.'))
}

/// What the measurement ran on.
fn conditions(args: &Args) -> serde_json::Value {
    let versions = versions(args).into_iter();
    let versions: serde_json::Map<String, serde_json::Value> =
        versions.map(|(name, version)| (name.to_owned(), json!(version))).collect();
    json!({
        "kernel": kernel(),
        "cpus": cpus(),
        "threads": args.threads,
        "rounds": args.rounds,
        "seconds": args.seconds,
        "versions": versions,
    })
}

/// The programs that were measured, with their versions.
fn versions(args: &Args) -> Vec<(&'static str, Option<String>)> {
    let of = |proxies: &[Proxy]| args.proxies.iter().any(|proxy| proxies.contains(proxy));
    let mut versions = Vec::new();
    if of(&[Proxy::Evenkeel, Proxy::EvenkeelAgain]) {
        versions.push(("evenkeel", version(&args.evenkeel, "--version")));
    }
    if let Some(again) = args.again.as_ref().filter(|_| of(&[Proxy::EvenkeelAgain])) {
        versions.push(("evenkeel-again", version(again, "--version")));
    }
    if of(&[Proxy::Haproxy, Proxy::HaproxySplice, Proxy::HaproxyPinned]) {
        versions.push(("haproxy", version(Path::new("haproxy"), "-v")));
    }
    if of(&[Proxy::Nginx]) {
        versions.push(("nginx", version(Path::new("nginx"), "-v")));
    }
    if of(&[Proxy::Envoy]) {
        versions.push(("envoy", version(&args.envoy, "--version")));
    }
    versions
}

/// How far the same binary under two names is apart. None: it was not measured twice.
fn resolution(figures: &[Figure]) -> Option<String> {
    let apart = figures.iter().filter(|figure| !figure.exact).filter_map(|figure| {
        let ratio = figure.ratio(Proxy::EvenkeelAgain, Proxy::Evenkeel)?;
        Some(((ratio.value - 1.0).abs() * 100.0, figure))
    });
    let apart: Vec<(f64, &Figure)> = apart.collect();
    let (most, figure) = apart.iter().max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let all: Vec<f64> = apart.iter().map(|(percent, _)| *percent).collect();
    let middle = median(&all)?;
    Some(format!(
        "Resolution: the same evenkeel under two names differs by {middle:.0} % in the middle and \
         up to {most:.0} % ({}).\n",
        figure.id
    ))
}

/// How many samples were too noisy, and how many connections broke.
fn noise(results: &Results) -> String {
    let all = results.samples.len();
    let count = |usable| {
        let noisy = results.samples.iter().filter(|sample| !noise::is_usable(sample.foreign));
        noisy.filter(|sample| sample.usable == usable).count()
    };
    let (dropped, counted) = (count(false), count(true));
    let mut lines = vec![format!("{dropped} of {all} samples dropped: others used too much CPU.")];
    if counted > 0 {
        lines.push(format!(
            "{counted} of {all} samples counted all the same: CPU is roughly right, rates and times \
             are not."
        ));
    }
    lines.extend(results.samples.iter().filter(|sample| sample.seen.failed > 0).map(|sample| {
        let (failed, load, proxy) = (sample.seen.failed, sample.load, sample.proxy);
        format!("{failed} connections broke: {load} on {proxy}.")
    }));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_program_says_its_version_its_own_way() {
        for (said, number) in [
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12"),
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("envoy  version: 0a1b22c/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("evenkeel 0.1.0", "0.1.0"),
        ] {
            assert_eq!(number_in(said), Some(number));
        }
        assert_eq!(number_in("nothing."), None);
    }
}
