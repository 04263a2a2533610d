//! Connections that are reset in the middle of bulk, and those that come after them.
//!
//! What was read and not yet sent belongs to one connection. A pipe or a buffer that goes back
//! with it to those for the next hands it to another client.

use std::io::{self, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::pair::{Direction, receive, reset, send};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::verdict::{Failure, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let rounds = rig.effort.rounds(200, 1000);
    // Two at a time, so that two threads of a proxy are at it.
    thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES)
            .map(|lane| {
                let stage = &stage;
                let rounds = (lane..rounds).step_by(LANES);
                scope.spawn(move || {
                    rounds.into_iter().try_for_each(|round| {
                        one(stage, round).map_err(|failure| failure.at(format!("round {round}")))
                    })
                })
            })
            .collect();
        lanes.into_iter().try_for_each(|lane| lane.join().expect("it only sends and receives"))
    })?;
    Ok(format!("{rounds} connections reset in bulk, and each had only its own bytes"))
}

fn one(stage: &Stage, round: usize) -> Result<(), Failure> {
    let pattern = Pattern::new(1000 + round as u64);
    let direction = Direction::BOTH[round / LANES % 2];
    let (from, to) = stage.pair()?.into_ends(direction);
    // What does not fit here stays in the proxy.
    SockRef::from(&to).set_recv_buffer_size(SMALL).map_err(met("no buffer was set"))?;
    thread::scope(|scope| {
        let sent = scope.spawn(|| send(&from, &pattern, 0, CHECKED));
        let received = receive(&to, &pattern, 0, CHECKED);
        let sent = sent.join().expect("it only sends");
        received.and(sent)
    })?;
    fill(&from, &pattern)?;
    match round / LANES / 2 % 3 {
        0 => reset(from),
        1 => reset(to),
        _both => reset(to).and_then(|()| reset(from)),
    }
}

/// Sends on without waiting until there is no room, also not a moment later.
fn fill(mut from: &TcpStream, pattern: &Pattern) -> Result<(), Failure> {
    from.set_nonblocking(true).map_err(met("it could not be made non-blocking"))?;
    let mut offset = CHECKED;
    while offset < MOST {
        match from.write(pattern.from(offset, usize::MAX)) {
            Ok(written) => offset += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let moment = Timespec::try_from(MOMENT).map_err(|error| error.to_string())?;
                let room = poll(&mut [PollFd::new(from, PollFlags::OUT)], Some(&moment));
                if room.map_err(|error| error.to_string())? == 0 {
                    break;
                }
            }
            Err(error) => return Err(format!("after {offset} bytes sending met: {error}").into()),
        }
    }
    from.set_nonblocking(false).map_err(met("it could not be made blocking"))
}

const LANES: usize = 2;

const SMALL: usize = 32 * 1024;

/// So much of each connection is checked before it is reset: enough that it is spliced.
const CHECKED: usize = 1 << 20;

const MOST: usize = 16 << 20;

const MOMENT: Duration = Duration::from_millis(3);
