//! What is printed and written in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use time::OffsetDateTime;

use crate::args::Args;
use crate::failed::{Doing, Failed};
use crate::figure::{Figure, figures};
use crate::measure::Results;
use crate::proxy::Proxy;
use crate::statistics::median;
use crate::{picture, table, target};

/// All tables, as one text.
pub(crate) fn text(results: &Results, args: &Args) -> String {
    let figures = figures(results);
    let proxies = &args.proxies;
    let judged = target::judge(&figures);
    let parts = [
        head(args),
        table::ratios(&figures, proxies),
        table::absolutes(&figures, proxies),
        table::every_p99(&figures, proxies),
        table::targets(&judged) + &target::worse(&figures),
        resolution(&figures).unwrap_or_default() + &dropped(results),
    ];
    parts.join("\n")
}

/// Writes all samples to a file named after the time, and the picture if there is to be one.
pub(crate) fn write(results: &Results, args: &Args) -> Result<PathBuf, Failed> {
    let figures = figures(results);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-dataplane");
    fs::create_dir_all(&directory).doing(|| "make a directory for the result")?;
    let directory = directory.canonicalize().doing(|| "find the directory for the result")?;
    let now = OffsetDateTime::now_utc();
    let name =
        format!("{}T{:02}{:02}{:02}Z.json", now.date(), now.hour(), now.minute(), now.second());
    let path = directory.join(name);
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
    let text = serde_json::to_string_pretty(&all).doing(|| "write the result as JSON")?;
    fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    if let Some(path) = &args.picture {
        fs::write(path, picture::draw(&figures)).doing(|| format!("write {}", path.display()))?;
    }
    Ok(path)
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

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
}

/// The programs that were measured, with their versions.
fn versions(args: &Args) -> Vec<(&'static str, Option<String>)> {
    let of = |proxies: &[Proxy]| args.proxies.iter().any(|proxy| proxies.contains(proxy));
    let mut versions = Vec::new();
    if of(&[Proxy::Evenkeel, Proxy::EvenkeelAgain]) {
        versions.push(("evenkeel", version(&args.evenkeel, "--version")));
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

/// The first line that a program says of its version. None: it is not here.
fn version(program: &Path, argument: &str) -> Option<String> {
    let output = Command::new(program).arg(argument).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().find(|line| !line.is_empty()).map(str::to_owned)
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
fn dropped(results: &Results) -> String {
    let all = results.samples.len();
    let noisy = results.samples.iter().filter(|sample| !sample.usable).count();
    let broken = results.samples.iter().filter(|sample| sample.seen.failed > 0).map(|sample| {
        let (failed, load, proxy) = (sample.seen.failed, sample.load, sample.proxy);
        format!("{failed} connections broke: {load} on {proxy}.")
    });
    let noisy = format!("{noisy} of {all} samples dropped: others used too much CPU.");
    let lines: Vec<String> = std::iter::once(noisy).chain(broken).collect();
    lines.join("\n") + "\n"
}
