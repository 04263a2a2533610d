//! What to do next for an open connection: two directions, each a state machine that knows no
//! socket. It says what it wants done, is told what came of it, and so can be tested with any order
//! of events. [`drive`] does it.
//!
//! ```text
//!            receive                   send
//! client  ─────────────> [scratch] ─────────────> backend     to_backend
//! client  <───────────── [scratch] <───────────── backend     to_client
//!            fill                     drain
//!         ─────────────> [ pipe  ] ─────────────>             either, once it proves to be bulk
//! ```
//!
//! - Nothing is read while anything that was read before waits for its peer: a slow reader holds
//!   one piece at most.
//! - An end of one direction (FIN) is passed on once everything before it is, and the other
//!   direction goes on. A reset is passed on as a reset: TLS then sees that it was cut off.
//! - A failed *write* does not end the connection by itself: what its peer said before it closed is
//!   passed on first.
//! - `splice` only ever fills an empty pipe, and what it says of the source is no evidence: at an
//!   urgent mark it answers EAGAIN or 0 with bytes still queued (Linux `tcp_splice_read`). So
//!   where it moves nothing, one `recv` decides.

pub(crate) mod drive;
pub(crate) mod pipes;

/// A read of this size, twice in a row, is the sign of bulk: from there on pipes are cheaper.
/// Not a full scratch buffer, which even bulk does not fill each time.
const LARGE: usize = 64 * 1024;

/// A read below this size is no sign of bulk.
const MIDDLING: usize = 32 * 1024;

/// Transfers below this size, three in a row, are no bulk any more.
const SMALL: usize = 16 * 1024;

const LARGE_IN_A_ROW: u8 = 2;
const SMALL_IN_A_ROW: u8 = 3;

/// What a direction wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// Receive from the source into the scratch buffer.
    Receive,
    /// Send what was received, or what is left of it.
    Send,
    /// Move bytes from the source into the pipe, which is empty.
    Fill,
    /// Move bytes from the pipe to the destination: this many are in it.
    Drain(usize),
    /// Pass the end on: close the destination for writing.
    CloseWrite,
    /// Let others have their turn, and come back.
    Yield,
    /// Wait until the source or the destination is ready.
    Wait,
    /// It is over.
    Nothing,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Got {
    /// So many bytes moved. For `Receive` it also says whether the buffer was filled.
    Moved(usize, Fill),
    /// The kernel would have had to wait.
    Blocked,
    /// The source has sent its FIN.
    End,
    /// The side is reset, or cannot be reached.
    Failed,
    /// No pipe is to be had just now.
    NoPipe,
    /// The kernel does not splice these two.
    Refused,
}

/// Whether a read filled its buffer: if not, the source had no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    Full,
    Short,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Flowing,
    /// The source has sent its FIN; it is passed on once everything before it is.
    Ending,
    /// The FIN is passed on.
    Ended,
    /// The source was reset.
    Failed,
    /// The destination takes nothing any more.
    Deaf,
}

/// What the poller says of a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, as in epoll_ctl(2)")]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// A short read is not the last: its peer has sent a FIN or an urgent byte, or it is closed
    /// altogether.
    pub(crate) ending: bool,
    /// It has an error: it was reset, or its peer cannot be reached.
    pub(crate) failed: bool,
}

impl Readiness {
    pub(crate) fn add(&mut self, more: Self) {
        self.readable |= more.readable;
        self.writable |= more.writable;
        self.ending |= more.ending;
        self.failed |= more.failed;
    }
}

/// One direction.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each changes by itself")]
pub(crate) struct Direction {
    /// Bytes that the destination has been given.
    moved: u64,
    /// Bytes received and not sent yet.
    held: usize,
    /// Bytes in the pipe.
    piped: usize,
    stage: Stage,
    readable: bool,
    writable: bool,
    ending: bool,
    splicing: bool,
    /// The kernel has refused to splice: never again.
    refused: bool,
    /// The last `Fill` moved nothing: `Receive` decides what that means.
    in_doubt: bool,
    large: u8,
    small: u8,
}

impl Direction {
    fn new() -> Self {
        Self {
            moved: 0,
            held: 0,
            piped: 0,
            stage: Stage::Flowing,
            readable: false,
            // Until the kernel says otherwise.
            writable: true,
            ending: false,
            splicing: false,
            refused: false,
            in_doubt: false,
            large: 0,
            small: 0,
        }
    }

    /// What to do next, with `quota` bytes left before it is the others' turn.
    pub(crate) fn want(&self, quota: usize) -> Want {
        match self.stage {
            Stage::Ended | Stage::Failed | Stage::Deaf => return Want::Nothing,
            Stage::Flowing | Stage::Ending => {}
        }
        if !self.writable {
            return Want::Wait;
        }
        if self.held > 0 {
            return Want::Send;
        }
        if self.piped > 0 {
            return Want::Drain(self.piped);
        }
        if self.stage == Stage::Ending {
            return Want::CloseWrite;
        }
        if !self.readable {
            return Want::Wait;
        }
        if quota == 0 {
            return Want::Yield;
        }
        if self.splicing && !self.in_doubt { Want::Fill } else { Want::Receive }
    }

    /// What came of `want`.
    pub(crate) fn told(&mut self, want: Want, got: Got) {
        match want {
            Want::Receive => self.received(got),
            Want::Send => self.sent(got),
            Want::Fill => self.filled(got),
            Want::Drain(_) => self.drained(got),
            Want::CloseWrite => {
                // If it fails the destination is gone, and there is no more to be said to it.
                self.stage = if got == Got::Failed { Stage::Deaf } else { Stage::Ended };
            }
            Want::Yield | Want::Wait | Want::Nothing => {}
        }
    }

    fn received(&mut self, got: Got) {
        let in_doubt = std::mem::take(&mut self.in_doubt);
        match got {
            Got::Moved(bytes, fill) => {
                self.held = bytes;
                // Nothing further is announced of a source that is ending: it must be read on.
                if fill == Fill::Short && !self.ending {
                    self.readable = false;
                }
                if !in_doubt {
                    self.judge_read(bytes);
                }
            }
            Got::Blocked => self.readable = false,
            Got::End => self.stage = Stage::Ending,
            Got::Failed | Got::NoPipe | Got::Refused => self.stage = Stage::Failed,
        }
    }

    fn judge_read(&mut self, bytes: usize) {
        if bytes >= LARGE {
            self.large = self.large.saturating_add(1);
        } else if bytes < MIDDLING {
            self.large = 0;
        }
        if self.large >= LARGE_IN_A_ROW && !self.refused {
            self.splicing = true;
            self.small = 0;
        }
    }

    fn sent(&mut self, got: Got) {
        match got {
            Got::Moved(bytes, _) => {
                self.held = self.held.saturating_sub(bytes);
                self.count(bytes);
                // The socket took less than it was given: its buffer is full.
                self.writable = self.held == 0;
            }
            Got::Blocked => self.writable = false,
            Got::End | Got::Failed | Got::NoPipe | Got::Refused => self.turn_deaf(),
        }
    }

    fn filled(&mut self, got: Got) {
        match got {
            Got::Moved(bytes, _) => {
                self.piped = bytes;
                self.in_doubt = bytes == 0;
                if bytes >= SMALL {
                    self.small = 0;
                } else if bytes > 0 {
                    self.small = self.small.saturating_add(1);
                    if self.small >= SMALL_IN_A_ROW {
                        self.copy_again();
                    }
                }
            }
            Got::Blocked | Got::End => self.in_doubt = true,
            Got::Failed => self.stage = Stage::Failed,
            Got::NoPipe => self.copy_again(),
            Got::Refused => {
                self.refused = true;
                self.copy_again();
            }
        }
    }

    fn drained(&mut self, got: Got) {
        match got {
            Got::Moved(bytes, _) => {
                self.piped = self.piped.saturating_sub(bytes);
                self.count(bytes);
            }
            Got::Blocked => self.writable = false,
            Got::End | Got::Failed | Got::NoPipe | Got::Refused => self.turn_deaf(),
        }
    }

    fn copy_again(&mut self) {
        self.splicing = false;
        self.large = 0;
    }

    fn turn_deaf(&mut self) {
        self.stage = Stage::Deaf;
        self.held = 0;
    }

    fn count(&mut self, bytes: usize) {
        self.moved = self.moved.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
    }

    /// Bytes that have come from the source.
    pub(crate) fn come(&self) -> u64 {
        let waiting = self.held.saturating_add(self.piped);
        self.moved.saturating_add(u64::try_from(waiting).unwrap_or(u64::MAX))
    }

    /// Bytes that the destination has been given.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Has these bytes to send that were received before it began.
    pub(crate) fn owe(&mut self, bytes: usize) {
        self.held = bytes;
    }

    /// Whether its destination takes nothing any more.
    pub(crate) fn is_deaf(&self) -> bool {
        self.stage == Stage::Deaf
    }

    /// Bytes received and not sent yet.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether the pipe holds bytes.
    pub(crate) fn holds_pipe(&self) -> bool {
        self.piped > 0
    }

    /// Whether what was read before the source failed still has to be passed on.
    pub(crate) fn is_owing(&self) -> bool {
        self.stage != Stage::Deaf && (self.held > 0 || self.piped > 0)
    }

    /// Stops reading: only what is owed is passed on.
    pub(crate) fn stop_reading(&mut self) {
        self.readable = false;
        if self.stage == Stage::Failed || self.stage == Stage::Ending {
            self.stage = Stage::Flowing;
        }
    }

    /// Whether the end has been passed on.
    pub(crate) fn is_ended(&self) -> bool {
        self.stage == Stage::Ended
    }
}

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToBackend,
    ToClient,
}

/// Which side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Backend,
}

/// How a relay ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Both sides have said all.
    Finished,
    /// The client was reset, or cannot be reached.
    ClientReset,
    /// The backend was reset, or cannot be reached.
    BackendReset,
}

/// Both directions of a connection.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) to_backend: Direction,
    pub(crate) to_client: Direction,
    /// The client was reset, though its FIN may be all that a read tells of it.
    client_reset: bool,
}

impl Relay {
    /// A relay of which nothing has moved.
    pub(crate) fn new(client: Readiness, backend: Readiness) -> Self {
        let mut relay =
            Self { to_backend: Direction::new(), to_client: Direction::new(), client_reset: false };
        relay.ready(Side::Client, client);
        relay.ready(Side::Backend, backend);
        relay
    }

    /// What the poller says of a side.
    pub(crate) fn ready(&mut self, side: Side, readiness: Readiness) {
        let Readiness { readable, writable, ending, failed } = readiness;
        let (from, to) = match side {
            Side::Client => (&mut self.to_backend, &mut self.to_client),
            Side::Backend => (&mut self.to_client, &mut self.to_backend),
        };
        from.readable |= readable || ending || failed;
        from.ending |= ending || failed;
        to.writable |= writable || failed;
        if failed && side == Side::Client {
            self.client_reset = true;
        } else if failed && from.is_ended() {
            // It had sent its FIN and was reset since: no read would ever tell.
            to.turn_deaf();
        }
    }

    /// One of the directions.
    pub(crate) fn way(&mut self, way: Way) -> &mut Direction {
        match way {
            Way::ToBackend => &mut self.to_backend,
            Way::ToClient => &mut self.to_client,
        }
    }

    /// What to do next in one direction.
    pub(crate) fn want(&mut self, way: Way, quota: usize) -> Want {
        let (this, other) = match way {
            Way::ToBackend => (&mut self.to_backend, &self.to_client),
            Way::ToClient => (&mut self.to_client, &self.to_backend),
        };
        let want = this.want(quota);
        if want == Want::CloseWrite && other.is_ended() {
            // Both will be closed now, which says the same.
            this.stage = Stage::Ended;
            return Want::Nothing;
        }
        want
    }

    /// What came of `want` in one direction.
    pub(crate) fn told(&mut self, way: Way, want: Want, got: Got) {
        self.way(way).told(want, got);
        // A write that meets a reset takes the error with it, and a reset that follows a FIN is not
        // told by a read: what looks like a mere end is none.
        let (this, other) = match way {
            Way::ToBackend => (&mut self.to_backend, &self.to_client),
            Way::ToClient => (&mut self.to_client, &self.to_backend),
        };
        let reset = other.stage == Stage::Deaf || way == Way::ToBackend && self.client_reset;
        if this.stage == Stage::Ending && reset {
            this.stage = Stage::Failed;
        }
    }

    /// How it ended, once it has.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let (up, down) = (self.to_backend.stage, self.to_client.stage);
        match (up, down) {
            (Stage::Ended, _) if self.client_reset => Some(Verdict::ClientReset),
            (Stage::Failed, _) => Some(Verdict::ClientReset),
            (_, Stage::Failed) => Some(Verdict::BackendReset),
            // The backend had sent its FIN, so the client has all of it.
            (Stage::Ended | Stage::Deaf, Stage::Ended) => Some(Verdict::Finished),
            (Stage::Ended | Stage::Deaf, Stage::Deaf) => Some(Verdict::ClientReset),
            (Stage::Flowing | Stage::Ending, _) => None,
            (Stage::Ended | Stage::Deaf, Stage::Flowing | Stage::Ending) => None,
        }
    }

    /// Whether one side has sent its FIN and the other has not.
    pub(crate) fn is_half_closed(&self) -> bool {
        self.to_backend.is_ended() != self.to_client.is_ended()
    }
}

#[cfg(test)]
mod tests;
