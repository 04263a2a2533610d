//! Resets, and what came before them.
//!
//! A reset says that bytes are missing; passed on as a proper end, TLS above it still notices,
//! and little else does. But a reset of one's own (`SO_LINGER` 0) throws away what is not sent.

use std::io::Write;
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;

use crate::pair::{Direction, End, LIMIT, end, receive_all, reset, send};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage, pause};
use crate::verdict::{Failure, held, met};

pub(super) fn of_client(rig: &Rig) -> Result<String, Failure> {
    passed_on(rig, Direction::ToBackend)
}

pub(super) fn of_backend(rig: &Rig) -> Result<String, Failure> {
    passed_on(rig, Direction::ToClient)
}

fn passed_on(rig: &Rig, direction: Direction) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let rounds = rig.effort.rounds(5, 50);
    for _ in 0..rounds {
        let pair = stage.pair()?;
        // Both directions have proven to work.
        pair.ping()?;
        let (from, to) = pair.into_ends(direction);
        reset(from)?;
        let seen = end(&to, LIMIT)?;
        if seen != End::Reset {
            return Err(format!("RST arrives as {seen}").into());
        }
    }
    Ok(format!("RST arrives as RST, {rounds} times"))
}

/// The backend answers, and then closes with input that it has not read, which resets. The
/// client is slow, so that the proxy has much of the answer when the reset comes.
pub(super) fn after_answer(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    // Without one the backend's own kernel throws the answer away.
    stage.process()?;
    let rounds = rig.effort.rounds(3, 20);
    let mut ends = Vec::new();
    for round in 0..rounds {
        let pattern = Pattern::new(100 + round as u64);
        let mut pair = stage.pair()?;
        pair.client.write_all(b"a request").map_err(met("the request was not sent"))?;
        wait_for(&pair.backend, PollFlags::IN, "the request does not arrive")?;
        send(&pair.backend, &pattern, 0, ANSWER)?;
        // Writable then means that all of it was sent, and on loopback it is received at once.
        SockRef::from(&pair.backend).set_tcp_notsent_lowat(1).map_err(met("no mark was set"))?;
        wait_for(&pair.backend, PollFlags::OUT, "the answer is not taken")?;
        drop(pair.backend);
        pause(SLOW);
        let (received, last) = receive_all(&pair.client, &pattern)?;
        if received != ANSWER || last == End::Silence {
            return Err(format!("{received} of {ANSWER} bytes of the answer, then {last}").into());
        }
        ends.push(last.to_string());
    }
    ends.sort_unstable();
    ends.dedup();
    Ok(format!("the whole answer, {rounds} times, then {}", ends.join(" or ")))
}

/// The backend answers after the head of an upload, and closes without reading on.
pub(super) fn during_upload(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup::default())?;
    let rounds = rig.effort.rounds(20, 200);
    let mut lost = 0;
    let mut last_lost = String::new();
    for round in 0..rounds {
        let (body, answer) = (Pattern::new(7), Pattern::new(200 + round as u64));
        let pair = stage.pair()?;
        let (client, backend) = (pair.client, pair.backend);
        let (received, last) = thread::scope(|scope| {
            // It ends by an error, or because nothing is taken: both are right.
            let upload = scope.spawn(|| {
                drop(send(&client, &body, 0, UPLOAD));
            });
            crate::pair::receive(&backend, &body, 0, HEAD)?;
            send(&backend, &answer, 0, SHORT_ANSWER)?;
            drop(backend);
            // Who uploads looks for the answer when it cannot go on, or after a while.
            let received = receive_all(&client, &answer)?;
            // Whether or not it has failed already: nothing more is to be sent.
            drop(client.shutdown(Shutdown::Both));
            upload.join().expect("it only sends");
            Ok::<_, Failure>(received)
        })?;
        if received != SHORT_ANSWER || last == End::Silence {
            lost += 1;
            last_lost = format!("{received} of {SHORT_ANSWER} bytes, then {last}");
        }
    }
    held(
        lost == 0,
        if lost == 0 {
            format!("the answer to half an upload arrived {rounds} times")
        } else {
            format!("the answer to half an upload was lost {lost} of {rounds} times: {last_lost}")
        },
    )
}

fn wait_for(
    stream: &std::net::TcpStream,
    what: PollFlags,
    otherwise: &'static str,
) -> Result<(), Failure> {
    let within = Timespec::try_from(LIMIT).map_err(|error| error.to_string())?;
    match poll(&mut [PollFd::new(stream, what)], Some(&within)) {
        Ok(0) => Err(otherwise.to_owned().into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string().into()),
    }
}

/// More than a client that does not read has room for; less than a proxy's kernel takes. A smaller
/// room, less than a packet on loopback, would have the kernel wait on timers of its own.
const ANSWER: usize = 256 * 1024;

const SLOW: Duration = Duration::from_millis(200);

const UPLOAD: usize = 32 << 20;

const HEAD: usize = 64 * 1024;

const SHORT_ANSWER: usize = 16 * 1024;
