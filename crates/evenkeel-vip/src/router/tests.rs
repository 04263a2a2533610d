//! The state table of RFC 9568, and what goes beyond it.

use std::net::IpAddr;
use std::time::Duration;

use super::{Action, Claim, Event, Obstacle, Router, Settings, StateName, Told, Why};
use crate::class::{Class, Moment, Rank};

const INTERVAL: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Moment {
    Duration::from_millis(ms)
}

fn ip(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

/// A router with its clock, and what it did.
struct Rig {
    router: Router,
    now: Moment,
    done: Vec<(Moment, Action)>,
}

impl Rig {
    fn new(elects: bool) -> Self {
        let settings = Settings {
            interval: INTERVAL,
            rank: Rank::new(24).unwrap(),
            elects,
            lifetime: Duration::from_secs(1),
            yields_to_foreign: false,
        };
        let now = ms(1_000_000);
        Self { router: Router::new(settings, now), now, done: Vec::new() }
    }

    /// A backup that has heard an owner.
    fn backup() -> Self {
        let mut rig = Self::new(true);
        rig.give(Event::Class(Class::Healthy));
        rig.give(Event::LinkUp(vec![ip(22)]));
        rig.hear(21, 210);
        rig
    }

    fn owner() -> Self {
        let mut rig = Self::backup();
        rig.run(ms(500));
        assert_eq!(rig.router.state(), StateName::Owner);
        rig.done.clear();
        rig
    }

    fn turn(&mut self, event: Option<Event>) {
        let mut actions = Vec::new();
        self.router.wake(self.now, &mut actions);
        if let Some(event) = event {
            self.router.take(event, self.now, &mut actions);
        }
        self.router.act(self.now, &mut actions);
        self.done.extend(actions.into_iter().map(|action| (self.now, action)));
    }

    fn give(&mut self, event: Event) {
        self.turn(Some(event));
    }

    fn hear(&mut self, last: u8, priority: u8) {
        self.give(Event::Heard { source: ip(last), priority, interval: INTERVAL });
    }

    /// Lets time pass, with a class from time to time as the scorer gives it.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.router.due().filter(|due| *due <= end) {
            assert!(due >= self.now, "it is late already");
            let mut next = due;
            if self.router.class.is_some() {
                next = next.min(self.now + ms(90));
            }
            self.now = next;
            if let Some((class, _)) = self.router.class {
                self.give(Event::Class(class));
            } else {
                self.turn(None);
            }
        }
        self.now = end;
        self.turn(None);
    }

    fn sent(&self) -> Vec<u8> {
        let advert = |(_, action): &(Moment, Action)| match action {
            Action::Advertise(priority) => Some(*priority),
            Action::Hold
            | Action::Announce(_)
            | Action::Probe
            | Action::EndConnections
            | Action::Withdraw
            | Action::Release
            | Action::Tell(_) => None,
        };
        self.done.iter().filter_map(advert).collect()
    }

    fn has_done(&self, wanted: &Action) -> bool {
        self.done.iter().any(|(_, action)| action == wanted)
    }

    fn when(&self, wanted: &Action) -> Moment {
        self.done.iter().find(|(_, action)| action == wanted).unwrap().0
    }

    fn when_last(&self, wanted: &Action) -> Moment {
        self.done.iter().rfind(|(_, action)| action == wanted).unwrap().0
    }
}

#[test]
fn a_silent_owner_is_followed_after_three_intervals_and_the_skew() {
    let mut rig = Rig::backup();
    let heard = rig.now;
    rig.run(ms(500));
    // 256 - 224 = 32 of 256 parts of 100 ms.
    let due = heard + INTERVAL * 3 + Duration::from_micros(12_500);
    assert_eq!(rig.when(&Action::Hold), due);
    let at = |wanted: &Action| rig.done.iter().position(|(_, action)| action == wanted).unwrap();
    let (hold, advert) = (at(&Action::Hold), at(&Action::Advertise(224)));
    assert!(hold < advert && advert < at(&Action::Announce(224)));
    assert!(rig.has_done(&Action::Tell(Told::State(
        StateName::Owner,
        Why::Silence { source: ip(21), silent: due.saturating_sub(heard) }
    ))));
}

#[test]
fn nobody_heard_at_all_is_asked_for_first() {
    let mut rig = Rig::new(true);
    rig.give(Event::Class(Class::Healthy));
    rig.give(Event::LinkUp(vec![ip(22)]));
    rig.run(ms(400));
    assert!(rig.has_done(&Action::Probe) && !rig.has_done(&Action::Hold));
    rig.give(Event::Claim(Claim { mac: [2; 6], announced: false, rank: None }));
    rig.run(ms(900));
    assert!(rig.has_done(&Action::Tell(Told::Taken([2; 6]))));
    assert!(!rig.has_done(&Action::Hold), "somebody has it");
    rig.run(ms(1500));
    assert_eq!(rig.router.state(), StateName::Owner);
}

#[test]
fn it_does_not_preempt_within_a_class_and_does_between() {
    for (priority, class, owns) in
        [(200, Class::Healthy, false), (147, Class::Healthy, true), (100, Class::Degraded, false)]
    {
        let mut rig = Rig::backup();
        rig.give(Event::Class(class));
        for tenth in 0..40 {
            rig.run(ms(100));
            if rig.router.state() == StateName::Owner {
                assert!(tenth >= 20, "it may be that all are, and find it out one after the other");
                break;
            }
            rig.hear(21, priority);
        }
        assert_eq!(rig.router.state() == StateName::Owner, owns, "{priority} {class}");
    }
}

#[test]
fn where_all_become_degraded_one_after_the_other_the_address_stays() {
    let mut rig = Rig::backup();
    for _ in 0..9 {
        rig.run(ms(100));
        rig.hear(21, 110);
    }
    rig.give(Event::Class(Class::Degraded));
    for _ in 0..30 {
        rig.run(ms(100));
        rig.hear(21, 110);
    }
    assert_eq!(rig.router.state(), StateName::Backup);
    // Also if that is found out at the last moment.
    let mut last = Rig::backup();
    for _ in 0..22 {
        last.hear(21, 110);
        last.run(ms(100));
    }
    last.hear(21, 110);
    last.give(Event::Class(Class::Degraded));
    last.run(ms(250));
    assert_eq!(last.router.state(), StateName::Backup);
}

#[test]
fn a_leaving_owner_is_followed_after_the_skew_however_often_it_says_so() {
    let mut rig = Rig::backup();
    rig.hear(21, 0);
    let heard = rig.now;
    rig.run(ms(5));
    rig.hear(21, 0);
    rig.run(ms(20));
    assert_eq!(rig.when(&Action::Hold), heard + Duration::from_micros(12_500));
    assert!(rig.has_done(&Action::Tell(Told::State(StateName::Owner, Why::Left(ip(21))))));
}

#[test]
fn an_owner_beats_and_renews_and_announces() {
    let mut rig = Rig::owner();
    rig.run(Duration::from_secs(10));
    assert!((99..=101).contains(&rig.sent().len()), "{}", rig.sent().len());
    let count = |wanted: &Action| rig.done.iter().filter(|(_, action)| action == wanted).count();
    assert!((32..=34).contains(&count(&Action::Hold)), "{}", count(&Action::Hold));
    // Some came before `done` was cleared.
    assert_eq!(count(&Action::Announce(224)), 4);
}

#[test]
fn a_better_owner_is_answered_once_more_and_then_given_way() {
    let mut rig = Rig::owner();
    rig.hear(23, 230);
    assert_eq!(rig.sent(), [0], "not to be taken for an owner's");
    assert!(!rig.has_done(&Action::EndConnections), "its announcement may still be under way");
    rig.run(ms(75));
    assert!(rig.has_done(&Action::EndConnections) && !rig.has_done(&Action::Release));
    rig.run(ms(30));
    assert!(rig.has_done(&Action::Release));
    assert_eq!(rig.router.state(), StateName::Backup);
}

#[test]
fn of_equals_the_greater_address_wins() {
    for (last, yields) in [(21, false), (23, true)] {
        let mut rig = Rig::owner();
        rig.hear(last, 224);
        assert_eq!(rig.router.state() == StateName::Yielding, yields);
    }
}

#[test]
fn a_lesser_owner_is_told_at_once_and_the_network_with_it_but_not_in_a_storm() {
    let mut rig = Rig::owner();
    rig.run(ms(150));
    rig.done.clear();
    for _ in 0..100 {
        rig.hear(21, 210);
        rig.now += ms(1);
    }
    assert!(rig.sent().len() <= 12, "{}", rig.sent().len());
    let bursts = rig.done.iter().filter(|(_, a)| matches!(a, Action::Announce(_))).count();
    assert!(bursts <= 2, "{bursts}");
}

#[test]
fn a_planned_move_makes_before_it_breaks() {
    let mut rig = Rig::owner();
    rig.give(Event::Move);
    rig.run(ms(30));
    assert_eq!(rig.sent(), [0, 0, 0], "said three times");
    assert!(rig.router.holds() && !rig.has_done(&Action::EndConnections));
    rig.hear(21, 210);
    rig.run(ms(75));
    assert!(rig.has_done(&Action::EndConnections) && rig.router.holds());
    rig.run(ms(30));
    assert!(rig.has_done(&Action::Release));
    assert_eq!(rig.router.state(), StateName::Backup);
    // And it does not come back by itself.
    for _ in 0..30 {
        rig.run(ms(100));
        rig.hear(21, 210);
    }
    assert_eq!(rig.router.state(), StateName::Backup);
}

#[test]
fn a_move_that_nobody_takes_leaves_everything_as_it_was() {
    let mut rig = Rig::owner();
    rig.give(Event::Move);
    rig.run(ms(1000));
    assert_eq!(rig.router.state(), StateName::Owner);
    assert!(rig.has_done(&Action::Tell(Told::NobodyTookOver)));
    assert!(!rig.has_done(&Action::Release) && !rig.has_done(&Action::EndConnections));
}

#[test]
fn the_last_one_keeps_the_address_to_the_very_end() {
    let mut rig = Rig::owner();
    rig.give(Event::End);
    rig.run(ms(5000));
    assert!(rig.router.holds());
    rig.give(Event::Close);
    assert!(rig.has_done(&Action::EndConnections) && !rig.has_done(&Action::Release));
    rig.run(ms(30));
    assert!(rig.has_done(&Action::Release));
    assert_eq!(rig.router.state(), StateName::Ended);
}

#[test]
fn the_address_stays_until_its_last_connection_was_told_but_not_for_ever() {
    for (ending, released) in [(true, false), (false, true)] {
        let mut rig = Rig::owner();
        rig.give(Event::Close);
        rig.give(Event::Ending(true));
        rig.run(ms(60));
        rig.give(Event::Ending(ending));
        rig.run(ms(10));
        assert_eq!(rig.has_done(&Action::Release), released);
        rig.run(ms(100));
        assert!(rig.has_done(&Action::Release));
    }
}

#[test]
fn a_move_is_not_taken_by_one_that_would_serve_worse() {
    let mut rig = Rig::owner();
    rig.give(Event::Move);
    rig.hear(21, 110);
    assert_eq!(rig.router.state(), StateName::Owner);
    assert!(rig.has_done(&Action::Tell(Told::NobodyTookOver)));
    assert!(!rig.has_done(&Action::EndConnections));
    // Who ends has no choice.
    rig.give(Event::End);
    rig.hear(21, 110);
    rig.run(ms(110));
    assert_eq!(rig.router.state(), StateName::Ended);
}

#[test]
fn of_equals_in_both_families_the_adverts_of_ipv4_decide() {
    let mut rig = Rig::owner();
    rig.give(Event::LinkUp(vec![ip(22), "fe80::1".parse().unwrap()]));
    rig.give(Event::Heard {
        source: "fe80::2".parse().unwrap(),
        priority: 224,
        interval: INTERVAL,
    });
    assert_eq!(rig.router.state(), StateName::Owner);
    rig.hear(23, 224);
    assert_eq!(rig.router.state(), StateName::Yielding);
}

#[test]
fn an_obstacle_that_lasts_is_told_once() {
    let mut rig = Rig::owner();
    for _ in 0..5 {
        rig.give(Event::LinkDown(Obstacle::NoSocket));
        rig.run(ms(1000));
    }
    let told = |(_, action): &&(Moment, Action)| {
        matches!(action, Action::Tell(Told::State(StateName::Down, _)))
    };
    assert_eq!(rig.done.iter().filter(told).count(), 1);
}

#[test]
fn who_was_stopped_lets_go_and_says_nothing_first() {
    let mut rig = Rig::owner();
    rig.now += ms(400);
    rig.turn(None);
    assert_eq!(rig.done[0].1, Action::Release);
    assert!(rig.sent().is_empty());
    assert_eq!(Class::of_priority(rig.router.priority(rig.now)), Class::LastResort);
    let mut short = Rig::owner();
    short.run(ms(200));
    short.now = short.when_last(&Action::Advertise(224)) + ms(290);
    short.turn(None);
    assert_eq!(short.router.state(), StateName::Owner);
}

#[test]
fn a_data_plane_that_does_not_turn_is_not_renewed_and_then_given_up() {
    let mut rig = Rig::owner();
    rig.give(Event::Beats(false));
    rig.run(ms(600));
    assert!(!rig.has_done(&Action::Hold) && rig.router.state() == StateName::Owner);
    rig.run(ms(101));
    assert!(!rig.has_done(&Action::Hold));
    assert_eq!(rig.router.state(), StateName::Yielding);
    rig.run(ms(400));
    assert!(rig.has_done(&Action::Release));
    rig.run(ms(5000));
    assert_eq!(rig.router.state(), StateName::Backup);
    rig.give(Event::Beats(true));
    rig.run(ms(1000));
    assert_eq!(rig.router.state(), StateName::Owner);
}

#[test]
fn without_a_link_it_lets_go_at_once_and_spares_connections_for_a_moment() {
    let mut rig = Rig::owner();
    rig.give(Event::LinkDown(Obstacle::NoCarrier));
    assert!(rig.has_done(&Action::Release) && !rig.has_done(&Action::EndConnections));
    rig.run(ms(2000));
    assert!(rig.has_done(&Action::EndConnections));

    let mut flap = Rig::owner();
    flap.give(Event::LinkDown(Obstacle::NoCarrier));
    flap.run(ms(100));
    flap.give(Event::LinkUp(vec![ip(22)]));
    flap.run(ms(800));
    assert_eq!(flap.router.state(), StateName::Owner);
    assert!(!flap.has_done(&Action::EndConnections));

    let mut lost = Rig::owner();
    lost.give(Event::LinkDown(Obstacle::NoCarrier));
    lost.give(Event::LinkUp(vec![ip(22)]));
    lost.hear(21, 210);
    assert!(lost.has_done(&Action::EndConnections));
}

#[test]
fn rivals_that_cannot_hear_each_other_settle_it_by_their_announcements() {
    let claim = |priority| {
        Event::Claim(Claim { mac: [9; 6], announced: true, rank: Some((priority, ip(21))) })
    };
    let mut greater = Rig::owner();
    greater.give(claim(210));
    assert!(greater.router.holds() && greater.has_done(&Action::Announce(224)));

    let mut lesser = Rig::owner();
    lesser.give(claim(240));
    lesser.run(ms(30));
    assert!(lesser.has_done(&Action::Release));
    // It asks before it claims again, and is told that somebody has it.
    for _ in 0..5 {
        lesser.done.clear();
        lesser.run(ms(1000));
        assert!(lesser.has_done(&Action::Probe));
        lesser.give(Event::Claim(Claim { mac: [9; 6], announced: false, rank: None }));
        lesser.run(ms(200));
        assert_eq!(lesser.router.state(), StateName::Backup);
    }
    lesser.run(ms(1500));
    assert_eq!(lesser.router.state(), StateName::Owner);
}

#[test]
fn the_kernel_of_a_dead_owner_may_answer_until_its_lifetime_is_over() {
    let answer = Event::Claim(Claim { mac: [9; 6], announced: false, rank: None });
    let mut rig = Rig::owner();
    rig.give(answer.clone());
    assert!(!rig.done.iter().any(|(_, a)| matches!(a, Action::Tell(Told::Rival { .. }))));
    rig.run(ms(2500));
    rig.give(answer);
    assert!(rig.has_done(&Action::Tell(Told::Rival { mac: [9; 6], yields: false })));
}

#[test]
fn an_owner_of_both_families_is_one_to_people() {
    let mut rig = Rig::backup();
    rig.done.clear();
    for _ in 0..10 {
        let source = "fe80::21".parse().unwrap();
        rig.give(Event::Heard { source, priority: 210, interval: INTERVAL });
        rig.hear(21, 210);
        rig.run(ms(100));
    }
    assert!(!rig.done.iter().any(|(_, action)| matches!(action, Action::Tell(_))));
}

#[test]
fn an_address_that_somebody_removed_is_added_again() {
    let mut rig = Rig::owner();
    rig.give(Event::AddressGone);
    assert!(rig.has_done(&Action::Hold) && rig.has_done(&Action::Announce(224)));
}

#[test]
fn where_nobody_is_elected_who_is_healthy_has_it() {
    let mut rig = Rig::new(false);
    rig.give(Event::LinkUp(Vec::new()));
    rig.give(Event::Class(Class::Degraded));
    rig.run(ms(1000));
    assert!(!rig.router.holds());
    rig.give(Event::Class(Class::Healthy));
    assert!(rig.router.holds() && rig.sent().is_empty());
    rig.done.clear();
    rig.run(ms(1000));
    rig.give(Event::Class(Class::Degraded));
    assert!(rig.has_done(&Action::Withdraw) && !rig.has_done(&Action::Release));
    rig.give(Event::AddressGone);
    rig.run(ms(600));
    assert!(rig.has_done(&Action::Release));
    let withdrawn = rig.done.iter().position(|(_, a)| *a == Action::Withdraw).unwrap();
    assert!(!rig.done[withdrawn..].iter().any(|(_, a)| *a == Action::Hold));
}

#[test]
fn a_fault_keeps_a_backup_from_claiming() {
    let mut rig = Rig::backup();
    rig.give(Event::Class(Class::Fault));
    rig.run(Duration::from_secs(4));
    assert_eq!(rig.router.state(), StateName::Backup);
    rig.give(Event::Class(Class::Degraded));
    rig.run(ms(1000));
    assert_eq!(rig.router.state(), StateName::Owner);
}

#[test]
fn a_long_sleep_that_was_asked_for_puts_nothing_off_and_a_late_turn_does() {
    let mut rig = Rig::backup();
    let due = rig.router.due().unwrap();
    // As a timer wakes it: a little late, and nothing has come in meanwhile.
    rig.now = due + Duration::from_micros(100);
    rig.turn(None);
    assert_eq!(rig.router.state(), StateName::Owner);

    let mut rig = Rig::backup();
    rig.now = rig.router.due().unwrap() + ms(11);
    rig.turn(None);
    assert_eq!(rig.router.state(), StateName::Backup);
    rig.hear(21, 210);
    rig.run(ms(300));
    assert_eq!(rig.router.state(), StateName::Backup);
}

#[test]
fn a_stall_counts_from_the_last_advert_and_not_from_the_last_turn() {
    let mut rig = Rig::owner();
    rig.run(ms(200));
    let advertised = rig.when_last(&Action::Advertise(224));
    rig.done.clear();
    rig.now = advertised + ms(99);
    rig.turn(None);
    // 211 ms after that turn, and 310 ms after the advert.
    rig.now = advertised + ms(310);
    rig.hear(21, 210);
    assert_eq!(rig.done[0].1, Action::Release);
    assert!(rig.sent().is_empty());
}

#[test]
fn who_removes_the_address_each_time_is_not_answered_each_time() {
    let mut rig = Rig::owner();
    for _ in 0..100 {
        rig.give(Event::AddressGone);
        rig.run(ms(10));
    }
    let count = |wanted: fn(&Action) -> bool| rig.done.iter().filter(|(_, a)| wanted(a)).count();
    let holds = count(|action| *action == Action::Hold);
    assert!((4..=8).contains(&holds), "{holds}");
    assert!(count(|action| matches!(action, Action::Announce(_))) <= 6);
}

#[test]
fn when_the_data_plane_beats_again_the_address_is_renewed_at_once() {
    let mut rig = Rig::owner();
    rig.give(Event::Beats(false));
    rig.run(ms(690));
    rig.done.clear();
    rig.give(Event::Beats(true));
    assert!(rig.has_done(&Action::Hold) && rig.router.state() == StateName::Owner);
}

#[test]
fn who_does_not_beat_does_not_claim() {
    let mut rig = Rig::backup();
    rig.run(ms(250));
    rig.give(Event::Beats(false));
    rig.run(ms(300));
    assert!(!rig.has_done(&Action::Hold));
    rig.give(Event::Beats(true));
    rig.run(ms(450));
    assert_eq!(rig.router.state(), StateName::Owner);
}

#[test]
fn the_owner_has_the_last_word_when_several_were() {
    // Three parts of a network become one. The second loser is heard while the answer to the first
    // is young, and clients may have heard that loser last.
    let mut rig = Rig::owner();
    rig.run(Duration::from_secs(10));
    rig.hear(21, 210);
    rig.run(ms(5));
    rig.done.clear();
    rig.give(Event::Claim(Claim { mac: [9; 6], announced: true, rank: Some((212, ip(23))) }));
    rig.run(ms(250));
    assert!(rig.has_done(&Action::Announce(224)));
    // And where it goes on it is once a second, beside five at first.
    rig.done.clear();
    for _ in 0..100 {
        rig.hear(21, 210);
        rig.run(ms(100));
    }
    let bursts = rig.done.iter().filter(|(_, a)| matches!(a, Action::Announce(_))).count();
    assert!((10..=16).contains(&bursts), "{bursts}");
}

#[test]
fn hearing_another_backup_does_not_make_it_forget_a_rival_that_is_not_heard() {
    // 23 owns the address, and its firewall lets no adverts out. 22 has given way to it; 21 tries.
    let mut rig = Rig::owner();
    let rival = Claim { mac: [9; 6], announced: true, rank: Some((240, ip(23))) };
    rig.give(Event::Claim(rival));
    rig.run(ms(31));
    rig.hear(21, 210);
    rig.done.clear();
    rig.run(ms(400));
    assert!(rig.has_done(&Action::Probe) && !rig.has_done(&Action::Hold));
}

#[test]
fn who_has_just_started_takes_over_from_one_that_leaves_and_does_not_ask_it() {
    let mut rig = Rig::new(true);
    rig.give(Event::Class(Class::Healthy));
    rig.give(Event::LinkUp(vec![ip(22)]));
    rig.run(ms(50));
    rig.hear(21, 0);
    rig.run(ms(13));
    assert!(rig.router.holds() && rig.has_done(&Action::Advertise(224)));
    // Also if it is asking already.
    let mut asks = Rig::new(true);
    asks.give(Event::Class(Class::Healthy));
    asks.give(Event::LinkUp(vec![ip(22)]));
    asks.run(ms(350));
    assert!(asks.has_done(&Action::Probe));
    asks.give(Event::Claim(Claim { mac: [9; 6], announced: false, rank: None }));
    asks.hear(21, 0);
    asks.run(ms(13));
    assert!(asks.router.holds());
}

#[test]
fn who_ends_and_finds_nobody_goes_on_offering_the_address() {
    let mut rig = Rig::owner();
    rig.give(Event::End);
    rig.run(ms(1000));
    rig.done.clear();
    rig.run(ms(1000));
    assert!((9..=11).contains(&rig.sent().len()) && rig.sent().iter().all(|sent| *sent == 0));
    rig.hear(21, 210);
    rig.run(ms(105));
    assert_eq!(rig.router.state(), StateName::Ended);
}

#[test]
fn who_leaves_for_a_fault_that_passes_stays_if_nobody_takes_over() {
    let mut rig = Rig::owner();
    rig.give(Event::Class(Class::Fault));
    rig.give(Event::Class(Class::Healthy));
    rig.run(ms(400));
    assert_eq!(rig.router.state(), StateName::Owner);
    assert!(!rig.has_done(&Action::Release) && !rig.has_done(&Action::EndConnections));

    let mut worse = Rig::owner();
    worse.give(Event::Move);
    worse.give(Event::Class(Class::Fault));
    worse.run(ms(400));
    assert_eq!(worse.router.state(), StateName::Backup);
    assert!(!worse.has_done(&Action::Announce(0)));
}

#[test]
fn who_does_not_beat_leaves_when_the_address_is_taken_away() {
    let mut rig = Rig::owner();
    rig.give(Event::Beats(false));
    rig.give(Event::AddressGone);
    assert_eq!(rig.router.state(), StateName::Yielding);
    assert!(rig.sent() == [0] && !rig.has_done(&Action::Hold));
}

#[test]
fn a_successor_at_the_last_moment_does_not_keep_it_awake() {
    let mut rig = Rig::owner();
    rig.give(Event::Move);
    rig.run(ms(299));
    rig.hear(21, 210);
    rig.now += ms(2);
    rig.turn(None);
    assert!(rig.router.due().unwrap() > rig.now && rig.router.holds());
}

#[test]
fn an_owner_announces_itself_when_another_lets_go() {
    // A part of the network joins whose owner ends, and is only waiting for a successor.
    let mut rig = Rig::owner();
    rig.run(Duration::from_secs(10));
    rig.done.clear();
    rig.hear(21, 0);
    assert!(rig.sent() == [224] && rig.has_done(&Action::Announce(224)));
    rig.done.clear();
    rig.run(ms(250));
    assert!(rig.has_done(&Action::Announce(224)), "it keeps the address until it has heard us");
}

#[test]
fn a_claim_that_the_kernel_refuses_is_not_taken_back_aloud() {
    let mut rig = Rig::backup();
    rig.run(ms(312));
    rig.now += Duration::from_micros(500);
    let mut actions = Vec::new();
    rig.router.wake(rig.now, &mut actions);
    rig.router.act(rig.now, &mut actions);
    assert_eq!(actions[0], Action::Hold);
    actions.clear();
    rig.router.take(Event::NotHeld, rig.now, &mut actions);
    assert!(actions.contains(&Action::Release) && !actions.contains(&Action::Advertise(0)));
    let mut owner = Rig::owner();
    owner.give(Event::NotHeld);
    assert_eq!(owner.sent(), [0]);
}

#[test]
fn who_ends_without_a_link_spares_connections_no_longer_than_others() {
    let mut rig = Rig::owner();
    rig.give(Event::End);
    rig.give(Event::LinkDown(Obstacle::NoCarrier));
    assert_eq!(rig.router.state(), StateName::Ended);
    rig.run(ms(1100));
    assert!(rig.has_done(&Action::EndConnections));
}

#[test]
fn who_is_about_to_take_over_from_a_lesser_one_does_not_once_it_is_no_better() {
    let mut rig = Rig::backup();
    for _ in 0..3 {
        rig.run(ms(100));
        rig.hear(21, 140);
    }
    rig.give(Event::Class(Class::Degraded));
    rig.run(ms(90));
    assert_eq!(rig.router.state(), StateName::Backup, "it was heard 90 ms ago");
    rig.run(ms(300));
    assert_eq!(rig.router.state(), StateName::Owner);
}

#[test]
fn a_lesser_owner_that_is_heard_does_not_make_it_forget_what_it_has_asked() {
    let mut rig = Rig::owner();
    let rival = Claim { mac: [9; 6], announced: true, rank: Some((240, ip(23))) };
    rig.give(Event::Claim(rival));
    rig.run(ms(50));
    rig.done.clear();
    for _ in 0..30 {
        rig.hear(21, 110);
        rig.run(ms(100));
    }
    let probes = rig.done.iter().filter(|(_, action)| *action == Action::Probe).count();
    assert_eq!((probes, rig.router.state()), (1, StateName::Owner), "nobody answered");
}
