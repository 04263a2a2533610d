//! What is printed and written in the end.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::args::Args;
use crate::balancer::{Balancer, Programs};
use crate::measure::Results;
use crate::summary::{Figure, Metric};
use crate::{table, target};
use evenkeel_bench::burn::cpus;
use evenkeel_bench::failed::Failed;
use evenkeel_bench::report::{self, kernel, version};
use evenkeel_bench::verdict;

/// All tables, as one text.
pub(crate) fn text(results: &Results, args: &Args) -> String {
    let samples = &results.samples;
    let parts = [
        head(args),
        table::figures(samples, &args.faults, &args.balancers),
        verdict::table(&target::judge(samples)),
        notes(results, args),
    ];
    parts.join("\n")
}

/// Writes all samples to a file that is named after the time.
pub(crate) fn write(results: &Results, args: &Args) -> Result<PathBuf, Failed> {
    let figures = args.faults.iter().flat_map(|fault| {
        let of = move |balancer: &Balancer| {
            let each = Metric::ALL.map(|metric| {
                let figure = Figure::of(&results.samples, *fault, *balancer, metric);
                (metric.title().to_owned(), json!(figure.map(Figure::text)))
            });
            let figures: serde_json::Map<String, Value> = each.into_iter().collect();
            json!({ "fault": fault.name(), "balancer": balancer.name(), "figures": figures })
        };
        args.balancers.iter().map(of)
    });
    let figures: Vec<Value> = figures.collect();
    report::write(
        "failover",
        "",
        &json!({
            "conditions": conditions(&args.balancers, &args.programs),
            "rounds": args.rounds,
            "busy": args.busy,
            "figures": figures,
            "results": results,
        }),
    )
}

/// What the measurement ran on.
pub(crate) fn conditions(balancers: &[Balancer], programs: &Programs) -> Value {
    let versions: serde_json::Map<String, Value> = versions(balancers, programs)
        .into_iter()
        .map(|(name, version)| (name.to_owned(), json!(version)))
        .collect();
    json!({ "kernel": kernel(), "cpus": cpus(), "versions": versions })
}

/// What the measurement ran on, in lines.
fn head(args: &Args) -> String {
    let mut lines = vec![format!("{} CPUs, Linux {}", cpus(), kernel())];
    lines.extend(versions(&args.balancers, &args.programs).into_iter().map(|(name, version)| {
        let version = version.unwrap_or_else(|| "not here".to_owned());
        format!("{name}: {version}")
    }));
    let load = "three API servers; a new TLS connection every 50 ms, nine kept with a request each \
                100 ms, nine watches, an event each 50 ms";
    lines.push(load.to_owned());
    if args.rounds > 1 {
        lines.push(format!("worst of {} rounds, and the median in brackets", args.rounds));
    }
    lines.join("\n") + "\n"
}

/// How many samples do not count, and what `*` means.
fn notes(results: &Results, args: &Args) -> String {
    let Results { samples, dropped, unsteady } = results;
    let mut lines = vec![format!(
        "{} samples; {} more dropped for a flaw (the ticks themselves stalled over 100 ms) and \
         {} not begun, and all of these taken again.",
        samples.len(),
        dropped.len(),
        unsteady.len(),
    )];
    let flawed = samples.iter().filter(|sample| sample.flaw.is_some()).count();
    if flawed > 0 && args.busy > 0 {
        lines.push(format!("* {flawed} samples have a flaw, as all CPUs were kept busy."));
    } else if flawed > 0 {
        lines.push(format!("* {flawed} samples had a flaw each time they were taken."));
    }
    lines.join("\n") + "\n"
}

/// The balancers with what their programs say of their versions. None: it is not here.
fn versions(balancers: &[Balancer], programs: &Programs) -> Vec<(&'static str, Option<String>)> {
    let version =
        |balancer: &Balancer| version(balancer.program(programs), balancer.version_argument());
    balancers.iter().map(|balancer| (balancer.name(), version(balancer))).collect()
}
