//! Moves bytes between a client and a backend until both are done.
//!
//! ```text
//!            read                    write
//! client  ─────────> [scratch buffer] ─────────> backend     to_backend
//! client  <───────── [scratch buffer] <───────── backend     to_client
//! ```
//!
//! The scratch buffer belongs to the thread, not to the connection: what was read is written at
//! once, and only what the peer would not take is kept, in a box of exact size, until it does. So
//! an idle connection holds no buffer, and a slow reader holds one piece at most: nothing is read
//! for it meanwhile.
//!
//! An end of one direction (FIN) is passed on once everything before it is, and the other
//! direction goes on. A reset is passed on as a reset: TLS then sees that it was cut off. A failed
//! *write* does not end the connection by itself: what its peer said before it closed is passed
//! on first.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use evenkeel_core::backend::Slot;
use evenkeel_core::units::Span;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::account::Ended;

/// Large enough that bulk is cheap, small enough for a second-level cache.
const SCRATCH: usize = 64 * 1024;

/// What one direction may move before others get their turn.
const QUOTA: usize = 1024 * 1024;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// What was relayed, and why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    pub(crate) to_backend: u64,
    pub(crate) to_client: u64,
    pub(crate) ended: Ended,
}

/// Relays until both sides are done, one fails, nothing moves for `idle`, the slot is reset or the
/// process is aborted.
pub(crate) async fn relay(
    client: &mut TcpStream,
    backend: &mut TcpStream,
    idle: Option<Span>,
    slot: &Slot,
    abort: &CancellationToken,
) -> Relayed {
    let (to_backend, to_client) = (Progress::default(), Progress::default());
    let (client_read, client_write) = client.split();
    let (backend_read, backend_write) = backend.split();
    let moving = both(
        Direction::new(client_read, backend_write, &to_backend),
        Direction::new(backend_read, client_write, &to_client),
    );
    let ended = tokio::select! {
        ended = moving => ended,
        () = slot.reset().cancelled() => Ended::Reset,
        () = abort.cancelled() => Ended::Aborted,
        () = until_idle(idle, &to_backend, &to_client) => Ended::Idle,
    };
    Relayed { to_backend: to_backend.moved(), to_client: to_client.moved(), ended }
}

/// How far a direction has come; read by whoever waits beside it. Atomics only because a task may
/// change threads between polls: there is one writer, so a load and a store do.
#[derive(Debug, Default)]
struct Progress {
    moved: AtomicU64,
    done: AtomicBool,
}

impl Progress {
    fn add(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.moved.store(self.moved().saturating_add(bytes), Ordering::Relaxed);
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    fn done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

/// Runs both directions to the end of the connection.
async fn both(to_backend: Direction<'_>, to_client: Direction<'_>) -> Ended {
    let (to_backend_progress, to_client_progress) = (to_backend.progress, to_client.progress);
    let mut to_backend = pin!(to_backend.run());
    let mut to_client = pin!(to_client.run());
    // A direction whose write failed has ended; the other still says what it has to say.
    let (mut backend_deaf, mut client_deaf) = (false, false);
    poll_fn(|cx| {
        if !backend_deaf {
            match to_backend.as_mut().poll(cx) {
                Poll::Ready(Failed::Read) => return Poll::Ready(Ended::ClientReset),
                Poll::Ready(Failed::Write) => backend_deaf = true,
                Poll::Pending => {}
            }
        }
        if !client_deaf {
            match to_client.as_mut().poll(cx) {
                // It had sent its FIN, so the client has or gets all of it: a reset of ours could
                // throw away what the client's kernel has not taken yet.
                Poll::Ready(Failed::Read) if to_client_progress.done() => {
                    return Poll::Ready(Ended::Finished);
                }
                Poll::Ready(Failed::Read) => return Poll::Ready(Ended::BackendReset),
                Poll::Ready(Failed::Write) => client_deaf = true,
                Poll::Pending => {}
            }
        }
        let (to_backend_done, to_client_done) =
            (to_backend_progress.done(), to_client_progress.done());
        if to_client_done && (to_backend_done || backend_deaf) {
            Poll::Ready(Ended::Finished)
        } else if client_deaf && (to_backend_done || backend_deaf) {
            Poll::Ready(Ended::ClientReset)
        } else {
            Poll::Pending
        }
    })
    .await
}

/// How a direction fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The side that is read from was reset.
    Read,
    /// The side that is written to takes nothing any more.
    Write,
}

/// One direction: reads from one side, writes to the other.
#[derive(Debug)]
struct Direction<'a> {
    from: ReadHalf<'a>,
    to: WriteHalf<'a>,
    progress: &'a Progress,
    /// What was read and not taken yet, and how much of it was.
    left: Option<(Box<[u8]>, usize)>,
    ended: bool,
}

impl<'a> Direction<'a> {
    fn new(from: ReadHalf<'a>, to: WriteHalf<'a>, progress: &'a Progress) -> Self {
        Self { from, to, progress, left: None, ended: false }
    }

    /// Moves bytes to the end of this direction, and then watches the side that has sent its FIN:
    /// it may still be reset. Never returns but with a failure.
    async fn run(mut self) -> Failed {
        if let Err(failed) = poll_fn(|cx| self.poll_move(cx)).await {
            return failed;
        }
        self.progress.done.store(true, Ordering::Relaxed);
        match self.from.ready(Interest::ERROR).await {
            Ok(_) | Err(_) => Failed::Read,
        }
    }

    fn poll_move(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        let mut quota = QUOTA;
        loop {
            if let Some((bytes, taken)) = &mut self.left {
                let rest = bytes.get(*taken..).unwrap_or_default();
                if rest.is_empty() {
                    self.left = None;
                    continue;
                }
                let n = ready!(write(&mut self.to, cx, rest))?;
                *taken += n;
                self.progress.add(n);
                continue;
            }
            if self.ended {
                return Pin::new(&mut self.to).poll_shutdown(cx).map_err(|_closed| Failed::Write);
            }
            if quota == 0 {
                // Others first; we are called again at once.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let moved = ready!(self.poll_piece(cx))?;
            quota = quota.saturating_sub(moved);
        }
    }

    /// Reads a piece and writes it at once; returns its size.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Failed>> {
        BUFFER.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer));
            if let Err(_reset) = read {
                return Poll::Ready(Err(Failed::Read));
            }
            let bytes = buffer.filled();
            if bytes.is_empty() {
                self.ended = true;
                return Poll::Ready(Ok(0));
            }
            let taken = match write(&mut self.to, cx, bytes) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.progress.add(taken);
            if let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                self.left = Some((Box::from(rest), 0));
            }
            Poll::Ready(Ok(bytes.len()))
        })
    }
}

fn write(
    to: &mut WriteHalf<'_>,
    cx: &mut Context<'_>,
    bytes: &[u8],
) -> Poll<Result<usize, Failed>> {
    match Pin::new(to).poll_write(cx, bytes) {
        Poll::Ready(Ok(n)) if n > 0 => Poll::Ready(Ok(n)),
        Poll::Ready(Ok(_) | Err(_)) => Poll::Ready(Err(Failed::Write)),
        Poll::Pending => Poll::Pending,
    }
}

/// Ends once nothing has moved in either direction for `idle`; never if that is not set.
async fn until_idle(idle: Option<Span>, to_backend: &Progress, to_client: &Progress) {
    let Some(idle) = idle else { return std::future::pending().await };
    let moved = || (to_backend.moved(), to_client.moved());
    // In a box, so that a connection without the timeout does not pay for the timer.
    Box::pin(async move {
        let (mut before, mut quiet) = (moved(), 0);
        // Looks four times in the timeout, so that it is overrun by a quarter at most.
        while quiet < 4 {
            sleep(idle.duration() / 4).await;
            let now = moved();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
    })
    .await;
}

#[cfg(test)]
mod tests;
