//! What is done about each backend of a pool, in time: what [`decide`](crate::treatment::decide)
//! says, with the **brake** on its resets and a **cap** on its drains. Pure: `now` is an argument.
//!
//! A reset cannot be undone, and the fault may be ours: a pulled uplink, a paused machine or a wrong
//! CA makes every endpoint silent or foreign at once. So a reset needs a **witness**, another
//! endpoint that was heard after the silence had begun. Without one nobody is reset for a while.
//!
//! A drain is for connections that end by themselves. Those that are left when a server has had all
//! the time it takes are ended by us, as long as there is somewhere better to go.

use std::time::Duration;

use tokio::time::Instant;

use crate::health::{Class, Evidence, Health};
use crate::treatment::{self, Treatment};

/// How much later than the start of a silence its witness must have been heard: what was under way
/// when an uplink was pulled may still arrive, or have arrived just before.
pub const MARGIN: Duration = Duration::from_millis(100);

/// How long a backend's silence must go on once another is heard again after all had been silent:
/// all of them come back with the uplink, each when it is next probed.
pub const GRACE: Duration = Duration::from_secs(3);

/// What a decision rests on, for one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// What is believed.
    pub evidence: Evidence,
    /// Since when that is its class.
    pub since: Instant,
    /// When the silence began that makes it a suspect or dead; `None` where it is not silent.
    pub silent_since: Option<Instant>,
    /// When it last proved to be alive: by an answer to a probe, or by a byte.
    pub alive_at: Option<Instant>,
    /// Since when no source names it any more.
    pub leaving_since: Option<Instant>,
}

/// How long open connections of a backend that is drained may go on. `None` is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Of one that says it shuts down.
    pub shutting_down: Option<Duration>,
    /// Of one that refuses connections: its listener is closed.
    pub refused: Option<Duration>,
    /// Of one that is ready but for its etcd.
    pub etcd_unready: Option<Duration>,
    /// Of one that no source names any more.
    pub leaving: Option<Duration>,
}

/// Decides for one pool.
#[derive(Clone, Debug)]
pub struct Decider {
    /// How long resets without a witness are held back.
    brake: Duration,
    caps: Caps,
    /// All backends are silent.
    is_blackout: bool,
    /// After a blackout: those that are still silent may just not have been probed again.
    grace_until: Option<Instant>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// For each case, in their order.
    pub treatments: Vec<Treatment>,
    /// How many resets the brake holds back.
    pub held: usize,
    /// Decide again then, if nothing changes before.
    pub until: Option<Instant>,
}

impl Decider {
    /// Nothing is decided yet. `brake` is how long resets without a witness are held back.
    pub fn new(brake: Duration, caps: Caps) -> Self {
        Self { brake, caps, is_blackout: false, grace_until: None }
    }

    /// Decides. `cases` are all backends of the pool.
    pub fn decide(&mut self, cases: &[Case], now: Instant) -> Decision {
        self.look_for_light(cases, now);
        let staying: Vec<Evidence> = cases
            .iter()
            .filter(|case| case.leaving_since.is_none())
            .map(|case| case.evidence)
            .collect();
        let mut wanted = treatment::decide(&staying).into_iter();
        let mut decision = Decision { treatments: Vec::new(), held: 0, until: None };
        for (place, case) in cases.iter().enumerate() {
            let wanted = if case.leaving_since.is_some() {
                treatment::of_leaving(case.evidence)
            } else {
                wanted.next().unwrap_or(Treatment::Drain)
            };
            let delay = match wanted {
                Treatment::Serve => None,
                Treatment::Drain => self.capped_at(place, cases),
                Treatment::Reset => Some(self.reset_at(place, cases, now)),
            };
            let treatment = match delay {
                Some(at) if at <= now => Treatment::Reset,
                Some(at) => {
                    decision.until = Some(decision.until.map_or(at, |until| until.min(at)));
                    decision.held += usize::from(wanted == Treatment::Reset);
                    Treatment::Drain
                }
                None => wanted,
            };
            decision.treatments.push(treatment);
        }
        decision
    }

    fn look_for_light(&mut self, cases: &[Case], now: Instant) {
        let is_blackout = !cases.is_empty() && cases.iter().all(|c| c.silent_since.is_some());
        if self.is_blackout && !is_blackout {
            self.grace_until = Some(now + GRACE);
        }
        self.is_blackout = is_blackout;
    }

    /// When a backend that is silent or foreign is reset.
    fn reset_at(&self, place: usize, cases: &[Case], now: Instant) -> Instant {
        let Some(case) = cases.get(place) else { return now };
        let since = case.silent_since.unwrap_or(case.since);
        let held_until = since + self.brake;
        let others = || cases.iter().enumerate().filter(|(other, _)| *other != place);
        if others().any(|(_, other)| testifies(other, since)) {
            self.grace_until.unwrap_or(now).min(held_until)
        } else {
            held_until
        }
    }

    /// When a backend has been drained long enough, if there is somewhere better to go.
    fn capped_at(&self, place: usize, cases: &[Case]) -> Option<Instant> {
        let case = cases.get(place)?;
        let better = |(other, case): (usize, &Case)| {
            other != place
                && case.evidence.health == Health::Ready
                && case.leaving_since.is_none()
        };
        if !cases.iter().enumerate().any(better) {
            return None;
        }
        let by_class = match case.evidence.class {
            Class::ShuttingDown => self.caps.shutting_down,
            Class::Refused => self.caps.refused,
            Class::EtcdUnready => self.caps.etcd_unready,
            Class::Unproven
            | Class::Ready
            | Class::Starting
            | Class::Broken
            | Class::Unauthorized
            | Class::Forbidden
            | Class::Throttled
            | Class::Unavailable
            | Class::UnexpectedStatus
            | Class::Closed
            | Class::Garbled
            | Class::CertificateInvalid
            | Class::TlsRefused
            | Class::AnswerTimeout
            | Class::TlsTimeout
            | Class::ConnectTimeout
            | Class::Unreachable
            | Class::Foreign
            | Class::ProbeFault => None,
        };
        let by_class = by_class.map(|cap| case.since + cap);
        let by_leaving = case.leaving_since.zip(self.caps.leaving).map(|(since, cap)| since + cap);
        [by_class, by_leaving].into_iter().flatten().min()
    }
}

/// Whether an endpoint proves that the fault is not ours: it was heard well within the silence.
fn testifies(witness: &Case, silent_since: Instant) -> bool {
    let ours = match witness.evidence.health {
        Health::Unknown | Health::Ready | Health::Unready => true,
        Health::Dead | Health::Foreign => false,
    };
    ours && witness.alive_at.is_some_and(|alive| alive >= silent_since + MARGIN)
}

#[cfg(test)]
mod tests {
    use super::Treatment::{Drain, Reset, Serve};
    use super::*;

    const BRAKE: Duration = Duration::from_secs(15);

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    struct Scene {
        start: Instant,
        decider: Decider,
    }

    impl Scene {
        fn new() -> Self {
            let caps = Caps {
                shutting_down: Some(ms(180_000)),
                refused: Some(ms(75_000)),
                etcd_unready: Some(ms(30_000)),
                leaving: Some(ms(180_000)),
            };
            // Far from the start of the clock, so that a test may look back.
            Self { start: Instant::now() + ms(1_000_000), decider: Decider::new(BRAKE, caps) }
        }

        fn at(&self, milliseconds: u64) -> Instant {
            self.start + ms(milliseconds)
        }

        /// An endpoint that is heard, last at the given time.
        fn heard(&self, class: Class, at: u64) -> Case {
            Case {
                evidence: Evidence { health: class.health(), class },
                since: self.start,
                silent_since: None,
                alive_at: Some(self.at(at)),
                leaving_since: None,
            }
        }

        /// An endpoint that has been silent since the given time.
        fn silent(&self, since: u64) -> Case {
            Case {
                since: self.at(since),
                silent_since: Some(self.at(since)),
                ..self.heard(Class::TlsTimeout, since)
            }
        }

        fn decide(&mut self, cases: &[Case], at: u64) -> (Vec<Treatment>, usize) {
            let now = self.at(at);
            let decision = self.decider.decide(cases, now);
            (decision.treatments, decision.held)
        }
    }

    #[test]
    fn a_dead_one_is_reset_at_once_where_another_is_heard() {
        let mut scene = Scene::new();
        let cases = [scene.heard(Class::Ready, 500), scene.silent(100), scene.silent(50)];
        assert_eq!(scene.decide(&cases, 600), (vec![Serve, Reset, Reset], 0));
    }

    #[test]
    fn our_own_uplink_resets_nobody_while_the_brake_holds() {
        let mut scene = Scene::new();
        // What was under way arrives a moment after the first was asked.
        let cases = [scene.silent(0), scene.heard(Class::Ready, 40), scene.heard(Class::Ready, 30)];
        assert_eq!(scene.decide(&cases, 500).0, [Drain, Serve, Serve]);
        let cases = [scene.silent(0), scene.silent(40), scene.silent(30)];
        assert_eq!(scene.decide(&cases, 900), (vec![Drain; 3], 3));
        let now = scene.at(900);
        let until = scene.decider.decide(&cases, now).until.unwrap();
        assert_eq!(until, scene.at(15_000));
        assert_eq!(scene.decide(&cases, 15_040), (vec![Reset; 3], 0));
    }

    #[test]
    fn when_the_uplink_is_back_all_have_time_to_be_heard() {
        let mut scene = Scene::new();
        let dark = [scene.silent(0), scene.silent(40), scene.silent(30)];
        scene.decide(&dark, 900);
        let [_, second, third] = dark;
        let cases = [scene.heard(Class::Ready, 5000), second, third];
        assert_eq!(scene.decide(&cases, 5000), (vec![Serve, Drain, Drain], 2));
        let cases = [scene.heard(Class::Ready, 5300), scene.heard(Class::Ready, 5200), third];
        assert_eq!(scene.decide(&cases, 5300), (vec![Serve, Serve, Drain], 1));
        // Who is silent when all had time is dead.
        assert_eq!(scene.decide(&cases, 8000), (vec![Serve, Serve, Reset], 0));
    }

    #[test]
    fn the_last_of_three_is_held_when_two_have_long_been_dead() {
        let mut scene = Scene::new();
        let cases = [scene.silent(0), scene.silent(0), scene.silent(60_000)];
        assert_eq!(scene.decide(&cases, 61_000), (vec![Reset, Reset, Drain], 1));
    }

    #[test]
    fn a_wrong_ca_is_no_reason_to_cut_everybody_off() {
        let mut scene = Scene::new();
        let all = [scene.heard(Class::Foreign, 500); 3];
        assert_eq!(scene.decide(&all, 1000), (vec![Drain; 3], 3));
        let one = [scene.heard(Class::Foreign, 500), scene.heard(Class::Ready, 900)];
        assert_eq!(scene.decide(&one, 1000), (vec![Reset, Serve], 0));
    }

    #[test]
    fn a_drain_ends_when_its_server_has_had_all_its_time() {
        let mut scene = Scene::new();
        for (class, cap) in [
            (Class::ShuttingDown, 180_000),
            (Class::Refused, 75_000),
            (Class::EtcdUnready, 30_000),
        ] {
            let cases = [scene.heard(class, 0), scene.heard(Class::Ready, 0)];
            assert_eq!(scene.decide(&cases, cap - 1).0, [Drain, Serve], "{class}");
            assert_eq!(scene.decide(&cases, cap).0, [Reset, Serve], "{class}");
            // Never where there is nowhere better to go.
            let cases = [scene.heard(class, 0), scene.heard(class, 0)];
            assert!(!scene.decide(&cases, 10 * cap).0.contains(&Reset), "{class}");
        }
    }

    #[test]
    fn who_has_left_is_drained_for_a_while_and_reset_if_silent() {
        let mut scene = Scene::new();
        let leaving_since = Some(scene.start);
        let left = Case { leaving_since, ..scene.heard(Class::Ready, 100) };
        let dead = Case { leaving_since, ..scene.silent(100) };
        let cases = [left, dead, scene.heard(Class::Ready, 400)];
        assert_eq!(scene.decide(&cases, 500).0, [Drain, Reset, Serve]);
        assert_eq!(scene.decide(&cases, 180_000).0, [Reset, Reset, Serve]);
    }
}
