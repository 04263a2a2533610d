use proptest::prelude::*;

use super::super::config::HookCall;
use super::super::exec::ExecHook;
use super::*;

const UNIX_MS: u64 = 1_795_000_000_000;

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn config() -> HookConfig {
    HookConfig::calling(HookCall::Exec(ExecHook { command: vec!["/hook".to_owned()] }))
}

/// A driver of node `a` with a clock of its own, which goes on only by [`Rig::pass`].
struct Rig {
    driver: HookDriver,
    now: Instant,
    begun: Option<Begin>,
    wake: Option<Instant>,
    finished: bool,
}

impl Rig {
    fn new(config: &HookConfig) -> Self {
        let now = Instant::now();
        let driver = HookDriver::new(config, "a", now, UNIX_MS, 1);
        Self { driver, now, begun: None, wake: None, finished: false }
    }

    /// What is told, without the calls.
    fn step(&mut self, event: Event) -> Vec<HookTold> {
        let step = self.driver.step(event, self.now);
        if step.abandon {
            assert!(self.begun.take().is_some(), "abandoned what was not in flight");
        }
        if let Some(begin) = step.begin {
            assert!(self.begun.replace(begin).is_none(), "two calls in flight");
        }
        self.wake = step.wake;
        self.finished = step.finished;
        step.told.into_iter().filter(|told| !matches!(told, HookTold::Called { .. })).collect()
    }

    fn want(&mut self, wanted: bool) -> Vec<HookTold> {
        self.step(Event::Wanted(wanted))
    }

    fn end(&mut self, result: Result<Option<&str>, &str>) -> Vec<HookTold> {
        assert!(self.begun.take().is_some(), "nothing in flight");
        let result = result.map(|owner| owner.map(str::to_owned)).map_err(str::to_owned);
        self.step(Event::Ended(result))
    }

    fn owner_is(&mut self, owner: &str) -> Vec<HookTold> {
        assert_eq!(self.calls(), Some(Operation::Owner));
        self.end(Ok(Some(owner)))
    }

    fn calls(&self) -> Option<Operation> {
        self.begun.map(|begin| begin.operation)
    }

    fn pass(&mut self, time: Duration) -> Vec<HookTold> {
        self.now += time;
        self.step(Event::Tick)
    }

    /// Time goes on until something is due; how long that was.
    fn wait(&mut self) -> Duration {
        let wait = self.wake.expect("something is due") - self.now;
        assert_eq!(self.pass(wait), []);
        wait
    }

    /// The elected owner, whose address has been found to be its own.
    fn holding(config: &HookConfig) -> Self {
        let mut rig = Self::new(config);
        assert_eq!(rig.want(true), []);
        assert_eq!(rig.end(Ok(None)), []);
        assert!(matches!(rig.owner_is("a")[..], [HookTold::Acquired { .. }]));
        rig
    }
}

#[test]
fn a_standby_calls_nothing() {
    let mut rig = Rig::new(&config());
    assert_eq!(rig.want(false), []);
    assert_eq!((rig.calls(), rig.wake), (None, None));
}

#[test]
fn acquire_is_believed_only_when_owner_says_the_same() {
    let mut rig = Rig::new(&config());
    rig.want(true);
    let begun = rig.begun.unwrap();
    assert_eq!(
        (begun.operation, begun.epoch, begun.timeout),
        (Operation::Acquire, UNIX_MS, seconds(30))
    );
    rig.now += seconds(2);
    assert_eq!(rig.end(Ok(None)), []);
    assert_eq!(rig.owner_is("b"), []);
    let polled = rig.wait();
    assert!(polled <= POLL.0, "{polled:?}");
    assert_eq!(
        rig.owner_is("a"),
        [HookTold::Acquired { took: seconds(2) + polled, epoch: UNIX_MS }]
    );
    assert_eq!(rig.wait(), seconds(60));
    assert_eq!(rig.owner_is("a"), [HookTold::Verified]);
}

#[test]
fn an_acquire_that_does_not_show_in_time_is_repeated() {
    let mut rig = Rig::new(&config());
    rig.want(true);
    rig.end(Ok(None));
    let begun = rig.now;
    let told = loop {
        let told = rig.owner_is("b");
        if !told.is_empty() {
            break told;
        }
        rig.wait();
    };
    assert_eq!(rig.now - begun, seconds(30));
    let [HookTold::Failed { operation: Operation::Acquire, why, retry_in: Some(pause) }] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(why, "done, but the owner is b");
    assert_eq!(rig.wait(), *pause);
    assert_eq!(rig.calls(), Some(Operation::Acquire));
    assert!(rig.begun.unwrap().epoch > UNIX_MS);
}

#[test]
fn an_acquire_that_cannot_be_verified_is_not_repeated() {
    let mut rig = Rig::new(&config());
    rig.want(true);
    rig.end(Ok(None));
    for _ in 0..100 {
        assert_eq!(rig.calls(), Some(Operation::Owner));
        rig.end(Err("503"));
        rig.wait();
    }
    assert_eq!(rig.driver.moves.len(), 1);
    assert!(matches!(rig.owner_is("a")[..], [HookTold::Acquired { .. }]));
}

#[test]
fn after_a_failed_acquire_owner_is_asked_first() {
    let mut rig = Rig::new(&config());
    rig.want(true);
    let told = rig.end(Err("exit status: 1: throttled"));
    let [HookTold::Failed { operation: Operation::Acquire, why, retry_in: Some(pause) }] =
        &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(why, "exit status: 1: throttled");
    assert_eq!(rig.wait(), *pause);
    // It had worked all the same.
    assert!(matches!(rig.owner_is("a")[..], [HookTold::Acquired { .. }]));

    let mut rig = Rig::new(&config());
    rig.want(true);
    rig.end(Err("no end within 30s"));
    rig.wait();
    assert_eq!(rig.owner_is("b"), []);
    assert_eq!(rig.calls(), Some(Operation::Acquire));
}

#[test]
fn a_provider_that_does_not_answer_costs_no_moves() {
    let mut rig = Rig::new(&config());
    rig.want(true);
    let begun = rig.now;
    let mut acquires = 0;
    while rig.now - begun < seconds(3600) {
        acquires += u32::from(rig.calls() == Some(Operation::Acquire));
        rig.now += seconds(1);
        rig.end(Err("no route"));
        rig.wait();
    }
    // Evenly spread, one each six minutes and never the limit.
    assert!((9..=10).contains(&acquires), "{acquires}");
    assert_eq!(rig.driver.limit_told, None);
}

#[test]
fn a_lost_address_is_acquired_again_at_once() {
    let mut rig = Rig::holding(&config());
    rig.wait();
    assert_eq!(rig.owner_is("b"), [HookTold::Lost { owner: Some("b".to_owned()) }]);
    assert_eq!(rig.calls(), Some(Operation::Acquire));
    rig.end(Ok(None));
    rig.owner_is("a");
    rig.wait();
    assert_eq!(rig.end(Ok(None)), [HookTold::Lost { owner: None }]);
    assert_eq!(rig.calls(), Some(Operation::Acquire));
}

#[test]
fn an_owner_that_fails_takes_no_address_away() {
    let mut rig = Rig::holding(&config());
    for _ in 0..10 {
        rig.wait();
        assert_eq!(rig.calls(), Some(Operation::Owner));
        let told = rig.end(Err("503"));
        let expected = matches!(
            &told[..],
            [HookTold::Failed { operation: Operation::Owner, retry_in: Some(pause), .. }]
                if *pause <= seconds(60)
        );
        assert!(expected, "{told:?}");
    }
    rig.wait();
    assert_eq!(rig.owner_is("a"), [HookTold::Verified]);
}

#[test]
fn at_the_limit_it_only_looks_and_says_so_once() {
    let config = HookConfig { max_moves_per_hour: 3, ..config() };
    let mut rig = Rig::holding(&config);
    let first = rig.now;
    for _ in 0..2 {
        rig.wait();
        rig.owner_is("b");
        rig.end(Ok(None));
        rig.owner_is("a");
    }
    rig.wait();
    let lost = HookTold::Lost { owner: Some("b".to_owned()) };
    let limited = HookTold::RateLimited { until: first + HOUR };
    assert_eq!(rig.owner_is("b"), [lost, limited]);
    while rig.now < first + HOUR - seconds(60) {
        assert_eq!(rig.calls(), None);
        assert_eq!(rig.wait(), seconds(60));
        assert_eq!(rig.owner_is("b"), []);
    }
    rig.wait();
    assert_eq!(rig.now, first + HOUR);
    assert_eq!(rig.calls(), Some(Operation::Acquire));
}

#[test]
fn at_the_limit_an_address_that_comes_back_is_held() {
    let config = HookConfig { max_moves_per_hour: 1, ..config() };
    let mut rig = Rig::holding(&config);
    rig.wait();
    rig.owner_is("b");
    rig.wait();
    assert!(matches!(rig.owner_is("a")[..], [HookTold::Acquired { .. }]));
    rig.wait();
    assert_eq!(rig.owner_is("a"), [HookTold::Verified]);
}

#[test]
fn what_another_node_takes_in_time_is_not_released() {
    let mut rig = Rig::holding(&config());
    assert_eq!(rig.want(false), []);
    assert_eq!(rig.wait(), GRACE);
    assert_eq!(rig.owner_is("b"), [HookTold::Released { owner: Some("b".to_owned()) }]);
    assert_eq!((rig.calls(), rig.wake), (None, None));
}

#[test]
fn what_nobody_takes_is_released() {
    let mut rig = Rig::holding(&config());
    rig.want(false);
    rig.wait();
    assert_eq!(rig.owner_is("a"), []);
    assert_eq!(rig.calls(), Some(Operation::Release));
    assert_eq!(rig.end(Ok(None)), [HookTold::Released { owner: None }]);
    assert!(!rig.finished);
    rig.step(Event::Drain);
    assert!(rig.finished);
}

#[test]
fn a_release_that_fails_is_not_tried_again() {
    for fails_at in [Operation::Owner, Operation::Release] {
        let mut rig = Rig::holding(&config());
        rig.want(false);
        rig.wait();
        if fails_at == Operation::Release {
            rig.owner_is("a");
        }
        let why = "503".to_owned();
        assert_eq!(
            rig.end(Err("503")),
            [HookTold::Failed { operation: fails_at, why, retry_in: None }]
        );
        assert_eq!((rig.calls(), rig.wake), (None, None));
    }
}

#[test]
fn without_release_nothing_is_called() {
    let mut rig = Rig::holding(&HookConfig { release: false, ..config() });
    assert_eq!(rig.want(false), []);
    assert_eq!((rig.calls(), rig.wake), (None, None));
}

#[test]
fn a_drain_waits_for_the_wish_and_not_for_the_grace() {
    let mut rig = Rig::holding(&config());
    assert_eq!(rig.step(Event::Drain), []);
    assert!(!rig.finished && rig.calls().is_none(), "it is still the owner");
    rig.want(false);
    assert_eq!(rig.calls(), Some(Operation::Owner));
    rig.owner_is("a");
    rig.end(Ok(None));
    assert!(rig.finished);

    // The other order.
    let mut rig = Rig::holding(&config());
    rig.want(false);
    assert_eq!(rig.calls(), None);
    rig.step(Event::Drain);
    assert_eq!(rig.calls(), Some(Operation::Owner));
    rig.owner_is("b");
    assert!(rig.finished);
}

#[test]
fn the_newest_wish_counts() {
    let mut rig = Rig::new(&config());
    rig.want(true);
    let step = rig.driver.step(Event::Wanted(false), rig.now);
    let end = CallEnd::Abandoned;
    let told = HookTold::Called { operation: Operation::Acquire, end, took: Duration::ZERO };
    assert_eq!((step.abandon, step.begin, step.told), (true, None, vec![told]));
    rig.begun = None;
    rig.now += GRACE;
    rig.pass(Duration::ZERO);
    // The acquire may have worked, though nobody waited for it.
    rig.owner_is("a");
    assert_eq!(rig.calls(), Some(Operation::Release));
    // And now this node is elected after all.
    rig.want(true);
    assert_eq!(rig.calls(), Some(Operation::Acquire));
}

#[derive(Clone, Debug)]
enum Happening {
    Want(bool),
    End(Result<Option<String>, String>),
    /// Time passes, in milliseconds.
    Pass(u64),
    /// Time passes until something is due.
    Wake,
    Drain,
}

fn happening() -> impl Strategy<Value = Happening> {
    let owner = prop_oneof![Just(None), Just(Some("a".to_owned())), Just(Some("b".to_owned()))];
    let end = prop_oneof![4 => owner.prop_map(Ok), 1 => Just(Err("503".to_owned()))];
    prop_oneof![
        2 => any::<bool>().prop_map(Happening::Want),
        8 => end.prop_map(Happening::End),
        2 => (0..100_000u64).prop_map(Happening::Pass),
        8 => Just(Happening::Wake),
        1 => Just(Happening::Drain),
    ]
}

proptest! {
    #[test]
    fn whatever_happens(
        happenings in proptest::collection::vec(happening(), 1..200),
        limit in 1..5u32,
        release in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let config = HookConfig { max_moves_per_hour: limit, release, ..config() };
        let mut now = Instant::now();
        let mut driver = HookDriver::new(&config, "a", now, UNIX_MS, seed);
        let mut in_flight: Option<Operation> = None;
        let (mut wanted, mut draining, mut epoch) = (false, false, 0);
        let mut wake: Option<Instant> = None;
        let mut moves: Vec<Instant> = Vec::new();
        for happening in happenings {
            let event = match happening {
                Happening::Want(wish) => {
                    wanted = wish;
                    Event::Wanted(wish)
                }
                // Also where nothing is in flight: that must be ignored.
                Happening::End(result) => {
                    in_flight = None;
                    Event::Ended(result)
                }
                Happening::Pass(milliseconds) => {
                    now += Duration::from_millis(milliseconds);
                    Event::Tick
                }
                Happening::Wake => {
                    now = wake.unwrap_or(now).max(now);
                    Event::Tick
                }
                Happening::Drain => {
                    draining = true;
                    Event::Drain
                }
            };
            let step = driver.step(event, now);
            if step.abandon {
                prop_assert!(in_flight.take().is_some());
            }
            if let Some(begin) = step.begin {
                prop_assert_eq!(in_flight.replace(begin.operation), None, "two in flight");
                match begin.operation {
                    Operation::Acquire => {
                        prop_assert!(wanted, "acquired unwanted");
                        prop_assert!(begin.epoch > epoch, "the epoch stands");
                        epoch = begin.epoch;
                        moves.push(now);
                        moves.retain(|at| *at + HOUR > now);
                        prop_assert!(moves.len() <= limit as usize, "over the limit");
                    }
                    Operation::Release => prop_assert!(release && !wanted, "released unasked"),
                    Operation::Owner => {}
                }
                prop_assert_eq!(begin.epoch, epoch);
            }
            // It is never stuck while it is wanted, and never busy: nothing is due twice.
            prop_assert!(!wanted || in_flight.is_some() || step.wake.is_some_and(|at| at > now));
            prop_assert!(step.wake.is_none_or(|at| at > now));
            prop_assert!(!step.finished || draining && !wanted && in_flight.is_none());
            prop_assert!(step.told.len() <= 3);
            wake = step.wake;
        }
    }
}
