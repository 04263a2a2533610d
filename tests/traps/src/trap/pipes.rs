//! A user that has as many pipes as it may.
//!
//! Then a new pipe of it has two slots, and cannot be made larger (`pipe-user-pages-soft`).

use std::os::fd::OwnedFd;
use std::sync::mpsc;
use std::thread;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use rustix::process::Uid;
use rustix::thread::set_thread_res_uid;

use crate::pair::Direction;
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::trap::BULK;
use crate::verdict::{Failure, NotChecked};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let made = |error: Errno| NotChecked::conditions("use up a user's pipes")(error.into());
    thread::scope(|scope| {
        let (tell, told) = mpsc::sync_channel(1);
        let (end, ends) = mpsc::sync_channel::<()>(1);
        // Only this thread becomes that user; who accounts for a pipe is who made it.
        scope.spawn(move || {
            let (pipes, size) = use_up()
                .map_or_else(|error| (Vec::new(), Err(error)), |(pipes, size)| (pipes, Ok(size)));
            // Who is told waits for it; the other channel closes when the check is over.
            if tell.send(size).is_ok() {
                ends.iter().for_each(drop);
            }
            drop(pipes);
        });
        let size = told.recv().unwrap_or(Err(Errno::IO)).map_err(made)?;
        let checked = with_tiny_pipes(rig);
        drop(end);
        Ok(format!("pipes are of {size} bytes; {}", checked?))
    })
}

fn with_tiny_pipes(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup { user: Some(NOBODY), ..Setup::default() })?;
    let count = rig.effort.rounds(8, 40);
    thread::scope(|scope| {
        let all: Vec<_> = (0..count)
            .map(|index| {
                let stage = &stage;
                scope.spawn(move || {
                    let pattern = Pattern::new(index as u64);
                    stage.pair()?.transfer(Direction::BOTH[index % 2], &pattern, BULK)
                })
            })
            .collect();
        all.into_iter().try_for_each(|one| one.join().expect("it only sends and receives"))
    })?;
    Ok(format!("{count} connections at once had every byte"))
}

/// Makes pipes as that user until a new one cannot be made larger: they, and its size.
fn use_up() -> Result<(Vec<OwnedFd>, usize), Errno> {
    let nobody = Uid::from_raw(NOBODY);
    set_thread_res_uid(nobody, nobody, nobody)?;
    let mut pipes = Vec::new();
    for _ in 0..MOST {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        pipes.push(read);
        let large = fcntl_setpipe_size(&write, LARGE);
        let size = fcntl_getpipe_size(&write)?;
        pipes.push(write);
        // The first to be refused still was of the usual size, and took the last of what is free.
        if large.is_err() && size < USUAL {
            return Ok((pipes, size));
        }
    }
    Err(Errno::NOSPC)
}

const NOBODY: u32 = 65_534;

const LARGE: usize = 1 << 20;

const USUAL: usize = 64 * 1024;

/// More than sixteen of a default limit.
const MOST: usize = 4096;
