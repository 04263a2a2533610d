//! evenkeel before every trap of a TCP proxy; what each is about is said where it is checked.

use evenkeel_testbed::or_skip;
use evenkeel_traps::{Effort, Evenkeel, Kind, NotChecked, Rig, Trap};

use crate::harness::EVENKEEL;

fn holds(trap: Trap) {
    let kind = Kind::Evenkeel(Evenkeel { binary: EVENKEEL.into() });
    match trap.check(&Rig::new(kind, Effort::gate())) {
        Ok(verdict) => {
            println!("{trap} {verdict}");
            assert!(verdict.held, "{}: {verdict}", trap.must_hold());
        }
        Err(NotChecked::Missing(missing)) => or_skip(Err(missing)).unwrap_or_default(),
        Err(
            why @ (NotChecked::Start(_) | NotChecked::NotFor(_) | NotChecked::Conditions { .. }),
        ) => panic!("{}", why.reason()),
    }
}

#[test]
fn bytes_behind_an_urgent_mark_arrive_at_once() {
    holds(Trap::UrgentMark);
}

#[test]
fn who_takes_nothing_costs_nothing_and_gets_every_byte_later() {
    holds(Trap::StalledReader);
}

#[test]
fn bulk_in_small_packets_arrives_whole() {
    holds(Trap::SmallPackets);
}

#[test]
fn no_byte_of_a_reset_connection_reaches_another() {
    holds(Trap::Mixing);
}

#[test]
fn a_user_without_pipes_to_spare_is_served_all_the_same() {
    holds(Trap::PipeLimit);
}

#[test]
fn a_byte_after_bulk_is_not_kept_waiting() {
    holds(Trap::DelayedByte);
}

#[test]
fn an_end_in_one_burst_with_bytes_is_seen() {
    holds(Trap::EndInBurst);
}

#[test]
fn a_half_closed_connection_answers_and_loses_nothing() {
    holds(Trap::HalfClose);
}

#[test]
fn a_clients_reset_reaches_the_backend_as_one() {
    holds(Trap::ClientReset);
}

#[test]
fn a_backends_reset_reaches_the_client_as_one() {
    holds(Trap::BackendReset);
}

#[test]
fn an_answer_arrives_before_the_reset_that_follows_it() {
    holds(Trap::AnswerBeforeReset);
}

#[test]
fn an_answer_to_half_an_upload_arrives() {
    holds(Trap::AnswerToUnfinishedUpload);
}

#[test]
fn bulk_keeps_no_small_message_waiting() {
    holds(Trap::Fairness);
}

#[test]
fn no_client_notices_that_a_backend_refuses() {
    holds(Trap::RefusedBackend);
}

#[test]
fn without_a_backend_a_client_is_told() {
    holds(Trap::NoBackend);
}

#[test]
fn a_silent_backend_costs_no_client_more_than_a_try() {
    holds(Trap::SilentBackend);
}

#[test]
fn a_backend_that_accepts_late_serves() {
    holds(Trap::LateBackend);
}

#[test]
fn without_descriptors_it_neither_spins_nor_sleeps() {
    holds(Trap::Descriptors);
}

#[test]
fn without_a_local_port_a_client_is_told() {
    holds(Trap::LocalPorts);
}

#[test]
fn during_a_graceful_shutdown_each_client_is_served_or_told() {
    holds(Trap::Shutdown);
}

#[test]
fn every_trap_has_a_test_here() {
    let tests = include_str!("traps.rs");
    for trap in Trap::ALL {
        assert!(tests.contains(&format!("holds(Trap::{trap:?});")), "{trap}");
    }
}
