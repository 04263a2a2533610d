//! What is printed and written in the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use crate::args::Args;
use crate::holder::Holder;
use crate::kept::CLIENTS;
use crate::measure::Results;
use crate::prober::{EACH, PATIENCE};
use crate::sample::Sample;
use crate::{table, target};
use evenkeel_bench::burn::cpus;
use evenkeel_bench::failed::{Doing, Failed};

/// All tables, as one text.
pub(crate) fn text(results: &Results, args: &Args) -> String {
    let figures = table::figures(&results.samples, &args.rows, &args.holders);
    let mut parts = vec![head(args), figures, notes(results)];
    if args.holders.contains(&Holder::Evenkeel) {
        let judged = target::judge(&results.samples, &args.rows);
        parts.push(table::targets(&judged));
        parts.push(format!("evenkeel: {}\n", target::in_one_line(&judged)));
    }
    parts.join("\n")
}

/// Writes all samples to a file that is named after the time.
pub(crate) fn write(results: &Results, args: &Args) -> Result<PathBuf, Failed> {
    let versions: Map<String, Value> = versions(args)
        .into_iter()
        .map(|(name, version)| (name.to_owned(), json!(version)))
        .collect();
    let result = json!({
        "conditions": { "kernel": kernel(), "cpus": cpus(), "versions": versions },
        "runs": args.runs,
        "peerRuns": args.peer_runs,
        "atOnce": args.at_once,
        "results": results,
    });
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/bench-vip");
    fs::create_dir_all(&directory).doing(|| "make a directory for the result")?;
    let directory = directory.canonicalize().doing(|| "find the directory for the result")?;
    let now = OffsetDateTime::now_utc();
    let (date, hour, minute, second) = (now.date(), now.hour(), now.minute(), now.second());
    let path = directory.join(format!("{date}T{hour:02}{minute:02}{second:02}Z.json"));
    let text = serde_json::to_string_pretty(&result).doing(|| "write the result as JSON")?;
    fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// What the measurement ran on, in lines.
fn head(args: &Args) -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut lines = vec![format!("{} CPUs, Linux {}, load {}", cpus(), kernel(), load.trim())];
    lines.extend(versions(args).into_iter().map(|(name, version)| {
        format!("{name}: {}", version.unwrap_or_else(|| "not here".to_owned()))
    }));
    lines.push(format!(
        "a new TCP connection every {} ms, which fails after {} ms; {CLIENTS} kept that only listen",
        EACH.as_millis(),
        PATIENCE.as_millis(),
    ));
    let peers = match args.peer_runs {
        Some(runs) => format!(" of evenkeel, {runs} of its peers"),
        None => String::new(),
    };
    let at_once = match args.at_once {
        1 => "one sample after the other".to_owned(),
        many => format!("{many} samples at once"),
    };
    lines.push(format!("n = {}{peers}; {at_once}", args.runs));
    lines.push("times in ms; median/p95/worst; kept connections are of all runs together".into());
    lines.join("\n") + "\n"
}

/// How many samples do not count, and what `*` means.
fn notes(results: &Results) -> String {
    let Results { samples, dropped, unsteady } = results;
    let flawed = samples.iter().filter(|sample| sample.flaw.is_some()).count();
    let mut lines = vec![format!(
        "{} samples; {} more dropped for a flaw and {} not begun, and all of these taken again.",
        samples.len(),
        dropped.len(),
        unsteady.len(),
    )];
    if flawed > 0 {
        lines.push(format!("* {flawed} samples had a flaw each time they were taken:"));
    }
    lines.extend(samples.iter().filter_map(|sample| {
        let Sample { row, holder, run, flaw, .. } = sample;
        Some(format!("  {row}, {holder}, run {run}: {}", flaw.as_ref()?))
    }));
    lines.join("\n") + "\n"
}

fn kernel() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// The holders with what their programs say of their versions. None: it is not here.
fn versions(args: &Args) -> Vec<(&'static str, Option<String>)> {
    let version = |holder: &Holder| {
        let (program, argument) = holder.program(&args.programs);
        let output = Command::new(program).arg(argument).output().ok()?;
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
    };
    args.holders.iter().map(|holder| (holder.name(), version(holder))).collect()
}
