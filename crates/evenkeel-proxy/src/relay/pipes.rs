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
    budget: Arc<Budget>,
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.budget.release();
        self.budget.gauge.decrement(1);
    }
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
    /// The fewest that were kept since it was last tidied: so many were not needed.
    spare: usize,
}

impl Pipes {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { budget, kept: Vec::new(), spare: 0 }
    }

    /// An empty pipe, or `None` where the limits of the process or the user are reached.
    pub(crate) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.kept.pop() {
            self.spare = self.spare.min(self.kept.len());
            return Some(pipe);
        }
        if !self.budget.reserve() {
            self.budget.none_left.increment(1);
            return None;
        }
        self.budget.gauge.increment(1);
        let made = make(&self.budget);
        if made.is_none() {
            self.budget.too_small.increment(1);
        }
        made
    }

    /// Takes an empty pipe back. One that may hold bytes is dropped instead.
    pub(crate) fn put_back(&mut self, pipe: Pipe) {
        if self.kept.len() < KEPT {
            self.kept.push(pipe);
        }
    }

    /// Closes what was not needed since the last time: the budget is the process's and the limit
    /// the user's, and others may need it.
    pub(crate) fn tidy(&mut self) {
        let needed = self.kept.len().saturating_sub(self.spare);
        self.kept.truncate(needed);
        self.spare = needed;
    }

    /// Whether any is kept.
    pub(crate) fn keeps_any(&self) -> bool {
        !self.kept.is_empty()
    }

    /// Counts that the kernel would not splice.
    pub(crate) fn refused(&self) {
        self.budget.refused.increment(1);
    }
}

/// Makes a pipe out of what is reserved, which goes back into the budget if that fails.
fn make(budget: &Arc<Budget>) -> Option<Pipe> {
    let Ok((read, write)) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) else {
        budget.release();
        budget.gauge.decrement(1);
        return None;
    };
    let mut pipe = Pipe { read, write, size: 0, budget: budget.clone() };
    pipe.size = match fcntl_setpipe_size(&pipe.write, budget.size) {
        Ok(size) => size,
        // Above the limit: what the kernel gave unasked may do.
        Err(_limit) => fcntl_getpipe_size(&pipe.write).ok()?,
    };
    (pipe.size >= WORTH_IT).then_some(pipe)
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
        // What is needed all the time is kept, and what is not goes.
        pipes.tidy();
        assert!(!pipes.kept.is_empty());
        pipes.tidy();
        pipes.tidy();
        assert!(pipes.kept.is_empty());
        drop(pipe);
        drop(pipes);
        assert_eq!(budget.left.load(Ordering::Relaxed), BUDGET);
    }
}
