//! What comes before or after the part that is measured may block.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::STALLED;
use crate::wire::{Wire, would_block};

/// Sends all of it.
pub(super) fn send(wire: &mut Wire, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match wire.send(bytes) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if would_block(&error) => wait_for(wire, PollFlags::OUT)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Receives what comes next; 0 is the end.
pub(super) fn receive(wire: &mut Wire, scratch: &mut [u8]) -> io::Result<usize> {
    loop {
        match wire.receive(scratch) {
            Err(error) if would_block(&error) => wait_for(wire, PollFlags::IN)?,
            received => return received,
        }
    }
}

/// Half-closes, after all that was taken is sent.
pub(super) fn finish(wire: &mut Wire) -> io::Result<()> {
    while wire.is_blocked() {
        wait_for(wire, PollFlags::OUT)?;
        wire.flush()?;
    }
    wire.finish()
}

fn wait_for(wire: &Wire, flags: PollFlags) -> io::Result<()> {
    let longest = Timespec::try_from(STALLED).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(wire, flags)], Some(&longest)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
