//! One fault with one holder, once: what the clients felt and who had the address, in numbers.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::holder::Holder;
use crate::kept::Span;
use crate::owners::Change;
use crate::prober::{Attempt, Probed};
use crate::row::{Fault, Row};
use crate::timeline::{Apart, Timeline};
use evenkeel_bench::number::seconds;

/// What is sampled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// What happens.
    pub(crate) row: Row,
    /// To whom.
    pub(crate) holder: Holder,
    /// Which run it is of, from 1.
    pub(crate) run: u32,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Before the fault.
    pub(crate) began: Instant,
    /// Before it was undone.
    pub(crate) undone: Instant,
    /// When owners were asked to end, or failed.
    pub(crate) disruptions: Vec<Instant>,
    /// Who heard nobody.
    pub(crate) apart: Vec<Apart>,
    /// The new connections.
    pub(crate) probed: Probed,
    /// The kept ones.
    pub(crate) spans: Vec<Span>,
    /// The owners. The first one has the place 0.
    pub(crate) timeline: Timeline,
    /// Whether the client believes in the end that the address is where it is.
    pub(crate) believes: Option<bool>,
    /// What evenkeel said in the end, a value for each host that answered.
    pub(crate) told: Vec<Value>,
    /// What went wrong with the rig.
    pub(crate) flaw: Option<String>,
}

/// One sample. Times are seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    /// The row's name.
    pub(crate) row: &'static str,
    /// The holder's name.
    pub(crate) holder: &'static str,
    /// Which run it is of.
    pub(crate) run: u32,
    /// The longest between two good new connections of which the first was sent before the fault was
    /// undone, and the second after it began.
    pub(crate) gap: Gap,
    /// The same of those of which the second was sent after the fault was undone.
    pub(crate) gap_after: Gap,
    /// New connections that ended after the fault began.
    pub(crate) new: usize,
    /// Those of them that failed.
    pub(crate) failed: usize,
    /// Those of them, at most [`FAILURES`].
    pub(crate) failures: Vec<Failure>,
    /// How the kept connections ended that were open when an owner went.
    pub(crate) kept: Ends,
    /// How long there were two owners or more, whether they could hear each other or not.
    pub(crate) two_owners: f64,
    /// The longest that two of them did that could.
    pub(crate) conflict: f64,
    /// The same from when the fault was undone.
    pub(crate) conflict_after: f64,
    /// How long there was none.
    pub(crate) no_owner: f64,
    /// When the first owner had the address for the last time before the fault was undone. None: it
    /// still had it then.
    pub(crate) gave_up: Option<f64>,
    /// When there was for the last time another number of owners than one. None: in the end.
    pub(crate) settled: Option<f64>,
    /// Who came to have it, and who had it no more.
    pub(crate) changes: Vec<Moved>,
    /// How often a host came to have it.
    pub(crate) claims: usize,
    /// Whether the first owner took it back after the fault was undone, or has it still in the end.
    pub(crate) taken_back: bool,
    /// Whether the client believes in the end that the address is where it is.
    pub(crate) believes: Option<bool>,
    /// The longest pause between two new connections, be they good or not.
    pub(crate) stall: f64,
    /// What evenkeel said in the end.
    pub(crate) told: Vec<Value>,
    /// Why it is worth little. None: it is worth all.
    pub(crate) flaw: Option<String>,
}

/// A silence in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gap {
    /// How long it was, at least.
    pub(crate) seconds: f64,
    /// Whether it went on when the clients stopped.
    pub(crate) open: bool,
}

/// A new connection that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Failure {
    /// When it was sent, after the fault began; before, if negative.
    pub(crate) sent: f64,
    /// How long it took to fail.
    pub(crate) took: f64,
    /// Why it failed.
    pub(crate) error: String,
}

/// A host came to have the address, or had it no more.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Moved {
    /// When that was, after the fault began.
    pub(crate) at: f64,
    /// The number of the router, from 1.
    pub(crate) router: usize,
    /// Whether it has it now.
    pub(crate) has: bool,
}

/// How many kept connections ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ends {
    /// Within [`PROMPT`].
    pub(crate) prompt: usize,
    /// Later.
    pub(crate) late: usize,
    /// Not at all.
    pub(crate) silent: usize,
}

impl Sample {
    /// Counts what was seen.
    pub(crate) fn new(subject: Subject, seen: Seen) -> Self {
        let Subject { row, holder, run } = subject;
        let Seen { began, undone, disruptions, apart, probed, spans, timeline, .. } = &seen;
        let new: Vec<&Attempt> =
            probed.attempts.iter().filter(|one| one.sent + one.took >= *began).collect();
        let failures = new.iter().filter_map(|one| failure(one, *began));
        let after = |gave_up: Option<Duration>| gave_up.map(seconds);
        let stall = stall(&probed.attempts, *began);
        let flaw = seen.flaw.clone().or_else(|| {
            let is_flaw = stall > STALL && row.fault != Fault::Load;
            is_flaw.then(|| format!("no connection was sent for {:.3} s", seconds(stall)))
        });
        Self {
            row: row.name,
            holder: holder.name(),
            run,
            gap: gap(probed, *began, *undone),
            gap_after: gap(probed, *undone, probed.until),
            new: new.len(),
            failed: failures.clone().count(),
            failures: failures.take(FAILURES).collect(),
            kept: ends(spans, disruptions),
            two_owners: seconds(timeline.how_long(*began, |owners| owners > 1)),
            conflict: seconds(timeline.longest_conflict(*began, apart)),
            conflict_after: seconds(timeline.longest_conflict(*undone, apart)),
            no_owner: seconds(timeline.how_long(*began, |owners| owners == 0)),
            gave_up: after(timeline.gave_up(0, *began, *undone)),
            settled: after(timeline.settled(*began, *undone)),
            changes: timeline.changes_after(*began).map(|change| moved(change, *began)).collect(),
            claims: timeline.claims(*began),
            taken_back: timeline.has_or_takes(0, *undone),
            believes: seen.believes,
            stall: seconds(stall),
            told: seen.told,
            flaw,
        }
    }
}

fn failure(attempt: &Attempt, began: Instant) -> Option<Failure> {
    let before = seconds(began.saturating_duration_since(attempt.sent));
    let after = seconds(attempt.sent.saturating_duration_since(began));
    let error = attempt.answer.as_ref().err()?.clone();
    Some(Failure { sent: after - before, took: seconds(attempt.took), error })
}

fn moved(change: &Change, began: Instant) -> Moved {
    let Change { at, host, has } = *change;
    Moved { at: seconds(at.saturating_duration_since(began)), router: host + 1, has }
}

/// The longest between two good connections that began before `to` and did not end before `from`.
fn gap(probed: &Probed, from: Instant, to: Instant) -> Gap {
    let mut good: Vec<Instant> =
        probed.attempts.iter().filter(|one| one.answer.is_ok()).map(|one| one.sent).collect();
    let last = good.last().map(|last| probed.until.saturating_duration_since(*last));
    good.push(probed.until);
    let pairs =
        good.iter().zip(good.iter().skip(1)).filter(|(one, later)| **later >= from && **one <= to);
    let longest = pairs.map(|(one, later)| later.duration_since(*one)).max().unwrap_or_default();
    Gap { seconds: seconds(longest), open: last.is_none_or(|last| last == longest && last >= OPEN) }
}

/// Each connection counts once: at the first disruption of its life.
fn ends(spans: &[Span], disruptions: &[Instant]) -> Ends {
    let mut ends = Ends::default();
    for span in spans {
        let was_open = |at: &&Instant| span.from < **at && span.to.is_none_or(|to| to >= **at);
        let Some(disrupted) = disruptions.iter().find(was_open) else { continue };
        match span.to {
            None => ends.silent += 1,
            Some(to) if to.duration_since(*disrupted) <= PROMPT => ends.prompt += 1,
            Some(_later) => ends.late += 1,
        }
    }
    ends
}

/// The longest pause between two connections that were sent, good or not.
fn stall(attempts: &[Attempt], from: Instant) -> Duration {
    let pairs = attempts.iter().zip(attempts.iter().skip(1)).filter(|(_, next)| next.sent >= from);
    pairs.map(|(one, next)| next.sent.duration_since(one.sent)).max().unwrap_or_default()
}

/// How many failures are told: a second of them.
const FAILURES: usize = 50;
/// How soon a kept connection must be ended.
pub(crate) const PROMPT: Duration = Duration::from_millis(200);
/// The pause between two good connections is far below.
const OPEN: Duration = Duration::from_millis(500);
/// A connection is sent each 20 ms. When one is this late, the machine stalled.
const STALL: Duration = Duration::from_millis(35);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn row(name: &str) -> Row {
        Row::named(name).unwrap()
    }

    /// A sample with some numbers, for other tests too.
    pub(crate) fn sample(name: &str, holder: Holder, gap: f64, failed: usize) -> Sample {
        let gap = Gap { seconds: gap, open: false };
        Sample {
            row: row(name).name,
            holder: holder.name(),
            run: 1,
            gap,
            gap_after: Gap { seconds: 0.022, open: false },
            new: 200,
            failed,
            failures: Vec::new(),
            kept: Ends { prompt: 30, late: 0, silent: 0 },
            two_owners: 0.0,
            conflict: 0.0,
            conflict_after: 0.0,
            no_owner: 0.0,
            gave_up: Some(1.2),
            settled: Some(0.0),
            changes: Vec::new(),
            claims: 0,
            taken_back: false,
            believes: Some(true),
            stall: 0.021,
            told: Vec::new(),
            flaw: None,
        }
    }

    fn attempts(begun: Instant, sent: &[(u64, bool)]) -> Vec<Attempt> {
        let attempt = |(sent, good): &(u64, bool)| Attempt {
            sent: begun + Duration::from_millis(*sent),
            took: Duration::from_millis(1),
            answer: if *good { Ok("router-1".to_owned()) } else { Err("refused".to_owned()) },
        };
        sent.iter().map(attempt).collect()
    }

    #[test]
    fn a_gap_is_between_two_good_connections() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let sent = [(0, true), (500, true), (520, false), (540, false), (560, true), (580, true)];
        let probed = Probed { attempts: attempts(begun, &sent), until: at(600) };
        assert_eq!(gap(&probed, at(510), at(600)), Gap { seconds: 0.06, open: false });
        assert_eq!(
            gap(&probed, at(500), at(600)),
            Gap { seconds: 0.5, open: false },
            "it ended then"
        );
        assert_eq!(gap(&probed, at(570), at(600)), Gap { seconds: 0.02, open: false });
        let probed = Probed { until: at(1600), ..probed };
        assert_eq!(gap(&probed, at(510), at(1600)), Gap { seconds: 1.02, open: true });
        assert_eq!(gap(&probed, at(510), at(530)), Gap { seconds: 0.06, open: false });
        assert_eq!(stall(&probed.attempts, at(510)), Duration::from_millis(20));
        let silent = Probed { attempts: attempts(begun, &[(0, false)]), until: at(600) };
        assert!(gap(&silent, begun, at(600)).open);
    }

    #[test]
    fn a_kept_connection_counts_where_it_was_first_disrupted() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let span = |from, to: Option<u64>| Span { from: at(from), to: to.map(at) };
        let spans = [
            span(0, Some(90)),
            span(0, Some(300)),
            span(0, Some(301)),
            span(0, None),
            span(350, Some(1050)),
        ];
        let found = ends(&spans, &[at(100), at(1000)]);
        assert_eq!(found, Ends { prompt: 2, late: 1, silent: 1 });
    }

    #[test]
    fn a_sample_counts_from_the_fault_on() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let sent: Vec<(u64, bool)> =
            (0..100).map(|tick| (tick * 20, !(2..60).contains(&tick))).collect();
        let change = |millis, host, has| Change { at: at(millis), host, has };
        let changes = vec![change(0, 0, true), change(1100, 1, true), change(1300, 0, false)];
        let seen = Seen {
            began: at(1000),
            undone: at(1800),
            disruptions: vec![at(1000)],
            apart: vec![Apart { host: 0, from: at(1000), to: Some(at(1250)) }],
            probed: Probed { attempts: attempts(begun, &sent), until: at(2000) },
            spans: Vec::new(),
            timeline: Timeline::new(changes, at(2000)),
            believes: Some(true),
            told: Vec::new(),
            flaw: None,
        };
        let subject = Subject { row: row("silence"), holder: Holder::Evenkeel, run: 1 };
        let sample = Sample::new(subject, seen);
        assert_eq!((sample.gap.seconds, sample.failed), (1.18, 10));
        assert_eq!((sample.two_owners, sample.conflict, sample.conflict_after), (0.2, 0.05, 0.0));
        assert_eq!((sample.gave_up, sample.settled, sample.claims), (Some(0.3), Some(0.3), 1));
        assert_eq!(sample.changes[1], Moved { at: 0.3, router: 1, has: false });
        assert_eq!(sample.failures[0], Failure { sent: 0.0, took: 0.001, error: "refused".into() });
        assert_eq!((sample.taken_back, sample.flaw), (false, None));
    }
}
