//! One fault behind one balancer, once: what the clients felt, in numbers.

use std::time::Duration;

use evenkeel_testbed::{Felt, Member, Signs};
use serde::Serialize;
use tokio::time::Instant;

use crate::balancer::Balancer;
use crate::fault::Fault;
use crate::metrics::Told;
use evenkeel_bench::number::seconds;

/// What is sampled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject {
    /// What stands between.
    pub(crate) balancer: Balancer,
    /// What befalls a member.
    pub(crate) fault: Fault,
    /// Which round it is of, from 1.
    pub(crate) round: u32,
}

impl Subject {
    /// Whom it befalls: another one each round, the same for all balancers.
    pub(crate) fn victim(self) -> Member {
        match self.round % 3 {
            1 => Member::One,
            2 => Member::Two,
            _ => Member::Three,
        }
    }

    /// To whom the ticks are written: one that is left alone.
    pub(crate) fn ticker(self) -> Member {
        let [ticker, _other] = self.victim().others();
        ticker
    }
}

/// When the fault began, when it was there, and when the clients stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// Before it was inflicted.
    pub(crate) began: Instant,
    /// After.
    pub(crate) done: Instant,
    /// When the clients were told to stop.
    pub(crate) ended: Instant,
}

/// One sample. Times are seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sample {
    /// The balancer's name.
    pub(crate) balancer: &'static str,
    /// The fault's name.
    pub(crate) fault: &'static str,
    /// Which round it is of.
    pub(crate) round: u32,
    /// The number of the member that it befell.
    pub(crate) victim: u8,
    /// The connections of the balancer that each member had just before.
    pub(crate) held: [usize; 3],
    /// How long inflicting it took.
    pub(crate) inflicting: f64,
    /// How long the clients went on after that.
    pub(crate) observed: f64,
    /// The longest that a watch saw nothing.
    pub(crate) watch_gap: Gap,
    /// The longest that a kept connection had no good answer.
    pub(crate) kept_gap: Gap,
    /// The longest that nothing was written for the watches to see.
    pub(crate) tick_gap: f64,
    /// New connections that ended after the fault began.
    pub(crate) new: usize,
    /// Those of them that failed.
    pub(crate) failed_new: Vec<FailedNew>,
    /// The longest that one of them took, failed or not.
    pub(crate) longest_new: f64,
    /// How often watches had to be started again.
    pub(crate) watch_reconnects: u64,
    /// How often kept connections had to be made again.
    pub(crate) kept_reconnects: u64,
    /// Requests on kept connections that failed.
    pub(crate) failed_kept: usize,
    /// What evenkeel counted from the steady time on.
    pub(crate) told: Option<Told>,
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
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FailedNew {
    /// When it began, after the fault did; before, if negative.
    pub(crate) began: f64,
    /// How long it took to fail.
    pub(crate) took: f64,
    /// Why it failed.
    pub(crate) error: String,
}

impl Sample {
    /// What `felt` says of the time from the fault on.
    pub(crate) fn new(
        subject: Subject,
        held: [usize; 3],
        times: Times,
        felt: &Felt,
        told: Option<Told>,
    ) -> Self {
        let Times { began, done, ended } = times;
        let new: Vec<_> = felt.new.iter().filter(|new| new.started + new.took >= began).collect();
        let failed_new = new.iter().filter_map(|new| {
            let error = new.error.clone()?;
            let before = seconds(began.saturating_duration_since(new.started));
            let after = seconds(new.started.saturating_duration_since(began));
            Some(FailedNew { began: after - before, took: seconds(new.took), error })
        });
        let earlier =
            felt.new.iter().filter(|new| new.started + new.took < began && new.error.is_some());
        let tick_gap = felt.ticks.signs.longest_gap_after(began);
        Self {
            balancer: subject.balancer.name(),
            fault: subject.fault.name(),
            round: subject.round,
            victim: subject.victim().number(),
            held,
            inflicting: seconds(done - began),
            observed: seconds(ended - done),
            watch_gap: longest(felt.watches.iter().map(|watch| &watch.signs), began),
            kept_gap: longest(felt.kept.iter().map(|kept| &kept.signs), began),
            tick_gap: seconds(tick_gap),
            new: new.len(),
            failed_new: failed_new.collect(),
            longest_new: seconds(new.iter().map(|new| new.took).max().unwrap_or_default()),
            watch_reconnects: felt.watch_reconnects(),
            kept_reconnects: felt.kept_reconnects(),
            failed_kept: felt.failed_kept_after(began),
            told,
            flaw: flaw(earlier.count(), tick_gap),
        }
    }
}

/// Why a sample is worth little: what the balancer did not do is in it.
fn flaw(failed_before: usize, tick_gap: Duration) -> Option<String> {
    if failed_before > 0 {
        return Some(format!("{failed_before} new connections failed before the fault"));
    }
    (tick_gap > STALL).then(|| format!("nothing was written for {:.2} s", seconds(tick_gap)))
}

/// The longest silence among some clients that ended after an instant.
fn longest<'a>(all: impl Iterator<Item = &'a Signs>, began: Instant) -> Gap {
    let of = |signs: &Signs| (signs.longest_gap_after(began), signs.last_gap());
    let (gap, last) = all.map(of).max().unwrap_or_default();
    Gap { seconds: seconds(gap), open: gap == last && last >= OPEN }
}

/// Ticks come every 50 ms. When one is this late, the control plane or the machine stalled.
const STALL: Duration = Duration::from_millis(100);
/// The pause between two good signs is far below.
const OPEN: Duration = Duration::from_millis(500);

#[cfg(test)]
pub(crate) mod tests {
    use evenkeel_testbed::{Attempt, Kept, Ticks, Watched};

    use super::*;

    /// A sample with some numbers, for other tests too.
    pub(crate) fn sample(balancer: Balancer, fault: Fault, gap: f64, failed: usize) -> Sample {
        let failed_new = FailedNew { began: 0.1, took: 0.2, error: "reset".to_owned() };
        Sample {
            balancer: balancer.name(),
            fault: fault.name(),
            round: 1,
            victim: 1,
            held: [6; 3],
            inflicting: 0.001,
            observed: 10.0,
            watch_gap: Gap { seconds: gap, open: gap >= 10.0 },
            kept_gap: Gap { seconds: gap, open: gap >= 10.0 },
            tick_gap: 0.06,
            new: 200,
            failed_new: vec![failed_new; failed],
            longest_new: 0.02,
            watch_reconnects: 3,
            kept_reconnects: 3,
            failed_kept: 0,
            told: None,
            flaw: None,
        }
    }

    fn signs(begun: Instant, millis: &[u64], until: u64) -> Signs {
        let at = |millis: &u64| begun + Duration::from_millis(*millis);
        Signs::new(millis.iter().map(at).collect(), at(&until))
    }

    fn felt(begun: Instant, watch: &[u64], ticks: &[u64], new: Vec<Attempt>) -> Felt {
        Felt {
            new,
            kept: vec![Kept {
                answers: 2,
                reconnects: 0,
                failures: Vec::new(),
                signs: signs(begun, &[0, 100, 3000], 3000),
            }],
            watches: vec![Watched {
                events: 2,
                reconnects: 1,
                failures: Vec::new(),
                signs: signs(begun, watch, 3000),
            }],
            ticks: Ticks { written: 2, failures: Vec::new(), signs: signs(begun, ticks, 3000) },
            lasted: Duration::from_secs(3),
        }
    }

    fn taken(watch: &[u64], ticks: &[u64], new: &[(u64, u64, bool)]) -> Sample {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let attempt = |(started, took, failed): &(u64, u64, bool)| Attempt {
            started: at(*started),
            took: Duration::from_millis(*took),
            error: failed.then(|| "reset".to_owned()),
        };
        let felt = felt(begun, watch, ticks, new.iter().map(attempt).collect());
        let subject = Subject { balancer: Balancer::Evenkeel, fault: Fault::Killed, round: 1 };
        let times = Times { began: at(1000), done: at(1001), ended: at(3000) };
        Sample::new(subject, [6; 3], times, &felt, None)
    }

    const STEADY: [u64; 4] = [1000, 1050, 2950, 3000];

    #[test]
    fn what_was_before_the_fault_is_not_counted() {
        let new = [(0, 900, false), (990, 30, true), (1500, 200, false)];
        let sample = taken(&[0, 900, 1010, 1250, 2900], &STEADY, &new);
        assert_eq!(sample.watch_gap, Gap { seconds: 1.65, open: false });
        assert_eq!((sample.new, sample.failed_new.len(), sample.longest_new), (2, 1, 0.2));
        let failed = &sample.failed_new[0];
        assert!((failed.began + 0.01).abs() < 1e-9, "{failed:?}");
    }

    #[test]
    fn who_is_still_silent_in_the_end_is_told_apart() {
        assert_eq!(taken(&[0, 1000], &STEADY, &[]).watch_gap, Gap { seconds: 2.0, open: true });
        assert!(!taken(&[0, 2900], &STEADY, &[]).watch_gap.open);
    }

    #[test]
    fn ticks_that_stall_are_a_flaw_and_so_is_a_failure_before() {
        let ticks: Vec<u64> = (0..61).map(|tick| tick * 50).collect();
        assert_eq!(taken(&ticks, &ticks, &[]).flaw, None);
        let earlier = taken(&ticks, &ticks, &[(100, 10, true)]);
        assert_eq!(earlier.flaw.unwrap(), "1 new connections failed before the fault");
        let stalled: Vec<u64> = (0..61).filter(|tick| *tick != 40).map(|tick| tick * 50).collect();
        assert_eq!(taken(&ticks, &stalled, &[]).flaw, None, "100 ms are none yet");
        assert_eq!(taken(&ticks, &STEADY, &[]).flaw.unwrap(), "nothing was written for 1.90 s");
    }

    #[test]
    fn each_member_has_its_turn_and_the_ticker_is_never_the_victim() {
        let subject = |round| Subject { balancer: Balancer::Evenkeel, fault: Fault::Cut, round };
        let victims = [1, 2, 3, 4].map(|round| subject(round).victim());
        assert_eq!(victims, [Member::One, Member::Two, Member::Three, Member::One]);
        assert!((1..=3).all(|round| subject(round).victim() != subject(round).ticker()));
    }
}
