//! The generator against the backend, with nothing between them.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::backend::Backend;
use crate::cpu::Watched;
use crate::order::Span;

/// Goes on at once.
struct Now;

impl Pace for Now {
    fn ready(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn seen(&mut self, _seen: &Seen) -> Result<(), Failed> {
        Ok(())
    }
}

/// What the generator sees of `work` at a backend that lives as long as the test.
fn seen(work: Work, connections: usize, span: Span, secure: bool) -> Seen {
    let (tell, told) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let backend = Backend::bind(([127, 0, 0, 1], 0).into()).unwrap();
        tell.send((backend.address().unwrap(), backend.certificate().to_vec())).unwrap();
        backend.run().unwrap();
    });
    let (to, certificate) = told.recv().unwrap();
    let order = Order {
        to,
        work,
        connections,
        span,
        certificate: secure.then_some(certificate),
        paced: false,
        watched: Watched::default(),
    };
    run(order, &mut Now).unwrap()
}

const MEBIBYTE: u64 = 1 << 20;

#[test]
fn every_byte_of_bulk_arrives() {
    for secure in [false, true] {
        for work in [Work::Down { from_memory: false }, Work::Down { from_memory: true }, Work::Up]
        {
            let seen = seen(work, 3, Span::Counted(5 * MEBIBYTE + 7), secure);
            assert_eq!(seen.count, 3 * (5 * MEBIBYTE + 7), "{work:?} {secure}");
        }
    }
}

#[test]
fn bulk_by_the_clock_ends_with_the_count_of_the_sink() {
    for work in [Work::Down { from_memory: false }, Work::Up] {
        let seen = seen(work, 2, Span::Timed { warm_up: 0.02, seconds: 0.05 }, false);
        assert!(seen.count > MEBIBYTE && seen.seconds >= 0.05, "{seen:?}");
    }
}

#[test]
fn each_request_is_answered_once() {
    for secure in [false, true] {
        for (request, answer) in [(128, 128), (4096, 4096), (256, 300_000)] {
            let seen = seen(Work::Ping { request, answer }, 3, Span::Counted(5), secure);
            assert_eq!((seen.count, seen.failed), (15, 0), "{request} {answer} {secure}");
            assert!(seen.latency.unwrap().p50 > 0.0);
        }
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let work = Work::Open { request: 128, answer: 128, rate: 2000 };
    let seen = seen(work, 8, Span::Timed { warm_up: 0.0, seconds: 0.1 }, false);
    // A machine with more to do may be late, and then asks for all that was due.
    assert!((100..=200).contains(&seen.count), "{seen:?}");
}

#[test]
fn connections_are_opened_and_closed_or_held() {
    for secure in [false, true] {
        let work = Work::Connect { request: 128, answer: 128 };
        let closed = seen(work, 4, Span::Counted(30), secure);
        assert_eq!((closed.count, closed.failed), (30, 0));
        let work = Work::Hold { request: 128, answer: 128, total: 30 };
        let held = seen(work, 4, Span::Counted(0), secure);
        assert_eq!((held.count, held.failed), (30, 0));
    }
}
