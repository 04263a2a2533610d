//! The relay without a socket: a model of two peers and the kernel between them, and scripts for
//! what a kernel does seldom.

use proptest::prelude::*;

use super::*;

const SCRATCH: usize = 256 * 1024;

/// One side as the kernel has it. Bytes are positions in the stream, so that order can be checked
/// and none need be kept.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Socket {
    /// Positions that have arrived and were not read: from here up to there.
    unread: (usize, usize),
    fin: bool,
    reset: bool,
    /// `splice` gets no further here, whatever is behind it.
    marked: bool,
    /// What the peer was given: positions from 0 up to here.
    given: usize,
    room: usize,
    /// A write found no room: the next room is announced.
    blocked: bool,
    closed_for_writing: bool,
    /// What the poller has to say.
    news: Readiness,
}

impl Socket {
    fn waiting(&self) -> usize {
        self.unread.1 - self.unread.0
    }

    fn read(&mut self, at_most: usize) -> Result<std::ops::Range<usize>, Got> {
        let n = self.waiting().min(at_most);
        if n > 0 {
            let start = self.unread.0;
            self.unread.0 += n;
            return Ok(start..start + n);
        }
        // A FIN that came before the reset hides it, as in `tcp_recvmsg`.
        Err(match (self.fin, self.reset) {
            (true, _) => Got::End,
            (false, true) => Got::Failed,
            (false, false) => Got::Blocked,
        })
    }

    fn write(&mut self, bytes: &mut std::ops::Range<usize>) -> Got {
        assert!(!self.closed_for_writing, "written to after its end was passed on");
        if self.reset {
            return Got::Failed;
        }
        let n = bytes.len().min(self.room);
        self.blocked = n < bytes.len();
        if n == 0 {
            return Got::Blocked;
        }
        assert_eq!(bytes.start, self.given, "a byte is missing, or comes twice");
        self.given += n;
        self.room -= n;
        bytes.start += n;
        Got::Moved(n, Fill::Short)
    }
}

/// What one way holds: in the scratch buffer or a box, and in a pipe.
#[derive(Debug, Default)]
struct Holds {
    held: std::ops::Range<usize>,
    piped: std::ops::Range<usize>,
}

#[derive(Debug)]
struct World {
    client: Socket,
    backend: Socket,
    to_backend: Holds,
    to_client: Holds,
    relay: Relay,
    pipes: bool,
    splices: bool,
    fills: usize,
}

impl World {
    fn new() -> Self {
        Self {
            client: Socket::default(),
            backend: Socket::default(),
            to_backend: Holds::default(),
            to_client: Holds::default(),
            relay: Relay::new(Readiness::default(), Readiness::default()),
            pipes: true,
            splices: true,
            fills: 0,
        }
    }

    fn socket(&mut self, side: Side) -> &mut Socket {
        match side {
            Side::Client => &mut self.client,
            Side::Backend => &mut self.backend,
        }
    }

    fn arrive(&mut self, side: Side, bytes: usize) {
        let socket = self.socket(side);
        if !socket.fin && !socket.reset && bytes > 0 {
            socket.unread.1 += bytes;
            socket.news.readable = true;
        }
    }

    fn fin(&mut self, side: Side) {
        let socket = self.socket(side);
        if !socket.reset {
            socket.fin = true;
            socket.news.add(Readiness { readable: true, ending: true, ..Readiness::default() });
        }
    }

    fn reset(&mut self, side: Side) {
        let socket = self.socket(side);
        socket.reset = true;
        let (readable, writable, ending, failed) = (true, true, true, true);
        socket.news.add(Readiness { readable, writable, ending, failed });
    }

    fn room(&mut self, side: Side, bytes: usize) {
        let socket = self.socket(side);
        socket.room = socket.room.saturating_add(bytes);
        // Announced once, and only to whoever met the end of it.
        if std::mem::take(&mut socket.blocked) {
            socket.news.writable = true;
        }
    }

    /// Runs until nothing more can be done, as the thread does.
    fn run(&mut self) -> Option<Verdict> {
        loop {
            for side in [Side::Client, Side::Backend] {
                let news = std::mem::take(&mut self.socket(side).news);
                self.relay.ready(side, news);
            }
            let mut yields = false;
            for way in [Way::ToBackend, Way::ToClient] {
                yields |= self.drive(way);
            }
            if let Some(verdict) = self.relay.verdict() {
                return Some(verdict);
            }
            let news = self.client.news != Readiness::default()
                || self.backend.news != Readiness::default();
            if !yields && !news {
                return None;
            }
        }
    }

    fn drive(&mut self, way: Way) -> bool {
        let mut quota = 1024 * 1024_usize;
        for step in 0.. {
            assert!(step < 10_000, "it spins: {self:?}");
            let want = self.relay.want(way, quota);
            let got = match want {
                Want::Wait | Want::Nothing => return false,
                Want::Yield => return true,
                Want::Receive | Want::Send | Want::Fill | Want::Drain(_) | Want::CloseWrite => {
                    self.step(way, want)
                }
            };
            if let (Want::Receive | Want::Fill, Got::Moved(n, _)) = (want, got) {
                quota = quota.saturating_sub(n);
            }
            self.relay.told(way, want, got);
        }
        false
    }

    fn step(&mut self, way: Way, want: Want) -> Got {
        let (from, to, holds) = match way {
            Way::ToBackend => (&mut self.client, &mut self.backend, &mut self.to_backend),
            Way::ToClient => (&mut self.backend, &mut self.client, &mut self.to_client),
        };
        match want {
            Want::Receive => {
                assert!(holds.held.is_empty() && holds.piped.is_empty(), "read too early");
                match from.read(SCRATCH) {
                    Ok(bytes) => {
                        holds.held = bytes;
                        from.marked = false;
                        let n = holds.held.len();
                        Got::Moved(n, if n == SCRATCH { Fill::Full } else { Fill::Short })
                    }
                    Err(got) => got,
                }
            }
            Want::Fill => {
                assert!(holds.held.is_empty() && holds.piped.is_empty(), "filled too early");
                self.fills += 1;
                if !self.pipes {
                    return Got::NoPipe;
                }
                if !self.splices {
                    return Got::Refused;
                }
                if from.marked {
                    return if from.fin { Got::Moved(0, Fill::Short) } else { Got::Blocked };
                }
                match from.read(1024 * 1024) {
                    Ok(bytes) => {
                        holds.piped = bytes;
                        Got::Moved(holds.piped.len(), Fill::Short)
                    }
                    // A splice knows no end: it moves nothing.
                    Err(Got::End) => Got::Moved(0, Fill::Short),
                    Err(got) => got,
                }
            }
            Want::Send => to.write(&mut holds.held),
            Want::Drain(length) => {
                assert_eq!(length, holds.piped.len());
                to.write(&mut holds.piped)
            }
            Want::CloseWrite => {
                assert!(holds.held.is_empty() && holds.piped.is_empty(), "the FIN overtakes");
                if to.reset {
                    return Got::Failed;
                }
                to.closed_for_writing = true;
                Got::Moved(0, Fill::Short)
            }
            Want::Yield | Want::Wait | Want::Nothing => unreachable!("nothing to do"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Arrive(Side, usize),
    Fin(Side),
    Reset(Side),
    Room(Side, usize),
    Mark(Side),
    Pipes(bool),
    Run,
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Client), Just(Side::Backend)]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..200, 1000usize..20_000, 30_000usize..70_000, 64_000usize..900_000]
}

fn event(resets: u32) -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (side(), size()).prop_map(|(side, n)| Event::Arrive(side, n)),
        6 => (side(), size()).prop_map(|(side, n)| Event::Room(side, n)),
        1 => side().prop_map(Event::Fin),
        resets => side().prop_map(Event::Reset),
        1 => side().prop_map(Event::Mark),
        1 => any::<bool>().prop_map(Event::Pipes),
        6 => Just(Event::Run),
    ]
}

fn play(events: &[Event], splices: bool) -> (World, Option<Verdict>) {
    let mut world = World::new();
    world.splices = splices;
    for event in events {
        match *event {
            Event::Arrive(side, n) => world.arrive(side, n),
            Event::Fin(side) => world.fin(side),
            Event::Reset(side) => world.reset(side),
            Event::Room(side, n) => world.room(side, n),
            Event::Mark(side) => world.socket(side).marked = true,
            Event::Pipes(pipes) => world.pipes = pipes,
            Event::Run => {
                if let Some(verdict) = world.run() {
                    return (world, Some(verdict));
                }
            }
        }
    }
    // Everybody reads to the end.
    for _ in 0..40 {
        world.room(Side::Client, 1 << 20);
        world.room(Side::Backend, 1 << 20);
        if let Some(verdict) = world.run() {
            return (world, Some(verdict));
        }
    }
    let verdict = world.run();
    (world, verdict)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// No event is announced twice, so a wake-up that is missed shows as bytes that never arrive.
    #[test]
    fn every_byte_arrives_in_order_and_every_end_after_it(
        events in proptest::collection::vec(event(0), 0..60),
        splices: bool,
    ) {
        let (world, verdict) = play(&events, splices);
        for (from, to) in [(&world.client, &world.backend), (&world.backend, &world.client)] {
            prop_assert_eq!(to.given, from.unread.1, "{:?}", world);
            // Where both have ended the second end is passed on by closing.
            let closed = to.closed_for_writing || verdict == Some(Verdict::Finished);
            prop_assert_eq!(closed, from.fin, "{:?}", world);
        }
        let both = world.client.fin && world.backend.fin;
        prop_assert_eq!(verdict, both.then_some(Verdict::Finished));
    }

    #[test]
    fn whatever_is_reset_ends_the_connection_and_nothing_is_made_up(
        events in proptest::collection::vec(event(2), 0..60),
        splices: bool,
    ) {
        let (world, verdict) = play(&events, splices);
        let (client, backend) = (&world.client, &world.backend);
        prop_assert!(backend.given <= client.unread.1 && client.given <= backend.unread.1);
        match verdict {
            Some(Verdict::Finished) => {
                // The backend had said all, and the client has it.
                prop_assert!(backend.fin && client.given == backend.unread.1, "{:?}", world);
            }
            Some(Verdict::ClientReset) => prop_assert!(client.reset, "{:?}", world),
            Some(Verdict::BackendReset) => {
                prop_assert!(backend.reset, "{:?}", world);
                // All it had said before is on its way to the client.
                let owed = world.to_client.held.len() + world.to_client.piped.len();
                prop_assert!(
                    client.reset || client.given + owed == backend.unread.1,
                    "{:?}", world
                );
            }
            None => prop_assert!(!client.reset, "{:?}", world),
        }
    }
}

/// A world in which the way to the client has proved to be bulk.
fn in_bulk() -> World {
    let mut world = World::new();
    world.room(Side::Client, usize::MAX);
    world.room(Side::Backend, usize::MAX);
    for _ in 0..2 {
        world.arrive(Side::Backend, 100_000);
        world.run();
    }
    assert_eq!(world.fills, 0, "two large reads in a row come first");
    world.arrive(Side::Backend, 100_000);
    world.run();
    assert!(world.fills > 0);
    world
}

#[test]
fn bulk_is_spliced_and_small_messages_are_copied_again() {
    let mut world = in_bulk();
    for _ in 0..3 {
        world.arrive(Side::Backend, 100);
        world.run();
    }
    let fills = world.fills;
    for _ in 0..10 {
        world.arrive(Side::Backend, 100);
        world.run();
    }
    assert_eq!(world.fills, fills);
    assert_eq!(world.client.given, world.backend.unread.1);
}

#[test]
fn what_the_kernel_refuses_to_splice_is_copied_for_good() {
    let mut world = in_bulk();
    world.splices = false;
    world.arrive(Side::Backend, 500_000);
    world.run();
    let fills = world.fills;
    world.splices = true;
    for _ in 0..10 {
        world.arrive(Side::Backend, 500_000);
        world.run();
    }
    assert_eq!((world.fills, world.client.given), (fills, world.backend.unread.1));
}

#[test]
fn where_there_is_no_pipe_it_is_asked_for_again_later() {
    let mut world = in_bulk();
    world.pipes = false;
    world.arrive(Side::Backend, 500_000);
    world.run();
    world.pipes = true;
    let fills = world.fills;
    for _ in 0..3 {
        world.arrive(Side::Backend, 500_000);
        world.run();
    }
    assert!(world.fills > fills);
    assert_eq!(world.client.given, world.backend.unread.1);
}

#[test]
fn a_mark_that_splice_stops_at_is_passed_by_a_read() {
    let mut world = in_bulk();
    world.socket(Side::Backend).marked = true;
    world.arrive(Side::Backend, 5);
    world.run();
    assert_eq!(world.client.given, world.backend.unread.1);
    // After a FIN a splice says 0, with bytes still queued.
    world.socket(Side::Backend).marked = true;
    world.arrive(Side::Backend, 5);
    world.fin(Side::Backend);
    world.run();
    assert_eq!(world.client.given, world.backend.unread.1);
    assert!(world.client.closed_for_writing);
}

#[test]
fn a_pipe_may_hold_more_than_it_is_made_for() {
    let mut direction = Direction::new();
    direction.readable = true;
    direction.splicing = true;
    assert_eq!(direction.want(1), Want::Fill);
    direction.told(Want::Fill, Got::Moved(4 * SCRATCH, Fill::Short));
    assert_eq!(direction.want(1), Want::Drain(4 * SCRATCH));
    direction.told(Want::Drain(4 * SCRATCH), Got::Moved(SCRATCH, Fill::Short));
    assert_eq!(direction.want(0), Want::Drain(3 * SCRATCH), "never filled before it is empty");
    direction.told(Want::Drain(3 * SCRATCH), Got::Blocked);
    assert_eq!(direction.want(1), Want::Wait);
}

#[test]
fn a_read_that_is_short_because_of_the_end_is_not_the_last() {
    let mut world = World::new();
    world.room(Side::Backend, 1000);
    world.arrive(Side::Client, 10);
    world.fin(Side::Client);
    assert_eq!(world.run(), None);
    assert!(world.backend.closed_for_writing && world.backend.given == 10);
}

#[test]
fn the_answer_to_an_unfinished_upload_arrives_and_then_the_reset() {
    let mut world = World::new();
    world.room(Side::Client, 1000);
    world.room(Side::Backend, 10);
    world.arrive(Side::Client, 100);
    world.arrive(Side::Backend, 7);
    world.run();
    world.arrive(Side::Backend, 7);
    world.reset(Side::Backend);
    assert_eq!(world.run(), Some(Verdict::BackendReset));
    assert_eq!(world.client.given, 14);
}

#[test]
fn a_reset_that_a_write_met_first_is_no_end() {
    let mut relay = Relay::new(Readiness::default(), Readiness::default());
    relay.to_backend.owe(5);
    assert_eq!(relay.want(Way::ToBackend, 1), Want::Send);
    relay.told(Way::ToBackend, Want::Send, Got::Failed);
    // The error is spent: what the backend's side says now is an end.
    relay.ready(Side::Backend, Readiness { readable: true, ..Readiness::default() });
    assert_eq!(relay.want(Way::ToClient, 1), Want::Receive);
    relay.told(Way::ToClient, Want::Receive, Got::End);
    assert_eq!(relay.verdict(), Some(Verdict::BackendReset));
}

#[test]
fn a_client_that_has_ended_and_is_reset_then_is_noticed() {
    let mut world = World::new();
    world.fin(Side::Client);
    assert_eq!(world.run(), None);
    assert!(world.relay.is_half_closed());
    world.reset(Side::Client);
    assert_eq!(world.run(), Some(Verdict::ClientReset));
}

#[test]
fn a_reset_that_a_fin_hides_is_passed_on() {
    let mut world = World::new();
    world.fin(Side::Client);
    world.reset(Side::Client);
    assert_eq!(world.run(), Some(Verdict::ClientReset));
    assert!(!world.backend.closed_for_writing);
}

#[test]
fn others_have_their_turn_after_a_mebibyte() {
    let mut relay = Relay::new(Readiness::default(), Readiness::default());
    relay.ready(Side::Client, Readiness { readable: true, ..Readiness::default() });
    assert_eq!(relay.want(Way::ToBackend, 0), Want::Yield);
    assert_eq!(relay.want(Way::ToBackend, 1), Want::Receive);
}
