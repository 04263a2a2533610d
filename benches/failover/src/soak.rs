//! A load, no fault, and every CPU busy: whatever a balancer then holds against a member is wrong.
//!
//! evenkeel tells what it thought. A *suspicion* is a change of a backend's health to anything but
//! ready; it costs a member its new connections for a while. A *death* is one to dead, or a
//! connection that evenkeel resets: that is felt by clients, and must not be. Of a peer, which is not
//! asked, a death shows in watches and kept connections that had to be made again.

use std::io::Write;
use std::time::Duration;

use evenkeel_testbed::{Felt, Member};
use serde_json::json;
use tokio::time::Instant;

use crate::args::Soak;
use crate::balancer::Running;
use crate::metrics::Told;
use crate::report;
use crate::site::{NotTaken, Site};
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::seconds;
use evenkeel_bench::pause::pause;
use evenkeel_bench::report::{tell, write};

/// What came out.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// One line of counts.
    pub(crate) line: String,
    /// Whether a member was taken for dead.
    pub(crate) is_bad: bool,
}

/// Soaks; `progress` gets a line each minute.
pub(crate) fn run(soak: &Soak, progress: &mut impl Write) -> Result<Outcome, Failed> {
    tell(progress, "starting the control plane")?;
    let site = Site::start(&[soak.balancer], &soak.programs)?;
    let running = site.start_balancer(soak.balancer).map_err(cannot_begin)?;
    let load = site.load(soak.balancer, Member::One, soak.lasts).map_err(cannot_begin)?;
    let before = told(&running)?;
    let burners = site.burn(soak.busy)?;
    let busy = burners.count();

    let end = Instant::now() + soak.lasts;
    loop {
        pause(MINUTE.min(end.saturating_duration_since(Instant::now())))?;
        let now = since(told(&running)?, before.as_ref());
        let left = end.saturating_duration_since(Instant::now());
        let counts = now.as_ref().map_or_else(|| "it is not asked".to_owned(), counts);
        tell(progress, &format!("{counts}; {:.0} s left", left.as_secs_f64()))?;
        if left.is_zero() {
            break;
        }
    }
    let felt = load.stop().doing(|| "hear what the clients felt")?;
    drop(burners);
    let told = since(told(&running)?, before.as_ref());
    drop(running);

    let outcome = Outcome {
        line: line(soak, busy, told.as_ref(), &felt),
        is_bad: is_bad(told.as_ref(), cut(&felt)),
    };
    let path = write(
        "failover",
        "soak-",
        &json!({
            "conditions": report::conditions(&[soak.balancer], &soak.programs),
            "seconds": seconds(soak.lasts),
            "line": outcome.line,
            "told": told,
            "felt": felt.to_string(),
        }),
    )?;
    tell(progress, &format!("all of it: {}", path.display()))?;
    Ok(outcome)
}

fn told(running: &Running) -> Result<Option<Told>, Failed> {
    running.ended().map_or_else(|| running.told(), Err)
}

fn since(now: Option<Told>, before: Option<&Told>) -> Option<Told> {
    now.zip(before).map(|(now, before)| now.since(before))
}

fn cannot_begin(why: NotTaken) -> Failed {
    match why {
        NotTaken::Unsteady(why) => Failed::because("begin", why),
        NotTaken::Failed(failed) => failed,
    }
}

/// How many of the connections that should have lasted did not.
fn cut(felt: &Felt) -> u64 {
    felt.watch_reconnects() + felt.kept_reconnects()
}

fn is_bad(told: Option<&Told>, cut: u64) -> bool {
    told.map_or(cut > 0, |told| told.deaths > 0 || told.resets > 0)
}

fn counts(told: &Told) -> String {
    let Told { suspicions, deaths, resets, ready, .. } = told;
    format!(
        "{suspicions} false suspicions, {deaths} false deaths, {resets} connections reset, \
         {ready} of 3 ready"
    )
}

fn line(soak: &Soak, busy: usize, told: Option<&Told>, felt: &Felt) -> String {
    let counts = told.map(|told| counts(told) + "; ").unwrap_or_default();
    format!(
        "{}, {:.1} min with {busy} busy processes: {counts}felt: {} watches and {} kept connections \
         cut, {} of {} new connections failed, longest {:.2} s; worst gap of a watch {:.2} s, of a \
         kept connection {:.2} s, of the ticks {:.2} s",
        soak.balancer.name(),
        soak.lasts.as_secs_f64() / 60.0,
        felt.watch_reconnects(),
        felt.kept_reconnects(),
        felt.failed_new(),
        felt.new.len(),
        seconds(felt.longest_new()),
        seconds(felt.longest_watch_gap()),
        seconds(felt.longest_kept_gap()),
        seconds(felt.longest_tick_gap()),
    )
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suspicion_may_be_and_a_death_may_not() {
        assert!(!is_bad(Some(&Told { suspicions: 9, ..Told::default() }), 0));
        assert!(is_bad(Some(&Told { deaths: 1, ..Told::default() }), 0));
        assert!(is_bad(Some(&Told { resets: 1, ..Told::default() }), 1));
    }

    #[test]
    fn of_who_is_not_asked_only_what_was_cut_is_known() {
        assert!(is_bad(None, 1) && !is_bad(None, 0));
    }

    #[test]
    fn the_counts_are_in_one_line() {
        let told = Told { suspicions: 2, deaths: 1, resets: 6, ready: 3, ..Told::default() };
        let expected = "2 false suspicions, 1 false deaths, 6 connections reset, 3 of 3 ready";
        assert_eq!(counts(&told), expected);
    }
}
