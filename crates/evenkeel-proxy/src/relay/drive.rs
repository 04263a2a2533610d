//! Does what a relay wants, on real sockets.
//!
//! The scratch buffer belongs to the thread, not to the connection: what was received is sent at
//! once, and only what the peer would not take is kept, in a box of exact size, until it does. So
//! an idle connection holds neither buffer nor pipe.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::pipes::{Pipe, Pipes};
use super::{Direction, Fill, Got, Relay, Verdict, Want, Way};

/// Large enough that bulk is cheap to copy too, and a quarter of a second-level cache.
const SCRATCH: usize = 256 * 1024;

/// What one direction may move before others have their turn.
const QUOTA: usize = 1024 * 1024;

/// What a thread moves before it looks who else is ready: a millisecond or two.
const TURN: usize = 8 * 1024 * 1024;

/// The most that is asked of one splice: some kernels refuse more than 1 GiB.
const PIECE: usize = 1024 * 1024;
const _: () = assert!(PIECE <= 1 << 30);

/// What a thread moves bytes with.
#[derive(Debug)]
pub(crate) struct Mover {
    scratch: Box<[u8]>,
    pub(crate) pipes: Pipes,
    /// Bytes moved since the turn began.
    moved: usize,
    /// Bytes moved in the turns before, since this was last asked.
    sum: u64,
}

impl Mover {
    pub(crate) fn new(pipes: Pipes) -> Self {
        Self { scratch: vec![0; SCRATCH].into_boxed_slice(), pipes, moved: 0, sum: 0 }
    }

    /// Begins a turn, in which all that are ready are run.
    pub(crate) fn begin_turn(&mut self) {
        let moved = std::mem::take(&mut self.moved);
        self.sum = self.sum.saturating_add(u64::try_from(moved).unwrap_or(u64::MAX));
    }

    /// Bytes moved since this was last asked.
    pub(crate) fn take_sum(&mut self) -> u64 {
        std::mem::take(&mut self.sum)
    }

    /// Whether so much was moved in this turn that others have theirs first.
    pub(crate) fn has_moved_enough(&self) -> bool {
        self.moved >= TURN
    }

    /// Receives into the scratch buffer.
    pub(crate) fn receive(&mut self, from: BorrowedFd<'_>) -> Got {
        let received_now = retry_on_intr(|| recv(from, &mut *self.scratch, RecvFlags::empty()));
        received(received_now.map(|(_, n)| n), SCRATCH)
    }

    /// The first `length` bytes of the scratch buffer: what was received last.
    pub(crate) fn received(&self, length: usize) -> &[u8] {
        self.scratch.get(..length).unwrap_or(&self.scratch)
    }
}

fn received(result: Result<usize, Errno>, asked: usize) -> Got {
    match result {
        Ok(0) => Got::End,
        Ok(n) => Got::Moved(n, if n == asked { Fill::Full } else { Fill::Short }),
        Err(error) => failed(error),
    }
}

fn failed(error: Errno) -> Got {
    if error == Errno::AGAIN { Got::Blocked } else { Got::Failed }
}

/// Sends, and never raises a signal.
pub(crate) fn send_to(to: BorrowedFd<'_>, bytes: &[u8]) -> Got {
    match retry_on_intr(|| send(to, bytes, SendFlags::NOSIGNAL)) {
        Ok(n) => Got::Moved(n, if n == bytes.len() { Fill::Full } else { Fill::Short }),
        Err(error) => failed(error),
    }
}

/// What one direction holds beside its state: only while its destination blocks, or in bulk. Dropped
/// with bytes in its pipe, it closes that: no other client must ever get them.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    left: Option<Box<Left>>,
    pipe: Option<Pipe>,
}

/// What was received and not taken yet.
#[derive(Debug)]
struct Left {
    bytes: Box<[u8]>,
    sent: usize,
}

impl Stock {
    /// Keeps what is left of a piece.
    pub(crate) fn keep(bytes: &[u8]) -> Self {
        let left = (!bytes.is_empty()).then(|| Box::new(Left { bytes: Box::from(bytes), sent: 0 }));
        Self { left, pipe: None }
    }
}

/// An open relay with its sockets.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) relay: Relay,
    to_backend: Stock,
    to_client: Stock,
}

/// What came of driving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Driven {
    /// Nothing more can be done until a side is ready.
    Waits,
    /// It has more to do, and lets others have their turn first.
    Yields,
    /// It has ended by itself.
    Ended(Verdict),
}

impl Wire {
    /// `to_backend` may hold what the client has said and the backend has not taken.
    pub(crate) fn new(relay: Relay, to_backend: Stock) -> Self {
        Self { relay, to_backend, to_client: Stock::default() }
    }

    /// Moves what can be moved, `first` first: if it has just received, the scratch buffer is still
    /// its own.
    pub(crate) fn drive(
        &mut self,
        client: BorrowedFd<'_>,
        backend: BorrowedFd<'_>,
        mover: &mut Mover,
        first: Way,
    ) -> Driven {
        let mut yields = false;
        for way in [first, opposite(first)] {
            let (from, to, stock) = match way {
                Way::ToBackend => (client, backend, &mut self.to_backend),
                Way::ToClient => (backend, client, &mut self.to_client),
            };
            let mut quota = QUOTA;
            loop {
                let want = self.relay.want(way, quota);
                let got = match want {
                    Want::Wait | Want::Nothing => break,
                    Want::Yield => {
                        yields = true;
                        break;
                    }
                    Want::CloseWrite => match shutdown(to, Shutdown::Write) {
                        Ok(()) => Got::Moved(0, Fill::Full),
                        Err(error) => failed(error),
                    },
                    Want::Receive | Want::Send | Want::Fill | Want::Drain(_) => {
                        let held = self.relay.way(way).held();
                        step(want, held, from, to, stock, mover)
                    }
                };
                if let (Want::Receive | Want::Fill, Got::Moved(n, _)) = (want, got) {
                    quota = quota.saturating_sub(n);
                    mover.moved = mover.moved.saturating_add(n);
                }
                self.relay.told(way, want, got);
            }
            stock.settle(self.relay.way(way), mover);
        }
        match self.relay.verdict() {
            Some(verdict) => Driven::Ended(verdict),
            None if yields => Driven::Yields,
            None => Driven::Waits,
        }
    }

    /// Takes what the client still has to be given.
    pub(crate) fn owed(self) -> Owed {
        let Self { relay, to_backend: _, to_client } = self;
        let mut direction = relay.to_client;
        direction.stop_reading();
        Owed { direction, stock: to_client }
    }
}

fn opposite(way: Way) -> Way {
    match way {
        Way::ToBackend => Way::ToClient,
        Way::ToClient => Way::ToBackend,
    }
}

/// What the client still has to be given before its connection is reset by us.
#[derive(Debug)]
pub(crate) struct Owed {
    direction: Direction,
    stock: Stock,
}

impl Owed {
    /// Gives what the client takes. True once it has all, or takes no more.
    pub(crate) fn give(&mut self, client: BorrowedFd<'_>, mover: &mut Mover) -> bool {
        while self.direction.is_owing() {
            let want = self.direction.want(0);
            let held = self.direction.held();
            let got = match want {
                // Nothing is read any more, so the source does not matter.
                Want::Send | Want::Drain(_) => {
                    step(want, held, client, client, &mut self.stock, mover)
                }
                Want::Wait => break,
                Want::Receive | Want::Fill | Want::CloseWrite | Want::Yield | Want::Nothing => {
                    return true;
                }
            };
            self.direction.told(want, got);
        }
        !self.direction.is_owing()
    }

    /// The client may take more.
    pub(crate) fn writable(&mut self) {
        self.direction.writable = true;
    }

    /// The client takes no more for now.
    pub(crate) fn full(&mut self) {
        self.direction.writable = false;
    }

    /// Whether the client takes more.
    pub(crate) fn takes_more(&self) -> bool {
        self.direction.writable
    }

    /// Bytes that the client has been given.
    pub(crate) fn moved(&self) -> u64 {
        self.direction.moved()
    }
}

impl Stock {
    /// Keeps what the destination did not take, and returns a pipe that is not used.
    fn settle(&mut self, direction: &Direction, mover: &mut Mover) {
        let held = direction.held();
        if held == 0 {
            self.left = None;
        } else if self.left.is_none() {
            let bytes = Box::from(mover.received(held));
            self.left = Some(Box::new(Left { bytes, sent: 0 }));
        }
        if !direction.holds_pipe()
            && let Some(pipe) = self.pipe.take()
        {
            mover.pipes.put_back(pipe);
        }
    }
}

fn step(
    want: Want,
    held: usize,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    stock: &mut Stock,
    mover: &mut Mover,
) -> Got {
    match want {
        Want::Receive => mover.receive(from),
        Want::Send => send_held(held, to, stock, mover),
        Want::Fill => fill(from, stock, mover),
        Want::Drain(length) => drain(length, to, stock),
        Want::CloseWrite | Want::Yield | Want::Wait | Want::Nothing => Got::Blocked,
    }
}

fn send_held(held: usize, to: BorrowedFd<'_>, stock: &mut Stock, mover: &Mover) -> Got {
    if let Some(left) = &mut stock.left {
        let got = send_to(to, left.bytes.get(left.sent..).unwrap_or_default());
        if let Got::Moved(n, _) = got {
            left.sent = left.sent.saturating_add(n);
            if left.sent >= left.bytes.len() {
                // What is received next stands in the scratch buffer again.
                stock.left = None;
            }
        }
        return got;
    }
    // Just received: it stands at the start of the scratch buffer.
    let bytes = mover.received(held);
    let got = send_to(to, bytes);
    let taken = match got {
        Got::Moved(n, _) => n,
        Got::Blocked => 0,
        Got::End | Got::Failed | Got::NoPipe | Got::Refused => held,
    };
    if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
        stock.left = Some(Box::new(Left { bytes: Box::from(rest), sent: 0 }));
    }
    got
}

fn fill(from: BorrowedFd<'_>, stock: &mut Stock, mover: &mut Mover) -> Got {
    let pipe = match &mut stock.pipe {
        Some(pipe) => pipe,
        empty @ None => match mover.pipes.take() {
            Some(pipe) => empty.insert(pipe),
            None => return Got::NoPipe,
        },
    };
    match move_bytes(from, pipe.write.as_fd(), PIECE.max(pipe.size)) {
        Ok(n) => Got::Moved(n, Fill::Short),
        Err(Errno::INVAL | Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP) => {
            mover.pipes.refused();
            Got::Refused
        }
        Err(error) => failed(error),
    }
}

fn drain(length: usize, to: BorrowedFd<'_>, stock: &Stock) -> Got {
    let Some(pipe) = &stock.pipe else { return Got::Failed };
    match move_bytes(pipe.read.as_fd(), to, length) {
        // With bytes in the pipe it cannot be at its end.
        Ok(0) => Got::Failed,
        Ok(n) => Got::Moved(n, Fill::Short),
        Err(error) => failed(error),
    }
}

fn move_bytes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> Result<usize, Errno> {
    // Never MORE: a last piece would wait for a next one that does not come.
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    retry_on_intr(|| splice(from, None, to, None, length, flags))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use proptest::prelude::*;

    use super::*;
    use crate::relay::pipes::Budget;
    use crate::relay::{Readiness, Side};

    /// A relay between two pairs of sockets: what is beyond them are the peers.
    struct Rig {
        client: UnixStream,
        backend: UnixStream,
        inner: (UnixStream, UnixStream),
        wire: Option<Wire>,
        mover: Mover,
        said: (Vec<u8>, Vec<u8>),
        heard: (Vec<u8>, Vec<u8>),
        next: u32,
    }

    impl Rig {
        fn new() -> Self {
            let pair = || {
                let (outer, inner) = UnixStream::pair().unwrap();
                // Small, so that every size meets a peer that blocks.
                socket2::SockRef::from(&inner).set_send_buffer_size(20_000).unwrap();
                outer.set_nonblocking(true).unwrap();
                inner.set_nonblocking(true).unwrap();
                (outer, inner)
            };
            let ((client, near), (backend, far)) = (pair(), pair());
            let relay = Relay::new(Readiness::default(), Readiness::default());
            Self {
                client,
                backend,
                inner: (near, far),
                wire: Some(Wire::new(relay, Stock::default())),
                mover: Mover::new(Pipes::new(Budget::new())),
                said: Default::default(),
                heard: Default::default(),
                next: 0,
            }
        }

        fn say(&mut self, side: Side, length: usize) {
            let (socket, said) = match side {
                Side::Client => (&mut self.client, &mut self.said.0),
                Side::Backend => (&mut self.backend, &mut self.said.1),
            };
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    self.next = self.next.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    self.next.to_be_bytes()[0]
                })
                .collect();
            if let Ok(n) = socket.write(&bytes) {
                said.extend_from_slice(&bytes[..n]);
            }
        }

        fn hear(&mut self, side: Side, at_most: usize) -> usize {
            let (socket, heard) = match side {
                Side::Client => (&mut self.client, &mut self.heard.0),
                Side::Backend => (&mut self.backend, &mut self.heard.1),
            };
            let mut bytes = vec![0; at_most];
            let n = socket.read(&mut bytes).unwrap_or(0);
            heard.extend_from_slice(&bytes[..n]);
            n
        }

        fn drive(&mut self) {
            let Some(wire) = &mut self.wire else { return };
            for side in [Side::Client, Side::Backend] {
                let (readable, writable) = (true, true);
                wire.relay.ready(side, Readiness { readable, writable, ..Readiness::default() });
            }
            let (near, far) = (self.inner.0.as_fd(), self.inner.1.as_fd());
            if let Driven::Ended(_) = wire.drive(near, far, &mut self.mover, Way::ToClient) {
                self.wire = None;
            }
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Say(Side, usize),
        Hear(Side, usize),
        Drive,
    }

    fn step() -> impl Strategy<Value = Step> {
        let side = || prop_oneof![Just(Side::Client), Just(Side::Backend)];
        let size = || prop_oneof![1usize..100, 4000usize..40_000, 64_000usize..200_000];
        prop_oneof![
            (side(), size()).prop_map(|(side, n)| Step::Say(side, n)),
            (side(), size()).prop_map(|(side, n)| Step::Hear(side, n)),
            Just(Step::Drive),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn real_sockets_get_every_byte_in_order(
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let mut rig = Rig::new();
            for step in steps {
                match step {
                    Step::Say(side, n) => rig.say(side, n),
                    Step::Hear(side, n) => drop(rig.hear(side, n)),
                    Step::Drive => rig.drive(),
                }
            }
            for _ in 0..200 {
                rig.drive();
                rig.hear(Side::Client, 1 << 16);
                rig.hear(Side::Backend, 1 << 16);
            }
            prop_assert!(rig.heard.1 == rig.said.0, "{} {}", rig.heard.1.len(), rig.said.0.len());
            prop_assert!(rig.heard.0 == rig.said.1, "{} {}", rig.heard.0.len(), rig.said.1.len());
            // Nothing is kept once everything is taken.
            let wire = rig.wire.as_ref().unwrap();
            prop_assert!(wire.to_backend.left.is_none() && wire.to_client.left.is_none());
            prop_assert!(wire.to_backend.pipe.is_none() && wire.to_client.pipe.is_none());
        }
    }

    /// Dropped at any moment it leaves no descriptor, and no pipe with another's bytes.
    #[test]
    fn a_relay_that_is_given_up_leaves_nothing_behind() {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mut mover = Mover::new(Pipes::new(Budget::new()));
        let before = count();
        for polls in 0..12 {
            let mut rig = Rig::new();
            for poll in 0..polls {
                rig.say(Side::Backend, 100_000);
                if poll % 2 == 0 {
                    rig.hear(Side::Client, 150_000);
                }
                rig.drive();
            }
            std::mem::swap(&mut rig.mover, &mut mover);
            drop(rig);
            let pipe = mover.pipes.take().unwrap();
            let byte = move_bytes(pipe.read.as_fd(), pipe.write.as_fd(), 1);
            assert!(byte.is_err(), "a pipe that is lent is empty");
            drop(pipe);
            mover.pipes.tidy();
            mover.pipes.tidy();
        }
        assert_eq!(count(), before);
    }
}
