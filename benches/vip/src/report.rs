//! What is printed and written in the end.

use std::fs;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

use crate::args::Args;
use crate::holder::Holder;
use crate::kept::CLIENTS;
use crate::measure::Results;
use crate::prober::{EACH, PATIENCE};
use crate::sample::Sample;
use crate::{table, target};
use evenkeel_bench::burn::cpus;
use evenkeel_bench::failed::Failed;
use evenkeel_bench::report::{self, kernel, version};
use evenkeel_bench::verdict;

/// All tables, as one text.
pub(crate) fn text(results: &Results, args: &Args) -> String {
    let figures = table::figures(&results.samples, &args.rows, &args.holders);
    let mut parts = vec![head(args), figures, notes(results)];
    if args.holders.contains(&Holder::Evenkeel) {
        let judged = target::judge(&results.samples, &args.rows);
        parts.push(verdict::table(&judged));
        parts.push(format!("evenkeel: {}\n", verdict::in_one_line(&judged)));
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
    report::write("vip", "", &result)
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
        many => format!("{many} samples of evenkeel at once"),
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

/// The holders with what their programs say of their versions. None: it is not here.
fn versions(args: &Args) -> Vec<(&'static str, Option<String>)> {
    let version = |holder: &Holder| {
        let (program, argument) = holder.program(&args.programs);
        version(&program, argument)
    };
    args.holders.iter().map(|holder| (holder.name(), version(holder))).collect()
}
