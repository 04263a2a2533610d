use evenkeel_core::units::Span;

use super::*;

/// A judge in virtual time.
struct Trial {
    judge: Judge,
    start: Instant,
    testimony: Testimony,
    now: Instant,
}

impl Trial {
    /// Of an endpoint that is known to be ready, whose connects and handshakes take 2 ms.
    fn of_ready() -> Self {
        Self::configured(&HealthConfig::default())
    }

    fn configured(config: &HealthConfig) -> Self {
        let start = Instant::now();
        let mut trial =
            Self { judge: Judge::new(config), start, testimony: Testimony::default(), now: start };
        let look = trial.step(0).begin.unwrap();
        trial.judge.opened(ms(2), Some(ms(2)));
        trial.judge.ended(look, Class::Ready, trial.now, &trial.testimony);
        trial
    }

    fn at(&self, milliseconds: u64) -> Instant {
        self.start + ms(milliseconds)
    }

    fn step(&mut self, at: u64) -> Step {
        self.now = self.at(at);
        self.judge.step(self.now, &self.testimony)
    }

    /// Steps whenever it wants to until the given time; the looks that begin, and when.
    fn run_until(&mut self, until: u64) -> Vec<(u64, Duration)> {
        let mut begun = Vec::new();
        loop {
            let step = self.judge.step(self.now, &self.testimony);
            if let Some(look) = step.begin {
                begun.push((look, self.now - self.start));
            } else if step.wake > self.at(until) {
                return begun;
            } else {
                self.now = step.wake;
            }
        }
    }

    fn health(&self) -> Health {
        self.judge.evidence().health
    }
}

fn seldom() -> HealthConfig {
    HealthConfig { interval: Span::from_secs(60), ..HealthConfig::default() }
}

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[test]
fn it_looks_by_the_interval_and_when_it_is_asked() {
    let mut trial = Trial::of_ready();
    let step = trial.step(10);
    assert_eq!((step.begin, step.wake), (None, trial.at(500)));
    trial.judge.ask();
    // Not in a storm.
    let step = trial.step(10);
    assert_eq!((step.begin, step.wake), (None, trial.at(50)));
    assert_eq!(trial.step(50).begin, Some(2));
}

#[test]
fn chance_makes_the_interval_shorter_and_never_longer() {
    let next = |chance| {
        let mut trial = Trial::of_ready();
        let now = trial.at(0);
        trial.judge.shorten(now, chance);
        trial.step(10).wake - trial.start
    };
    assert_eq!([0.0, 0.5, 1.0].map(next), [ms(500), ms(475), ms(450)]);
}

#[test]
fn a_silent_look_is_a_suspicion_that_an_answer_clears() {
    let mut trial = Trial::of_ready();
    trial.judge.ask();
    let begun = trial.run_until(160);
    assert_eq!(begun, [(2, ms(50)), (3, ms(150))], "the second once the first is suspicious");
    assert_eq!(trial.health(), Health::Unready);
    let now = trial.at(170);
    assert!(trial.judge.ended(3, Class::Ready, now, &trial.testimony));
    assert_eq!(trial.health(), Health::Ready);
}

#[test]
fn a_look_that_runs_out_as_it_becomes_suspicious_ends_before_the_next_begins() {
    let short = HealthConfig { connect_timeout: Span::from_millis(100), fall: 1, ..seldom() };
    let mut trial = Trial::configured(&short);
    trial.judge.ask();
    // Whichever is seen first, the time or the end of the look, the rest is the same.
    assert_eq!(trial.run_until(150), [(2, ms(50))]);
    assert_eq!(trial.health(), Health::Unready);
    let mut ends = |look, at, begun: &[(u64, Duration)]| {
        let now = trial.at(at);
        trial.judge.ended(look, Class::ConnectTimeout, now, &trial.testimony);
        assert_eq!(trial.health(), Health::Dead);
        assert_eq!(trial.run_until(at + 20_000), begun);
    };
    ends(2, 150, &[(3, ms(200))]);
    // Two are enough, until the interval is over.
    ends(3, 300, &[]);
}

#[test]
fn two_silent_looks_and_silent_traffic_are_enough() {
    for (unacknowledged, stage, dead_at) in [
        // The host is gone: its kernel acknowledges nothing.
        (true, Stage::Connecting, 50 + 100 + 200),
        // The process accepts nobody and says nothing.
        (false, Stage::Connecting, 50 + 100 + 500),
        (false, Stage::Shaking, 50 + 150 + 500),
    ] {
        let mut trial = Trial::of_ready();
        trial.testimony.silent_since = Some(trial.at(0));
        trial.testimony.unacknowledged_since = unacknowledged.then_some(trial.at(0));
        trial.judge.ask();
        let mut died = None;
        for at in 10..1000 {
            let step = trial.step(at);
            if let Some(look) = step.begin {
                trial.judge.progressed(look, stage, trial.at(at));
            }
            if trial.health() == Health::Dead && died.is_none() {
                died = Some(at);
            }
        }
        assert_eq!(died, Some(dead_at), "{stage:?}");
    }
}

#[test]
fn without_traffic_silence_must_last() {
    let mut trial = Trial::of_ready();
    trial.judge.ask();
    trial.run_until(1249);
    assert_eq!(trial.health(), Health::Unready);
    trial.now = trial.at(1250);
    trial.judge.ended(2, Class::ConnectTimeout, trial.now, &Testimony::default());
    assert_eq!(trial.health(), Health::Unready);
    trial.now = trial.at(1350);
    trial.judge.ended(3, Class::ConnectTimeout, trial.now, &Testimony::default());
    assert_eq!(trial.health(), Health::Dead);
    assert_eq!(trial.judge.silent_since(), Some(trial.at(50)));
}

#[test]
fn a_byte_proves_that_it_lives() {
    let mut trial = Trial::of_ready();
    trial.judge.ask();
    trial.run_until(300);
    // Its accept queue is full, and those that are in are served.
    trial.testimony.heard_at = Some(trial.at(400));
    trial.run_until(1249);
    for (look, at) in [(2, 1250), (3, 1350)] {
        let now = trial.at(at);
        trial.judge.ended(look, Class::ConnectTimeout, now, &trial.testimony.clone());
    }
    assert_eq!(trial.health(), Health::Unready);
    trial.testimony.silent_since = Some(trial.at(401));
    trial.run_until(1360);
    assert_eq!(trial.health(), Health::Unready);
}

#[test]
fn who_was_held_up_himself_accuses_nobody() {
    let mut trial = Trial::of_ready();
    trial.judge.ask();
    trial.run_until(60);
    trial.testimony.silent_since = Some(trial.at(0));
    // The machine is paused for five seconds.
    assert_eq!(trial.step(5000).begin, None);
    assert_eq!(trial.health(), Health::Ready);
    trial.now = trial.at(5001);
    trial.judge.ended(2, Class::ConnectTimeout, trial.now, &trial.testimony.clone());
    assert_eq!(trial.health(), Health::Ready, "the look that was in flight proves nothing");
    assert_eq!(trial.run_until(5100).len(), 1, "another follows at once");
}

#[test]
fn who_is_always_a_little_late_still_finds_the_dead() {
    let mut trial = Trial::of_ready();
    trial.testimony.silent_since = Some(trial.at(0));
    trial.judge.ask();
    let mut at = 50;
    while trial.health() != Health::Dead {
        let mut step = trial.step(at);
        while let Some(look) = step.begin {
            trial.judge.progressed(look, Stage::Shaking, trial.at(at));
            step = trial.step(at);
        }
        // 70 ms after it wanted to be woken.
        let wake = step.wake.saturating_duration_since(trial.start).as_millis();
        at = u64::try_from(wake).unwrap() + 70;
        assert!(at < 5000, "not found within {at} ms");
    }
}

#[test]
fn slow_networks_are_given_more_time() {
    let mut trial = Trial::of_ready();
    for _ in 0..8 {
        trial.judge.opened(ms(120), Some(ms(240)));
    }
    // Two lost packets change nothing.
    trial.judge.opened(ms(1120), Some(ms(240)));
    trial.judge.opened(ms(1120), Some(ms(240)));
    trial.judge.ask();
    trial.run_until(409);
    assert_eq!(trial.health(), Health::Ready);
    trial.run_until(410);
    assert_eq!(trial.health(), Health::Unready, "three times what a connect usually takes");
}

#[test]
fn a_look_that_waits_for_its_answer_hides_nothing() {
    let mut trial = Trial::of_ready();
    let [(look, _)] = trial.run_until(500)[..] else { panic!("one look") };
    trial.judge.progressed(look, Stage::Open, trial.at(500));
    trial.step(501);
    trial.judge.ask();
    assert_eq!(trial.step(550).begin, Some(look + 1), "asked meanwhile, it looks beside it");
    assert_eq!(trial.step(560).begin, None);
}
