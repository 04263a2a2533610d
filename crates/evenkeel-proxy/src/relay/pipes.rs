//! The pipes that bulk is moved through: lent for as long as bytes are in them, kept for the next.
//!
//! The kernel bounds what the pipes of one *user* may hold (`pipe-user-pages-soft`, pipe(7)), so
//! they are few, shared, and a connection that gets none is copied as before.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use metrics::{Counter, Gauge};
use rustix::pipe::{PipeFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use rustix::thread::{CapabilitySet, capabilities};

/// What a pipe holds where the limits of a user do not concern us: the default of `pipe-max-size`.
const PRIVILEGED: usize = 1024 * 1024;

/// What it holds otherwise: all that the budget allows are half the soft limit of a user.
const UNPRIVILEGED: usize = 512 * 1024;

/// Less than this is not worth two calls: what the kernel gives once the soft limit is reached has
/// two pages.
const WORTH_IT: usize = 64 * 1024;

/// What all pipes of the process may hold together.
const BUDGET: usize = 32 * 1024 * 1024;

/// Pipes that a thread keeps for the next bulk.
const KEPT: usize = 64;

/// A pipe, empty when it is lent.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
    /// Bytes that it is made for. It may hold more: a slot may be a whole packet.
    pub(crate) size: usize,
}

/// What all threads share of it.
#[derive(Debug)]
pub(crate) struct Budget {
    size: usize,
    left: AtomicUsize,
    gauge: Gauge,
    none_left: Counter,
    too_small: Counter,
    refused: Counter,
}

impl Budget {
    /// Takes metric handles: the recorder must be installed before.
    pub(crate) fn new() -> Arc<Self> {
        // Linux `pipe_is_unprivileged_user`: either will do.
        let exempt = CapabilitySet::SYS_RESOURCE | CapabilitySet::SYS_ADMIN;
        let privileged = capabilities(None).is_ok_and(|sets| sets.effective.intersects(exempt));
        let copied = |reason: &'static str| metrics::counter!("evenkeel_splice_fallbacks_total", "reason" => reason);
        Arc::new(Self {
            size: if privileged { PRIVILEGED } else { UNPRIVILEGED },
            left: AtomicUsize::new(BUDGET),
            gauge: metrics::gauge!("evenkeel_splice_pipes"),
            none_left: copied("budget"),
            too_small: copied("pipe_limit"),
            refused: copied("kernel"),
        })
    }

    fn reserve(&self) -> bool {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(self.size));
        taken.is_ok()
    }

    fn release(&self) {
        self.left.fetch_add(self.size, Ordering::Relaxed);
    }
}

/// The pipes of a thread.
#[derive(Debug)]
pub(crate) struct Pipes {
    budget: Arc<Budget>,
    kept: Vec<Pipe>,
    /// Whether any was lent since this was last asked.
    used: bool,
}

impl Pipes {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, kept: Vec::new(), used: false }
    }

    /// An empty pipe, or `None` where the limits of the process or the user are reached.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        self.used = true;
        if let Some(pipe) = self.kept.pop() {
            return Some(pipe);
        }
        if !self.budget.reserve() {
            self.budget.none_left.increment(1);
            return None;
        }
        let made = make(self.budget.size);
        if made.is_some() {
            self.budget.gauge.increment(1);
        } else {
            self.budget.release();
            self.budget.too_small.increment(1);
        }
        made
    }

    /// Takes an empty pipe back.
    pub(crate) fn put_back(&mut self, pipe: Pipe) {
        if self.kept.len() < KEPT {
            self.kept.push(pipe);
        } else {
            self.close(pipe);
        }
    }

    /// Closes a pipe, with whatever is in it.
    pub(crate) fn close(&self, pipe: Pipe) {
        drop(pipe);
        self.budget.release();
        self.budget.gauge.decrement(1);
    }

    /// Closes what is kept: called when nothing has been bulk for a while, since the limit is the
    /// user's, and others may need it.
    pub(crate) fn tidy(&mut self) {
        while let Some(pipe) = self.kept.pop() {
            self.close(pipe);
        }
    }

    /// Whether any is kept.
    pub(crate) fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Whether none was lent since this was last asked.
    pub(crate) fn is_unused(&mut self) -> bool {
        !std::mem::take(&mut self.used)
    }

    /// Counts that the kernel would not splice.
    pub(crate) fn refused(&self) {
        self.budget.refused.increment(1);
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.tidy();
    }
}

fn make(size: usize) -> Option<Pipe> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
    let size = match fcntl_setpipe_size(&write, size) {
        Ok(size) => size,
        // Above the limit: what the kernel gave unasked may do.
        Err(_limit) => fcntl_getpipe_size(&write).ok()?,
    };
    (size >= WORTH_IT).then_some(Pipe { read, write, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_is_given_back_is_lent_again_and_the_budget_holds() {
        let budget = Budget::new();
        let mut pipes = Pipes::new(budget.clone());
        let most = BUDGET / budget.size;
        let lent: Vec<Pipe> = std::iter::from_fn(|| pipes.take()).collect();
        // The soft limit of this user may be used up by others; ours is never exceeded.
        assert!(!lent.is_empty() && lent.len() <= most, "{}", lent.len());
        for pipe in lent {
            pipes.put_back(pipe);
        }
        assert!(pipes.kept.len() <= KEPT);
        let pipe = pipes.take().unwrap();
        pipes.close(pipe);
        drop(pipes);
        assert_eq!(budget.left.load(Ordering::Relaxed), BUDGET);
    }
}
