use proptest::prelude::*;

use super::*;

const RISE: u32 = 2;
const FALL: u32 = 2;

fn after(classes: &[Class]) -> Evidence {
    let mut tracker = Tracker::new(RISE, FALL);
    for class in classes {
        tracker.record(*class);
    }
    tracker.evidence()
}

fn ready() -> Evidence {
    of(Class::Ready)
}

fn of(class: Class) -> Evidence {
    Evidence { health: class.health(), class }
}

fn suspect(class: Class) -> Evidence {
    Evidence { health: Health::Unready, class }
}

#[test]
fn the_first_outcome_counts_at_once() {
    assert_eq!(after(&[]), Evidence::NONE);
    assert_eq!(after(&[Class::Ready]), ready());
    assert_eq!(after(&[Class::Starting]), of(Class::Starting));
    assert_eq!(after(&[Class::TlsTimeout]), suspect(Class::TlsTimeout));
    assert_eq!(after(&[Class::Throttled]), of(Class::Throttled));
}

#[test]
fn a_red_readyz_is_believed_the_first_time() {
    // With kubeadm's defaults a shutdown shows for milliseconds.
    assert_eq!(after(&[Class::Ready, Class::ShuttingDown]), of(Class::ShuttingDown));
    assert_eq!(after(&[Class::Ready, Class::Refused]), of(Class::Refused));
    assert_eq!(after(&[Class::Ready, Class::Foreign]), of(Class::Foreign));
}

#[test]
fn one_lost_probe_makes_a_suspect_and_one_success_clears_it() {
    assert_eq!(after(&[Class::Ready, Class::ConnectTimeout]), suspect(Class::ConnectTimeout));
    assert_eq!(after(&[Class::Ready, Class::ConnectTimeout, Class::Ready]), ready());
}

#[test]
fn silence_in_a_row_is_death() {
    assert_eq!(
        after(&[Class::Ready, Class::ConnectTimeout, Class::TlsTimeout]),
        of(Class::TlsTimeout)
    );
    assert_eq!(
        after(&[Class::Ready, Class::TlsTimeout, Class::Ready, Class::TlsTimeout]),
        suspect(Class::TlsTimeout)
    );
}

#[test]
fn an_answer_between_two_silences_is_not_silence() {
    for answer in [Class::Broken, Class::Refused, Class::AnswerTimeout, Class::Throttled] {
        let evidence = after(&[Class::Ready, Class::TlsTimeout, answer, Class::TlsTimeout]);
        assert_eq!(evidence, suspect(Class::TlsTimeout), "{answer}");
    }
}

#[test]
fn an_endless_answer_is_never_death() {
    assert_eq!(after(&[Class::AnswerTimeout; 10]), of(Class::AnswerTimeout));
}

#[test]
fn what_was_not_ready_needs_its_rise() {
    for class in [Class::EtcdUnready, Class::Refused, Class::TlsTimeout, Class::Throttled] {
        assert_eq!(after(&[class, Class::Ready]).health, Health::Unready, "{class}");
        assert_eq!(after(&[class, Class::Ready, Class::Ready]), ready(), "{class}");
    }
    assert_eq!(after(&[Class::TlsTimeout, Class::TlsTimeout, Class::Ready]), of(Class::TlsTimeout));
    assert_eq!(after(&[Class::Foreign, Class::Ready]), of(Class::Foreign));
    assert_eq!(after(&[Class::Foreign, Class::Ready, Class::Ready]), ready());
}

#[test]
fn a_suspect_that_says_it_is_unready_is_no_suspect_any_more() {
    assert_eq!(
        after(&[Class::Ready, Class::TlsTimeout, Class::Starting, Class::Ready]),
        of(Class::Starting)
    );
}

#[test]
fn a_probe_that_could_not_be_made_changes_nothing() {
    assert_eq!(after(&[Class::ProbeFault]), Evidence::NONE);
    assert_eq!(after(&[Class::ProbeFault, Class::Ready]), ready());
    assert_eq!(
        after(&[Class::Ready, Class::TlsTimeout, Class::ProbeFault, Class::TlsTimeout]),
        of(Class::TlsTimeout)
    );
    assert_eq!(after(&[Class::Ready, Class::ProbeFault]), ready());
}

#[test]
fn throttling_keeps_the_verdict() {
    for class in [Class::Ready, Class::EtcdUnready, Class::Foreign] {
        assert_eq!(after(&[class, Class::Throttled]), of(class));
    }
}

#[test]
fn silence_clears_neither_dead_nor_foreign() {
    let dead = [Class::TlsTimeout, Class::TlsTimeout];
    assert_eq!(
        after(&[dead.as_slice(), &[Class::Ready, Class::TlsTimeout]].concat()).health,
        Health::Dead
    );
    assert_eq!(after(&[Class::Foreign, Class::TlsTimeout]), of(Class::Foreign));
    assert_eq!(after(&[Class::Foreign, Class::TlsTimeout, Class::TlsTimeout]), of(Class::Foreign));
}

#[test]
fn a_foreign_server_that_closes_early_is_still_foreign() {
    for class in [Class::Closed, Class::Garbled, Class::CertificateInvalid, Class::Refused] {
        assert_eq!(after(&[Class::Foreign, class]), of(Class::Foreign), "{class}");
    }
    assert_eq!(after(&[Class::Foreign, Class::Starting]), of(Class::Starting));
}

#[test]
fn a_fall_of_one_has_no_suspects() {
    let mut tracker = Tracker::new(1, 1);
    tracker.record(Class::ConnectTimeout);
    assert!(!tracker.is_suspect());
    assert_eq!(tracker.evidence(), of(Class::ConnectTimeout));
}

#[test]
fn a_suspect_is_one_until_it_is_cleared_or_dead() {
    let mut tracker = Tracker::new(1, 3);
    let mut is_suspect_after = |class| {
        tracker.record(class);
        tracker.is_suspect()
    };
    assert!(!is_suspect_after(Class::Ready));
    assert!(is_suspect_after(Class::TlsTimeout));
    assert!(is_suspect_after(Class::TlsTimeout));
    assert!(!is_suspect_after(Class::TlsTimeout));
    assert!(!is_suspect_after(Class::Ready));
    assert!(is_suspect_after(Class::TlsTimeout));
    assert!(!is_suspect_after(Class::Closed));
}

#[test]
fn a_change_of_class_alone_is_told() {
    let mut tracker = Tracker::new(RISE, FALL);
    assert!(tracker.record(Class::Broken));
    assert!(tracker.record(Class::Starting));
    assert!(!tracker.record(Class::Starting));
    assert!(!tracker.record(Class::Ready));
    assert!(tracker.record(Class::Ready));
}

/// The rules read off the whole history each time, with no state but that.
fn model(history: &[Class], rise: usize, fall: usize) -> Evidence {
    let Some((&last, earlier)) = history.split_last() else {
        return Evidence::NONE;
    };
    let before = model(earlier, rise, fall);
    let row = |skipped: &[Class], wanted: &[Class]| {
        let seen = history.iter().rev().filter(|class| !skipped.contains(class));
        seen.take_while(|class| wanted.contains(class)).count()
    };
    let nothing = [Class::ProbeFault, Class::Unproven];
    let silence = [Class::TlsTimeout, Class::ConnectTimeout, Class::Unreachable];
    let proves_nothing = [
        Class::Refused,
        Class::Closed,
        Class::Garbled,
        Class::CertificateInvalid,
        Class::TlsRefused,
    ];
    if nothing.contains(&last) {
        return before;
    }
    if before.health == Health::Foreign
        && (silence.contains(&last) || proves_nothing.contains(&last))
    {
        return before;
    }
    if last == Class::Throttled {
        return if before == Evidence::NONE { of(last) } else { before };
    }
    if silence.contains(&last) {
        let dead = before.health == Health::Dead || row(&nothing, &silence) >= fall;
        return if dead { of(last) } else { suspect(last) };
    }
    if last != Class::Ready {
        return of(last);
    }
    // Ready: what was there before the silence that ends here, if one does?
    let silent_end = earlier.iter().rposition(|class| !nothing.contains(class));
    let is_suspect = before.health == Health::Unready
        && silent_end.is_some_and(|end| silence.contains(&earlier[end]));
    let ready_before = is_suspect && {
        let start = earlier
            .iter()
            .rposition(|class| !nothing.contains(class) && !silence.contains(class))
            .map_or(0, |position| position + 1);
        model(&earlier[..start], rise, fall).health == Health::Ready
    };
    let skipped = [Class::ProbeFault, Class::Unproven, Class::Throttled];
    if before == Evidence::NONE || ready_before || row(&skipped, &[Class::Ready]) >= rise {
        of(Class::Ready)
    } else {
        before
    }
}

/// Mostly the classes that make rows, since rows are what there is to get wrong.
fn class() -> impl Strategy<Value = Class> {
    prop_oneof![
        3 => Just(Class::Ready),
        3 => Just(Class::TlsTimeout),
        1 => Just(Class::ConnectTimeout),
        1 => Just(Class::Throttled),
        1 => Just(Class::ProbeFault),
        1 => Just(Class::Foreign),
        3 => (0..Class::ALL.len()).prop_map(|index| Class::ALL[index]),
    ]
}

proptest! {
    #[test]
    fn the_tracker_is_as_good_as_reading_the_whole_history(
        history in proptest::collection::vec(class(), 0..24),
        rise in 1..4u32,
        fall in 1..4u32,
    ) {
        let mut tracker = Tracker::new(rise, fall);
        for length in 1..=history.len() {
            let before = tracker.evidence();
            let changed = tracker.record(history[length - 1]);
            let expected = model(&history[..length], rise as usize, fall as usize);
            prop_assert_eq!(tracker.evidence(), expected, "after {:?}", &history[..length]);
            prop_assert_eq!(changed, before != expected);
        }
    }

    #[test]
    fn nothing_but_silence_makes_dead(history in proptest::collection::vec(class(), 0..24)) {
        let mut tracker = Tracker::new(RISE, FALL);
        for class in history {
            let was_dead = tracker.evidence().health == Health::Dead;
            tracker.record(class);
            if !was_dead && tracker.evidence().health == Health::Dead {
                prop_assert_eq!(class.health(), Health::Dead);
            }
        }
    }
}
