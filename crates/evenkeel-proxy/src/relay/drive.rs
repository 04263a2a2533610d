//! Does what a relay wants, on real sockets.
//!
//! The scratch buffer belongs to the thread, not to the connection: what was received is sent at
//! once, and only what the peer would not take is kept, in a box of exact size, until it does. So
//! an idle connection holds neither buffer nor pipe.

use std::os::fd::{AsFd as _, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use rustix::pipe::{SpliceFlags, splice};

use super::pipes::{Pipe, Pipes};
use super::{Direction, Fill, Got, Relay, Verdict, Want, Way};

/// Large enough that bulk is cheap to copy too, and a quarter of a second-level cache.
const SCRATCH: usize = 256 * 1024;

/// What one direction may move before others have their turn.
const QUOTA: usize = 1024 * 1024;

/// The most that is asked of one splice: some kernels refuse more than 1 GiB.
const PIECE: usize = 1024 * 1024;

/// What a thread moves bytes with.
#[derive(Debug)]
pub(crate) struct Mover {
    scratch: Box<[u8]>,
    pub(crate) pipes: Pipes,
}

impl Mover {
    pub(crate) fn new(pipes: Pipes) -> Self {
        Self { scratch: vec![0; SCRATCH].into_boxed_slice(), pipes }
    }

    /// Receives into the scratch buffer.
    pub(crate) fn receive(&mut self, from: BorrowedFd<'_>) -> Got {
        received(recv(from, &mut *self.scratch, RecvFlags::empty()).map(|(_, n)| n), SCRATCH)
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
    if error == Errno::AGAIN || error == Errno::INTR { Got::Blocked } else { Got::Failed }
}

/// Sends, and never raises a signal.
pub(crate) fn send_to(to: BorrowedFd<'_>, bytes: &[u8]) -> Got {
    match send(to, bytes, SendFlags::NOSIGNAL) {
        Ok(n) => Got::Moved(n, if n == bytes.len() { Fill::Full } else { Fill::Short }),
        Err(error) => failed(error),
    }
}

/// What one direction holds beside its state: only while its destination blocks, or in bulk.
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

    /// Takes what the client still has to be given, for [`Owed`].
    pub(crate) fn owed(self, mover: &mut Mover) -> Owed {
        let Self { relay, to_backend, to_client } = self;
        to_backend.give_up(mover);
        let mut direction = relay.to_client;
        direction.stop_reading();
        Owed { direction, stock: to_client }
    }

    /// Lets go of what it holds.
    pub(crate) fn give_up(self, mover: &mut Mover) {
        self.to_backend.give_up(mover);
        self.to_client.give_up(mover);
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

    /// Lets go of what is still held.
    pub(crate) fn give_up(self, mover: &mut Mover) {
        self.stock.give_up(mover);
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

    fn give_up(self, mover: &mut Mover) {
        // A pipe that may hold bytes of this client is closed: no other must ever get them.
        if let Some(pipe) = self.pipe {
            mover.pipes.close(pipe);
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
    splice(from, None, to, None, length, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
}
