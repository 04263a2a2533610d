//! The checks hold where there is no proxy to blame, and find the fault of a proxy that has one.
#![expect(clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a test says what was observed")]

use std::path::PathBuf;

use evenkeel_traps::{Effort, Given, Kind, NotChecked, Rig, StartError, Trap, Verdict, matrix};

/// Without limits of a proxy's own, and with patience, since the machine may be busy.
fn check(trap: Trap, kind: Kind) -> Verdict {
    let verdict = trap.check(&Rig::new(kind, Effort::gate())).map_err(|why| why.reason()).unwrap();
    println!("{trap} {verdict}");
    verdict
}

fn bad(fault: &str) -> Kind {
    Kind::Given(Given {
        name: fault.to_owned(),
        program: PathBuf::from(env!("CARGO_BIN_EXE_bad-proxy")),
        arguments: vec![fault.to_owned()],
    })
}

fn holds(trap: Trap, kind: Kind) {
    let verdict = check(trap, kind);
    assert!(verdict.held, "{verdict}");
}

/// The fault is found, and for the reason that is expected.
fn found(trap: Trap, fault: &str, because: &str) {
    let verdict = check(trap, bad(fault));
    assert!(!verdict.held && verdict.observed.contains(because), "{verdict}");
}

#[test]
fn what_is_the_kernels_doing_holds_without_a_proxy() {
    let traps = [
        Trap::UrgentMark,
        Trap::Mixing,
        Trap::DelayedByte,
        Trap::EndInBurst,
        Trap::HalfClose,
        Trap::ClientReset,
        Trap::BackendReset,
        Trap::AnswerToUnfinishedUpload,
        Trap::Fairness,
        Trap::NoBackend,
        Trap::LateBackend,
    ];
    let matrix = matrix(&[Kind::Direct], &traps, Effort::gate(), |cell| println!("{cell}"));
    for cell in matrix.rows.iter().flatten() {
        let held = cell.found.as_ref().is_ok_and(|verdict| verdict.held);
        assert!(held, "{cell}");
    }
}

#[test]
fn a_naive_relay_keeps_the_bytes_in_order_and_half_closes() {
    for trap in [Trap::Mixing, Trap::EndInBurst, Trap::HalfClose, Trap::RefusedBackend] {
        holds(trap, bad("naive"));
    }
}

#[test]
fn a_naive_relay_makes_a_reset_a_proper_end() {
    found(Trap::ClientReset, "naive", "as FIN");
    found(Trap::BackendReset, "naive", "as FIN");
}

#[test]
fn an_answer_that_is_lost_on_half_close_is_missed() {
    found(Trap::HalfClose, "ends-both", "of the answer");
}

#[test]
fn spinning_is_noticed() {
    found(Trap::UrgentMark, "spins", "of CPU");
    found(Trap::StalledReader, "spins", "of CPU");
}

#[test]
fn bytes_of_another_connection_are_noticed() {
    found(Trap::Mixing, "mixes", "is not the one that was sent");
}

#[test]
fn memory_without_a_bound_is_noticed() {
    found(Trap::StalledReader, "hoards", "that nobody reads");
}

#[test]
fn a_byte_that_is_kept_waiting_is_noticed() {
    found(Trap::DelayedByte, "delays", "p99");
}

#[test]
fn a_connection_that_keeps_the_others_waiting_is_noticed() {
    found(Trap::Fairness, "greedy", "p99");
}

#[test]
fn an_end_that_is_seen_late_is_noticed() {
    found(Trap::EndInBurst, "sleeps", "silence");
}

#[test]
fn an_answer_that_a_reset_overtakes_is_missed() {
    found(Trap::AnswerBeforeReset, "cuts", "of the answer");
}

#[test]
fn a_client_that_is_not_told_is_noticed() {
    found(Trap::NoBackend, "hangs", "silence");
}

#[test]
fn a_process_that_does_not_end_is_noticed() {
    found(Trap::Shutdown, "stays", "does not end");
}

#[test]
fn a_program_that_does_not_serve_is_no_verdict() {
    let rig = Rig::new(bad("no-such-fault"), Effort::gate());
    let why = Trap::HalfClose.check(&rig).unwrap_err();
    let NotChecked::Start(StartError::NotServing { kind: _, seen: _, log }) = why else {
        panic!("{}", why.reason())
    };
    assert!(log.contains("there is no such fault"), "{log}");
}
