//! A direction that ends with much of it still under way, and an answer after that.

use std::thread;
use std::time::Duration;

use crate::pair::{Direction, End, finish, receive_all, send};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage, pause};
use crate::verdict::Failure;

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    for direction in Direction::BOTH {
        one(&stage, direction).map_err(|failure| failure.at(format!("first {direction}")))?;
    }
    Ok(format!("{QUEUED} bytes and FIN, then {ANSWER} bytes and FIN back, both ways"))
}

fn one(stage: &Stage, direction: Direction) -> Result<(), Failure> {
    let pair = stage.pair()?;
    let (from, to) = pair.ends(direction);
    let (pattern, answer) = (Pattern::new(5), Pattern::new(6));
    let first = thread::scope(|scope| {
        let sent = scope.spawn(|| send(from, &pattern, 0, QUEUED).and_then(|()| finish(from)));
        // So that the end is known to the proxy while bytes are queued on both sides of it.
        pause(QUEUE);
        let received = receive_all(to, &pattern);
        received.and_then(|seen| sent.join().expect("it only sends").map(|()| seen))
    })?;
    whole("of what was queued", first, QUEUED)?;
    let second = thread::scope(|scope| {
        let sent = scope.spawn(|| send(to, &answer, 0, ANSWER).and_then(|()| finish(to)));
        let received = receive_all(from, &answer);
        // Where the answer cannot be sent, what its receiver saw tells more.
        drop(sent.join());
        received
    })?;
    whole("of the answer", second, ANSWER)
}

fn whole(what: &str, (received, end): (usize, End), count: usize) -> Result<(), Failure> {
    if received == count && end == End::Fin {
        return Ok(());
    }
    Err(format!("{received} of {count} bytes {what}, then {end}").into())
}

const QUEUED: usize = 8 << 20;

const ANSWER: usize = 1 << 20;

const QUEUE: Duration = Duration::from_millis(200);
