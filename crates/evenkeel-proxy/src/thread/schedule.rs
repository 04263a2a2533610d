//! Which CPU a data thread runs on.
//!
//! Where each thread can have a CPU for itself it keeps to it while it is busy: two busy threads on
//! one CPU take turns by the tick of the scheduler, and small requests feel that. With little to do
//! it roams: woken on the CPU of whoever sends it something, it finds the bytes in the cache, and
//! no other CPU needs to be woken. In bulk it roams too: then what counts is that nobody's CPU is
//! idle, and the scheduler sees more of that than we do.

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::time::Instant;

/// Bytes moved between two accounts of a thread which are bulk: half a gigabyte a second.
const BULK: u64 = 128 * 1024 * 1024;

/// Share of its time from which a thread is busy.
const BUSY: f64 = 0.25;

/// The CPU of one thread.
#[derive(Debug)]
pub(crate) struct Cpu {
    own: CpuSet,
    all: CpuSet,
    keeps: bool,
}

impl Cpu {
    /// A CPU for each of `count` threads; none if there are not as many as this process may run on.
    /// With fewer threads than CPUs other processes would keep theirs to the same ones.
    pub(crate) fn for_each(count: usize) -> Vec<Option<Self>> {
        let none = || (0..count).map(|_| None).collect();
        let Ok(all) = sched_getaffinity(None) else { return none() };
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        if cpus.len() != count {
            return none();
        }
        let only = |cpu: usize| {
            let mut own = CpuSet::new();
            own.set(cpu);
            Some(Self { own, all, keeps: false })
        };
        cpus.into_iter().map(only).collect()
    }

    /// Keeps the calling thread to its CPU, or lets it roam, by what it has done of late: the share
    /// of its time in which it was busy, and the bytes that it has moved.
    pub(crate) fn settle(&mut self, busy: f64, moved: u64) {
        self.keep(keeps(busy, moved));
    }

    fn keep(&mut self, keeps: bool) {
        if keeps == self.keeps {
            return;
        }
        self.keeps = keeps;
        let set = if keeps { &self.own } else { &self.all };
        if let Err(error) = sched_setaffinity(None, set) {
            tracing::debug!(keeps, %error, "the CPU of a data thread is not set");
        }
    }
}

fn keeps(busy: f64, moved: u64) -> bool {
    busy >= BUSY && moved < BULK
}

/// How much of its time a thread does something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    since: Instant,
    waited: Duration,
}

impl Effort {
    /// Counts from now on.
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, waited: Duration::ZERO }
    }

    /// It had nothing to do from then until then.
    pub(crate) fn waited(&mut self, from: Instant, to: Instant) {
        self.waited += to.saturating_duration_since(from);
    }

    /// The share of the time in which it did not wait, from 0 to 1.
    pub(crate) fn share(&self, now: Instant) -> f64 {
        let whole = now.saturating_duration_since(self.since);
        let busy = whole.saturating_sub(self.waited);
        if whole.is_zero() { 0.0 } else { busy.div_duration_f64(whole) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_busy_keeps_to_its_cpu_and_not_with_bulk() {
        assert!(keeps(0.5, 1 << 20));
        assert!(!keeps(0.04, 1 << 20), "it has little to do");
        assert!(!keeps(0.9, 1 << 28), "it moves bulk");
    }

    #[test]
    fn effort_is_the_time_without_waiting() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut effort = Effort::new(start);
        effort.waited(at(10), at(40));
        effort.waited(at(50), at(95));
        assert!((effort.share(at(100)) - 0.25).abs() < 1e-9);
        let none = Effort::new(at(100));
        assert!((none.share(at(100)) - 0.0).abs() < 1e-9, "no time, no effort");
    }

    #[test]
    fn as_many_threads_as_cpus_have_one_each_and_fewer_have_none() {
        let all = sched_getaffinity(None).unwrap();
        let count = usize::try_from(all.count()).unwrap();
        let mut cpus = Cpu::for_each(count);
        assert!(cpus.iter().all(Option::is_some));
        assert!(Cpu::for_each(count + 1).iter().all(Option::is_none));
        let mut last = cpus.pop().unwrap().unwrap();
        last.keep(true);
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        last.keep(false);
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }
}
