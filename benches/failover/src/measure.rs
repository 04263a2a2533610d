//! The whole measurement: every fault behind every balancer in turn, round after round.

use std::io::Write;
use std::time::Duration;

use serde::Serialize;

use crate::args::Args;
use crate::balancer::Balancer;
use crate::fault::Fault;
use crate::sample::{Sample, Subject};
use crate::site::{Manner, NotTaken, Site};
use evenkeel_bench::failed::Failed;
use evenkeel_bench::report::{in_turn, tell};

/// All that was measured.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Results {
    /// Those that count, in the order in which they were taken.
    pub(crate) samples: Vec<Sample>,
    /// Those that were dropped for a flaw, and taken again.
    pub(crate) dropped: Vec<Sample>,
    /// Why samples were not taken at all, each tried again as well.
    pub(crate) unsteady: Vec<String>,
}

/// Measures what is asked for into `results`; `progress` gets a line now and then.
pub(crate) fn run(
    args: &Args,
    results: &mut Results,
    progress: &mut impl Write,
) -> Result<(), Failed> {
    tell(progress, "starting the control plane")?;
    let mut site = Site::start(&args.balancers, &args.programs)?;
    for round in 1..=args.rounds {
        for (place, fault) in args.faults.iter().enumerate() {
            for balancer in in_turn(&args.balancers, round, place) {
                let subject = Subject { balancer, fault: *fault, round };
                let sample = take(&mut site, args, subject, results, progress)?;
                results.samples.extend(sample);
            }
        }
    }
    Ok(())
}

/// Takes a sample until it has no flaw; the one with the least, if all have one.
fn take(
    site: &mut Site,
    args: &Args,
    subject: Subject,
    results: &mut Results,
    progress: &mut impl Write,
) -> Result<Option<Sample>, Failed> {
    let Subject { balancer, fault, round } = subject;
    let what = format!("round {round}/{}: {}, {}", args.rounds, fault.name(), balancer.name());
    let observe = observed(balancer, fault, args.observe);
    let manner = Manner { observe, busy: args.busy };
    let mut best: Option<Sample> = None;
    for _ in 0..args.attempts {
        let sample = match site.sample(subject, manner) {
            Ok(sample) => sample,
            Err(NotTaken::Failed(failed)) => return Err(failed),
            Err(NotTaken::Unsteady(why)) => {
                tell(progress, &format!("{what}: not steady: {why}"))?;
                results.unsteady.push(format!("{what}: {why}"));
                continue;
            }
        };
        tell(progress, &format!("{what}: {}", brief(&sample)))?;
        let is_last = sample.flaw.is_none() || args.busy > 0;
        // A flaw that is the ticks' is the smaller, the shorter it is.
        let (kept, dropped) = match best {
            Some(best) if sample.flaw.is_some() && best.tick_gap <= sample.tick_gap => {
                (best, Some(sample))
            }
            best => (sample, best),
        };
        results.dropped.extend(dropped);
        best = Some(kept);
        if is_last {
            break;
        }
    }
    Ok(best)
}

/// How long the clients go on after a fault: all of the time only where a balancer may let them
/// wait for all of it.
fn observed(balancer: Balancer, fault: Fault, longest: Duration) -> Duration {
    if fault.is_silent() && !balancer.ends_silence() { longest } else { longest.min(SHORT) }
}

/// A sample in some words.
fn brief(sample: &Sample) -> String {
    let Sample { watch_gap, kept_gap, failed_new, longest_new, tick_gap, .. } = sample;
    let more = if watch_gap.open { ">" } else { "" };
    let flaw = sample.flaw.as_ref().map(|flaw| format!("; flawed: {flaw}")).unwrap_or_default();
    format!(
        "watch {more}{:.2} s, {} failed, new {longest_new:.2} s, kept {:.2} s, ticks \
         {tick_gap:.2} s{flaw}",
        watch_gap.seconds,
        failed_new.len(),
        kept_gap.seconds,
    )
}

/// Enough for whoever notices within some seconds, and for all that new connections feel.
const SHORT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_ends_no_silence_is_waited_for() {
        let longest = Duration::from_secs(40);
        let of = |balancer, fault| observed(balancer, fault, longest);
        assert_eq!(of(Balancer::NginxKubespray, Fault::Cut), longest);
        assert_eq!(of(Balancer::NginxKubespray, Fault::Killed), SHORT);
        assert_eq!(of(Balancer::Evenkeel, Fault::Frozen), SHORT);
        let short = Duration::from_secs(3);
        assert_eq!(observed(Balancer::Evenkeel, Fault::Frozen, short), short);
    }
}
