//! What is printed and written in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use time::OffsetDateTime;

use crate::args::Options;
use crate::failed::{Doing, Failed};
use crate::figure::{Figure, figures};
use crate::measure::Results;
use crate::proxy::Proxy;
use crate::{picture, table, target};

/// All tables, as one text.
pub(crate) fn text(results: &Results, options: &Options) -> String {
    let figures = figures(results);
    let proxies = &options.proxies;
    let mut parts = vec![
        table::spread(&figures, proxies),
        table::ratios(&figures, proxies),
        table::absolutes(&figures, proxies),
        table::targets(&target::judge(&figures)),
    ];
    if let Some(resolution) = resolution(&figures) {
        parts.push(resolution);
    }
    parts.push(dropped(results));
    parts.join("\n")
}

/// Writes all samples to a file named after the time, and the picture if there is to be one.
pub(crate) fn write(results: &Results, options: &Options) -> Result<PathBuf, Failed> {
    let figures = figures(results);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-dataplane");
    fs::create_dir_all(&directory).doing(|| "make a directory for the result")?;
    let now = OffsetDateTime::now_utc();
    let name = format!("{}T{:02}{:02}{:02}Z.json", now.date(), now.hour(), now.minute(), now.second());
    let path = directory.join(name);
    let medians = figures.iter().map(|figure| {
        let values = figure.values.keys().filter_map(|proxy| Some((proxy.name(), figure.of(*proxy)?)));
        let values: serde_json::Map<String, serde_json::Value> =
            values.map(|(name, value)| (name.to_owned(), json!(value))).collect();
        (figure.id.clone(), json!({"unit": figure.unit, "medians": values}))
    });
    let medians: serde_json::Map<String, serde_json::Value> = medians.collect();
    let all = json!({
        "conditions": conditions(options),
        "figures": medians,
        "results": results,
    });
    let text = serde_json::to_string_pretty(&all).doing(|| "write the result as JSON")?;
    fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    if let Some(path) = &options.picture {
        fs::write(path, picture::draw(&figures)).doing(|| format!("write {}", path.display()))?;
    }
    Ok(path)
}

/// What the measurement ran on.
fn conditions(options: &Options) -> serde_json::Value {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let versions: serde_json::Map<String, serde_json::Value> = [
        ("haproxy", "haproxy", "-v"),
        ("nginx", "nginx", "-v"),
        ("evenkeel", options.evenkeel.to_str().unwrap_or("evenkeel"), "--version"),
        ("envoy", options.envoy.to_str().unwrap_or("envoy"), "--version"),
    ]
    .into_iter()
    .map(|(name, program, flag)| (name.to_owned(), json!(version(program, flag))))
    .collect();
    json!({
        "kernel": kernel.trim(),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "threads": options.threads,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": versions,
    })
}

/// The first line that a program says of its version. None: it is not here.
fn version(program: &str, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().find(|line| !line.is_empty()).map(str::to_owned)
}

/// How far the same binary under two names is apart. None: it was not measured twice.
fn resolution(figures: &[Figure]) -> Option<String> {
    let apart = figures.iter().filter_map(|figure| {
        let ratio = figure.ratio(Proxy::EvenkeelAgain, Proxy::Evenkeel)?;
        Some(((ratio.value - 1.0).abs(), figure))
    });
    let (most, figure) = apart.max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    let percent = most * 100.0;
    Some(format!(
        "Resolution: the same evenkeel under two names differs by up to {percent:.0} % ({}).\n",
        figure.id
    ))
}

/// How many samples were too noisy, and how many connections broke.
fn dropped(results: &Results) -> String {
    let all = results.samples.len();
    let noisy = results.samples.iter().filter(|sample| !sample.usable).count();
    let mut text = format!("{noisy} of {all} samples dropped: others used too much CPU.\n");
    for sample in &results.samples {
        if sample.seen.failed > 0 {
            let (failed, proxy) = (sample.seen.failed, sample.proxy);
            text.push_str(&format!("{failed} connections broke: {} on {proxy}.\n", sample.load));
        }
    }
    text
}
