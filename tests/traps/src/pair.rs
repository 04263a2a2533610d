//! Both ends of one connection through the proxy, and what arrives at them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tokio::time::Instant;

use crate::pattern::Pattern;
use crate::verdict::{Failure, met};

/// A connection through the proxy: the client's socket and the backend's.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) client: TcpStream,
    pub(crate) backend: TcpStream,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToBackend,
    ToClient,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::ToBackend, Self::ToClient];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ToBackend => "to the backend",
            Self::ToClient => "to the client",
        })
    }
}

impl Pair {
    /// Who sends, and who receives.
    pub(crate) fn ends(&self, direction: Direction) -> (&TcpStream, &TcpStream) {
        match direction {
            Direction::ToBackend => (&self.client, &self.backend),
            Direction::ToClient => (&self.backend, &self.client),
        }
    }

    /// The same, as what owns them.
    pub(crate) fn into_ends(self, direction: Direction) -> (TcpStream, TcpStream) {
        match direction {
            Direction::ToBackend => (self.client, self.backend),
            Direction::ToClient => (self.backend, self.client),
        }
    }

    /// Sends and receives `count` bytes. The receiver begins a little later: so much is queued at
    /// the proxy that it takes it for bulk.
    pub(crate) fn transfer(
        &self,
        direction: Direction,
        pattern: &Pattern,
        count: usize,
    ) -> Result<(), Failure> {
        let (from, to) = self.ends(direction);
        thread::scope(|scope| {
            let (tell, told) = mpsc::sync_channel(1);
            let sent = scope.spawn(move || {
                let sent = send(from, pattern, 0, count);
                // Nobody waits for it any more if it took long.
                tell.send(()).unwrap_or_default();
                sent
            });
            // Either way: all is sent, or the queues are full.
            told.recv_timeout(HEAD_START).unwrap_or_default();
            let received = receive(to, pattern, 0, count);
            let sent = sent.join().expect("it only sends");
            received.and(sent).map_err(|failure| failure.at(direction))
        })
    }

    /// One byte there and one back.
    pub(crate) fn ping(&self) -> Result<Duration, Failure> {
        let begun = Instant::now();
        for direction in Direction::BOTH {
            let (mut from, to) = self.ends(direction);
            from.write_all(b"p").map_err(met("the byte of a ping was not sent"))?;
            let arrived = read_exact(to, &mut [0], LIMIT);
            arrived.map_err(|end| format!("instead of the byte of a ping came {end}"))?;
        }
        Ok(begun.elapsed())
    }
}

/// How a direction ended, as its receiver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Properly.
    Fin,
    /// By a reset.
    Reset,
    /// By another error.
    Error(io::ErrorKind),
    /// Not at all, for as long as was waited.
    Silence,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fin => f.write_str("FIN"),
            Self::Reset => f.write_str("RST"),
            Self::Error(kind) => write!(f, "an error ({kind})"),
            Self::Silence => f.write_str("silence"),
        }
    }
}

/// Sends the bytes of the pattern from `offset` on; the proxy may take its time for each piece.
pub(crate) fn send(
    mut to: &TcpStream,
    pattern: &Pattern,
    offset: usize,
    count: usize,
) -> Result<(), Failure> {
    to.set_write_timeout(Some(LIMIT)).map_err(met("no timeout was set"))?;
    let mut sent = 0;
    while sent < count {
        match to.write(pattern.from(offset + sent, count - sent)) {
            Ok(written) => sent += written,
            Err(error) => {
                let at = offset + sent;
                return Err(if is_timeout(&error) {
                    format!("after {at} bytes nothing is taken").into()
                } else {
                    format!("after {at} bytes sending met: {error}").into()
                });
            }
        }
    }
    Ok(())
}

/// Receives `count` bytes that must be those of the pattern from `offset` on.
pub(crate) fn receive(
    from: &TcpStream,
    pattern: &Pattern,
    offset: usize,
    count: usize,
) -> Result<(), Failure> {
    let mut buffer = vec![0; BUFFER.min(count)];
    let mut received = 0;
    while received < count {
        let most = buffer.len().min(count - received);
        let at = offset + received;
        match read(from, &mut buffer[..most], LIMIT) {
            Ok(read) => {
                if let Some(differs) = pattern.first_difference(at, &buffer[..read]) {
                    return Err(format!("byte {differs} is not the one that was sent").into());
                }
                received += read;
            }
            Err(end) => return Err(format!("after {at} of {} bytes: {end}", offset + count).into()),
        }
    }
    Ok(())
}

/// Receives everything up to the end, which must be those of the pattern: how many, and the end.
pub(crate) fn receive_all(from: &TcpStream, pattern: &Pattern) -> Result<(usize, End), Failure> {
    let mut buffer = vec![0; BUFFER];
    let mut received = 0;
    loop {
        match read(from, &mut buffer, LIMIT) {
            Ok(read) => {
                if let Some(differs) = pattern.first_difference(received, &buffer[..read]) {
                    return Err(format!("byte {differs} is not the one that was sent").into());
                }
                received += read;
            }
            Err(end) => return Ok((received, end)),
        }
    }
}

/// How the direction ends from here on; bytes that come before that are more than were sent.
pub(crate) fn end(from: &TcpStream, within: Duration) -> Result<End, Failure> {
    match read(from, &mut [0; 64], within) {
        Ok(more) => Err(format!("{more} bytes more than were sent").into()),
        Err(end) => Ok(end),
    }
}

/// Reads what there is, at least one byte.
pub(crate) fn read(
    mut from: &TcpStream,
    buffer: &mut [u8],
    within: Duration,
) -> Result<usize, End> {
    let of = |error: io::Error| {
        if is_timeout(&error) {
            End::Silence
        } else if error.kind() == io::ErrorKind::ConnectionReset {
            End::Reset
        } else {
            End::Error(error.kind())
        }
    };
    from.set_read_timeout(Some(within.max(SHORTEST))).map_err(of)?;
    match from.read(buffer).map_err(of)? {
        0 => Err(End::Fin),
        read => Ok(read),
    }
}

/// Fills `buffer`.
pub(crate) fn read_exact(from: &TcpStream, buffer: &mut [u8], within: Duration) -> Result<(), End> {
    let until = Instant::now() + within;
    let mut filled = 0;
    while filled < buffer.len() {
        let left = until.saturating_duration_since(Instant::now());
        filled += read(from, &mut buffer[filled..], left)?;
    }
    Ok(())
}

/// Ends its sending properly: the FIN of a half-close.
pub(crate) fn finish(stream: &TcpStream) -> Result<(), Failure> {
    stream.shutdown(Shutdown::Write).map_err(met("it could not be half-closed"))
}

/// Resets it: whatever is not sent is lost.
pub(crate) fn reset(stream: TcpStream) -> Result<(), Failure> {
    let lingers = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
    lingers.map_err(met("it could not be reset"))
}

pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// Who waits longer for a byte that is on its way is hung: no proxy holds one for so long.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

const HEAD_START: Duration = Duration::from_millis(20);

const BUFFER: usize = 256 * 1024;

/// Zero would mean forever.
const SHORTEST: Duration = Duration::from_millis(1);
