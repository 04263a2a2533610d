//! What is done about each backend of a pool, in time: what [`decide`](crate::treatment::decide)
//! says, with the **brake** on its resets and a **cap** on its drains. Pure: `now` is an argument.
//!
//! A reset cannot be undone, and the fault may be ours: a pulled uplink, a paused machine or a wrong
//! CA makes every endpoint silent or foreign at once. So a reset needs a **witness**, another
//! endpoint that was heard before the accused was last asked and after it had long not answered:
//!
//! ```text
//! accused   silent since ─────────── asked twice more ────────── still silent ──> reset
//! witness                   heard                        heard
//! ```
//!
//! Without one nobody is reset for a while.
//!
//! A drain is for connections that end by themselves. Those that are left when a server has had all
//! the time it takes are ended by us, as long as there is somewhere better to go.

use std::time::Duration;

use tokio::time::Instant;

use crate::endpoint::Endpoint;
use crate::health::{Class, Evidence, Health};
use crate::treatment::{self, Treatment};

/// How much later than the start of a silence its witness must have been heard: what was under way
/// when an uplink was pulled may still arrive, or have arrived just before.
pub const MARGIN: Duration = Duration::from_millis(100);

/// A witness is asked when the accused falls silent, at the moment that this is asked again; so the
/// answer comes a moment later.
const ROLL_CALL: Duration = Duration::from_millis(50);

/// What a decision rests on, for one backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Which one it is.
    pub endpoint: Endpoint,
    /// What is believed.
    pub evidence: Evidence,
    /// Since when that is its class.
    pub since: Instant,
    /// When the silence began that makes it a suspect or dead; `None` where it is not silent.
    pub silent_since: Option<Instant>,
    /// When the last but one probe began to which it was silent: two, since one may be lost.
    pub silent_look: Option<Instant>,
    /// When it last proved to be alive: by an answer to a probe, or by a byte.
    pub alive_at: Option<Instant>,
    /// Since when it has not been served, if it was drained then.
    pub drained_since: Option<Instant>,
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
    /// Each that is accused.
    accused: Vec<Accused>,
}

/// An endpoint that is silent or foreign.
#[derive(Clone, Copy, Debug)]
struct Accused {
    endpoint: Endpoint,
    /// When another was first heard meanwhile.
    witnessed: Option<Instant>,
    /// It is dead or foreign for certain, and stays so until it proves otherwise.
    condemned: bool,
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
        Self { brake, caps, accused: Vec::new() }
    }

    /// Decides. `cases` are all backends of the pool.
    pub fn decide(&mut self, cases: &[Case], now: Instant) -> Decision {
        self.hear_witnesses(cases);
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
            let reset_at = match wanted {
                Treatment::Serve => None,
                Treatment::Drain => self.capped_at(place, cases),
                Treatment::Reset => self.reset_at(place, cases, now),
            };
            let treatment = match (reset_at, wanted) {
                (Some(at), _) if at <= now => Treatment::Reset,
                (Some(at), _) => {
                    decision.until = Some(decision.until.map_or(at, |until| until.min(at)));
                    decision.held += usize::from(wanted == Treatment::Reset);
                    Treatment::Drain
                }
                (None, Treatment::Serve) => Treatment::Serve,
                (None, Treatment::Drain | Treatment::Reset) => Treatment::Drain,
            };
            decision.treatments.push(treatment);
        }
        decision
    }

    /// Notes when somebody else was first heard in each silence.
    fn hear_witnesses(&mut self, cases: &[Case]) {
        let is_bad = |endpoint: Endpoint| {
            let case = cases.iter().find(|case| case.endpoint == endpoint);
            case.is_some_and(|case| {
                case.accused_since().is_some() || case.evidence.health == Health::Dead
            })
        };
        self.accused.retain(|accused| is_bad(accused.endpoint));
        for case in cases {
            let Some(since) = case.accused_since() else { continue };
            let heard = heard_last(case, cases).filter(|heard| *heard >= since + MARGIN);
            match self.accused.iter_mut().find(|accused| accused.endpoint == case.endpoint) {
                Some(accused) => accused.witnessed = accused.witnessed.or(heard),
                None => self.accused.push(Accused {
                    endpoint: case.endpoint,
                    witnessed: heard,
                    condemned: false,
                }),
            }
        }
    }

    /// When a backend that is dead or foreign is reset. `None` where it has been heard since, and is
    /// only not believed yet.
    fn reset_at(&mut self, place: usize, cases: &[Case], now: Instant) -> Option<Instant> {
        let case = cases.get(place)?;
        let accused = self.accused.iter_mut().find(|accused| accused.endpoint == case.endpoint)?;
        if accused.condemned {
            return Some(now);
        }
        let since = case.accused_since()?;
        let foreign = case.evidence.health == Health::Foreign;
        if !foreign && case.alive_at.is_some_and(|alive| alive > since) {
            return None;
        }
        let held_until = since + self.brake;
        let last = heard_last(case, cases);
        let around = |asked: Instant| {
            // Any byte proves that it lives.
            case.alive_at.is_none_or(|alive| alive < asked)
                && accused.witnessed.is_some_and(|first| first <= asked + ROLL_CALL)
                && last.is_some_and(|last| last >= asked + MARGIN)
        };
        let is_witnessed = match (case.evidence.health, case.silent_look) {
            (_, Some(asked)) => around(asked),
            // That it is foreign was proven by its answer.
            (_, None) => foreign && accused.witnessed.is_some(),
        };
        accused.condemned |= is_witnessed || now >= held_until;
        Some(if accused.condemned { now } else { held_until })
    }

    /// When a backend has been drained long enough, if there is somewhere better to go.
    fn capped_at(&self, place: usize, cases: &[Case]) -> Option<Instant> {
        let case = cases.get(place)?;
        let drained_since = case.drained_since?.max(case.since);
        let better = |(other, case): (usize, &Case)| {
            other != place && case.evidence.health == Health::Ready && case.leaving_since.is_none()
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
        let by_class = by_class.map(|cap| drained_since + cap);
        let by_leaving = case.leaving_since.zip(self.caps.leaving).map(|(since, cap)| since + cap);
        [by_class, by_leaving].into_iter().flatten().min()
    }
}

impl Case {
    /// Since when there is something against it that calls for a reset.
    fn accused_since(&self) -> Option<Instant> {
        let foreign = (self.evidence.health == Health::Foreign).then_some(self.since);
        self.silent_since.or(foreign)
    }
}

/// When any other than the accused was last heard, and is not accused of being foreign or dead.
fn heard_last(accused: &Case, cases: &[Case]) -> Option<Instant> {
    let ours = |case: &&Case| match case.evidence.health {
        Health::Unknown | Health::Ready | Health::Unready => case.endpoint != accused.endpoint,
        Health::Dead | Health::Foreign => false,
    };
    cases.iter().filter(ours).filter_map(|case| case.alive_at).max()
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

        /// The endpoint of a number, heard last at the given time.
        fn heard(&self, number: u8, class: Class, at: u64) -> Case {
            Case {
                endpoint: Endpoint::new(([10, 0, 0, number], 6443).into()),
                evidence: Evidence { health: class.health(), class },
                since: self.start,
                silent_since: None,
                silent_look: None,
                alive_at: Some(self.at(at)),
                drained_since: Some(self.start),
                leaving_since: None,
            }
        }

        /// The endpoint of a number, silent since the given time, last to a probe that began later.
        fn silent(&self, number: u8, since: u64, look: u64) -> Case {
            Case {
                since: self.at(since),
                silent_since: Some(self.at(since)),
                silent_look: Some(self.at(look)),
                ..self.heard(number, Class::TlsTimeout, since)
            }
        }

        /// As [`Scene::silent`], and only suspected.
        fn suspect(&self, number: u8, since: u64, look: u64) -> Case {
            let class = Class::TlsTimeout;
            let evidence = Evidence { health: Health::Unready, class };
            Case { evidence, ..self.silent(number, since, look) }
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
        // It is suspected, and the other is heard all the time.
        let cases = [scene.heard(1, Class::Ready, 205), scene.suspect(2, 10, 110)];
        assert_eq!(scene.decide(&cases, 210), (vec![Serve, Drain], 0));
        let cases = [scene.heard(1, Class::Ready, 405), scene.silent(2, 10, 210)];
        assert_eq!(scene.decide(&cases, 410), (vec![Serve, Reset], 0));
    }

    #[test]
    fn a_witness_is_enough_that_only_answers_when_it_is_asked() {
        let mut scene = Scene::new();
        let cases = [scene.heard(1, Class::Ready, 215), scene.suspect(2, 10, 110)];
        scene.decide(&cases, 216);
        let cases = [scene.heard(1, Class::Ready, 215), scene.silent(2, 10, 210)];
        assert_eq!(scene.decide(&cases, 410), (vec![Serve, Drain], 1), "it may be silent by now");
        let cases = [scene.heard(1, Class::Ready, 420), scene.silent(2, 10, 210)];
        assert_eq!(scene.decide(&cases, 421), (vec![Serve, Reset], 0));
    }

    #[test]
    fn our_own_uplink_resets_nobody_while_the_brake_holds() {
        let mut scene = Scene::new();
        // What was under way arrives a moment after the first was asked.
        let cases = [
            scene.silent(1, 0, 200),
            scene.heard(2, Class::Ready, 40),
            scene.heard(3, Class::Ready, 30),
        ];
        assert_eq!(scene.decide(&cases, 500).0, [Drain, Serve, Serve]);
        let cases = [scene.silent(1, 0, 200), scene.silent(2, 40, 240), scene.silent(3, 30, 230)];
        assert_eq!(scene.decide(&cases, 900), (vec![Drain; 3], 3));
        let now = scene.at(900);
        let until = scene.decider.decide(&cases, now).until.unwrap();
        assert_eq!(until, scene.at(15_000));
        assert_eq!(scene.decide(&cases, 15_040), (vec![Reset; 3], 0));
    }

    #[test]
    fn when_the_uplink_is_back_all_are_asked_again_first() {
        let mut scene = Scene::new();
        let dark = [scene.silent(1, 0, 4800), scene.silent(2, 40, 4900), scene.silent(3, 30, 4700)];
        scene.decide(&dark, 4950);
        let [_, second, third] = dark;
        let cases = [scene.heard(1, Class::Ready, 5000), second, third];
        assert_eq!(scene.decide(&cases, 5000), (vec![Serve, Drain, Drain], 2));
        let cases = [scene.heard(1, Class::Ready, 5300), scene.heard(2, Class::Ready, 5200), third];
        assert_eq!(scene.decide(&cases, 5300), (vec![Serve, Serve, Drain], 1));
        // Who is silent to a probe that began since then is dead.
        let third = scene.silent(3, 30, 5250);
        let cases = [scene.heard(1, Class::Ready, 5700), scene.heard(2, Class::Ready, 5600), third];
        assert_eq!(scene.decide(&cases, 5750), (vec![Serve, Serve, Reset], 0));
    }

    #[test]
    fn an_uplink_that_comes_back_for_a_moment_proves_nothing() {
        let mut scene = Scene::new();
        scene.decide(&[scene.silent(1, 0, 500), scene.silent(2, 0, 500)], 900);
        let cases = [scene.silent(1, 0, 500), scene.heard(2, Class::Ready, 1100)];
        scene.decide(&cases, 1100);
        // Asked again within that moment, which has passed.
        let cases = [scene.silent(1, 0, 1150), scene.heard(2, Class::Ready, 1190)];
        assert_eq!(scene.decide(&cases, 1600).0, [Drain, Serve]);
    }

    #[test]
    fn who_is_heard_after_it_was_last_asked_is_not_reset() {
        let mut scene = Scene::new();
        let cases = [scene.heard(1, Class::Ready, 205), scene.suspect(2, 10, 110)];
        scene.decide(&cases, 210);
        let alive_at = Some(scene.at(400));
        let revived = Case { alive_at, ..scene.silent(2, 10, 210) };
        assert_eq!(
            scene.decide(&[scene.heard(1, Class::Ready, 405), revived], 410).0,
            [Serve, Drain]
        );
    }

    #[test]
    fn who_answers_when_the_brake_lets_go_is_not_reset() {
        let mut scene = Scene::new();
        let dark = [scene.silent(1, 0, 14_000), scene.silent(2, 0, 14_000)];
        scene.decide(&dark, 14_700);
        // One answer, where it takes two to be believed.
        let answered = |scene: &Scene, number| Case {
            silent_since: None,
            silent_look: None,
            alive_at: Some(scene.at(14_800)),
            ..scene.silent(number, 0, 0)
        };
        let cases = [answered(&scene, 1), answered(&scene, 2)];
        assert_eq!(scene.decide(&cases, 15_100), (vec![Drain; 2], 0));
        // Bytes on what is open, and a probe that still waits.
        let alive_at = Some(scene.at(14_900));
        let heard = Case { alive_at, ..scene.silent(1, 0, 14_000) };
        assert_eq!(scene.decide(&[heard, answered(&scene, 2)], 15_100), (vec![Drain; 2], 0));
    }

    #[test]
    fn who_was_condemned_stays_so_until_it_is_believed() {
        let mut scene = Scene::new();
        scene.decide(&[scene.heard(1, Class::Ready, 205), scene.suspect(2, 10, 110)], 210);
        let cases = [scene.heard(1, Class::Ready, 405), scene.silent(2, 10, 210)];
        assert_eq!(scene.decide(&cases, 410).0, [Serve, Reset]);
        let answered = Case { silent_since: None, silent_look: None, ..scene.silent(2, 10, 210) };
        assert_eq!(
            scene.decide(&[scene.heard(1, Class::Ready, 505), answered], 510).0,
            [Serve, Reset]
        );
    }

    #[test]
    fn the_last_of_three_is_held_when_two_have_long_been_dead() {
        let mut scene = Scene::new();
        let cases = [
            scene.silent(1, 0, 60_000),
            scene.silent(2, 0, 60_000),
            scene.silent(3, 60_000, 60_500),
        ];
        assert_eq!(scene.decide(&cases, 61_000), (vec![Reset, Reset, Drain], 1));
    }

    #[test]
    fn a_wrong_ca_is_no_reason_to_cut_everybody_off() {
        let mut scene = Scene::new();
        let all = [1, 2, 3].map(|number| scene.heard(number, Class::Foreign, 500));
        assert_eq!(scene.decide(&all, 1000), (vec![Drain; 3], 3));
        let one = [scene.heard(1, Class::Foreign, 500), scene.heard(2, Class::Ready, 900)];
        assert_eq!(scene.decide(&one, 1000), (vec![Reset, Serve], 0));
    }

    #[test]
    fn a_drain_ends_when_its_server_has_had_all_its_time() {
        let mut scene = Scene::new();
        for (class, cap) in
            [(Class::ShuttingDown, 180_000), (Class::Refused, 75_000), (Class::EtcdUnready, 30_000)]
        {
            let cases = [scene.heard(1, class, 0), scene.heard(2, Class::Ready, 0)];
            assert_eq!(scene.decide(&cases, cap - 1).0, [Drain, Serve], "{class}");
            assert_eq!(scene.decide(&cases, cap).0, [Reset, Serve], "{class}");
            // From when it is drained, not from when it was served for want of a better one.
            let late = Case { drained_since: Some(scene.at(cap)), ..cases[0] };
            assert_eq!(scene.decide(&[late, cases[1]], cap).0, [Drain, Serve], "{class}");
            let first = Case { drained_since: None, ..cases[0] };
            assert_eq!(scene.decide(&[first, cases[1]], cap).0, [Drain, Serve], "{class}");
            // Never where there is nowhere better to go.
            let cases = [scene.heard(1, class, 0), scene.heard(2, class, 0)];
            assert!(!scene.decide(&cases, 10 * cap).0.contains(&Reset), "{class}");
        }
    }

    #[test]
    fn who_has_left_is_drained_for_a_while_and_reset_if_silent() {
        let mut scene = Scene::new();
        let leaving_since = Some(scene.start);
        let left = Case { leaving_since, ..scene.heard(1, Class::Ready, 300) };
        let suspect = Case { leaving_since, ..scene.suspect(2, 100, 250) };
        scene.decide(&[left, suspect, scene.heard(3, Class::Ready, 240)], 260);
        let dead = Case { leaving_since, ..scene.silent(2, 100, 250) };
        let cases = [left, dead, scene.heard(3, Class::Ready, 400)];
        assert_eq!(scene.decide(&cases, 500).0, [Drain, Reset, Serve]);
        assert_eq!(scene.decide(&cases, 180_000).0, [Reset, Reset, Serve]);
    }
}
