//! How a data thread is scheduled: on which CPU, and whom it pushes aside.
//!
//! With little to do it is left to the kernel: woken on the CPU of whoever sends it something, it
//! finds the bytes in the cache, no other CPU needs to be woken, and whoever runs there makes way.
//!
//! A busy one is bound where each thread can have a CPU for itself: two of them on one CPU take
//! turns by the tick of the scheduler, and small requests feel that. And it makes way for who runs
//! when it is woken (`SCHED_BATCH`, sched(7)): who sends it something has more to send, and what has
//! come by the time that it runs it does in one turn.
//!
//! In bulk it is left to the kernel too: then what counts is that nobody's CPU is idle, and the
//! scheduler sees more of that than we do.

mod policy;

use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

use self::policy::Policy;

/// Bytes moved between two accounts of a thread which are bulk: a gigabyte a second.
const BULK: u64 = 256 * 1024 * 1024;

/// Share of a CPU from which a thread is busy.
const BUSY: f64 = 0.25;

/// How one thread is scheduled.
#[derive(Debug)]
pub(crate) struct Schedule {
    cpu: Option<Cpu>,
    /// Nobody has chosen another policy for this process.
    is_normal: bool,
    is_busy: bool,
}

/// The CPU of one thread.
#[derive(Debug)]
struct Cpu {
    own: CpuSet,
    all: CpuSet,
}

impl Schedule {
    /// One for each of `count` threads, with a CPU for each if there are as many as this process may
    /// run on. With fewer threads than CPUs other processes would keep theirs to the same ones.
    pub(crate) fn for_each(count: usize) -> Vec<Self> {
        let is_normal = Policy::now() == Some(Policy::Normal);
        Cpu::for_each(count)
            .into_iter()
            .map(|cpu| Self { cpu, is_normal, is_busy: false })
            .collect()
    }

    /// Schedules the calling thread by what it has done of late: the share of a CPU that it has used,
    /// and the bytes that it has moved.
    pub(crate) fn settle(&mut self, used: f64, moved: u64) {
        let is_busy = used >= BUSY && moved < BULK;
        if std::mem::replace(&mut self.is_busy, is_busy) == is_busy {
            return;
        }
        if let Some(cpu) = &self.cpu {
            cpu.keep(is_busy);
        }
        let policy = if is_busy { Policy::Batch } else { Policy::Normal };
        if self.is_normal
            && let Err(error) = policy.set()
        {
            tracing::debug!(?policy, %error, "the policy of a data thread is not set");
        }
    }

    /// Whether the thread was busy when this was last settled.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_busy
    }
}

impl Cpu {
    fn for_each(count: usize) -> Vec<Option<Self>> {
        let none = || (0..count).map(|_| None).collect();
        let Ok(all) = sched_getaffinity(None) else { return none() };
        let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|cpu| all.is_set(*cpu)).collect();
        if cpus.len() != count {
            return none();
        }
        let only = |cpu: usize| {
            let mut own = CpuSet::new();
            own.set(cpu);
            Some(Self { own, all })
        };
        cpus.into_iter().map(only).collect()
    }

    /// Keeps the calling thread to it, or lets it roam.
    fn keep(&self, keeps: bool) {
        let set = if keeps { &self.own } else { &self.all };
        if let Err(error) = sched_setaffinity(None, set) {
            tracing::debug!(keeps, %error, "the CPU of a data thread is not set");
        }
    }
}

/// How much of a CPU a thread uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    since: Instant,
    used: Duration,
}

impl Effort {
    /// Of the calling thread, from now on.
    pub(crate) fn from(now: Instant) -> Self {
        Self { since: now, used: used() }
    }

    /// The share of the time since then for which the calling thread has run, from 0 to 1.
    pub(crate) fn share(&self, now: Instant) -> f64 {
        let whole = now.saturating_duration_since(self.since);
        let used = used().saturating_sub(self.used);
        if whole.is_zero() { 0.0 } else { used.div_duration_f64(whole) }
    }
}

/// The time for which the calling thread has run. That it waited for a CPU does not count.
fn used() -> Duration {
    // It is never negative.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn is_normal() -> bool {
        Policy::now() == Some(Policy::Normal)
    }

    #[test]
    fn who_is_busy_makes_way_and_not_with_bulk() {
        let mut schedule = Schedule { cpu: None, is_normal: true, is_busy: false };
        schedule.settle(0.1, 1 << 20);
        assert!(is_normal(), "it has little to do");
        schedule.settle(0.5, 1 << 20);
        assert_eq!(Policy::now(), Some(Policy::Batch));
        schedule.settle(0.9, BULK);
        assert!(is_normal() && !schedule.is_busy(), "it moves bulk");
    }

    #[test]
    fn a_policy_that_somebody_chose_stays() {
        Policy::Batch.set().unwrap();
        let mut schedule = Schedule::for_each(1).remove(0);
        schedule.settle(0.5, 0);
        schedule.settle(0.0, 0);
        assert_eq!(Policy::now(), Some(Policy::Batch));
        Policy::Normal.set().unwrap();
    }

    #[test]
    fn waiting_is_no_effort() {
        let start = Instant::now();
        let effort = Effort::from(start);
        let (_tells, told) = mpsc::channel::<()>();
        assert!(told.recv_timeout(Duration::from_millis(30)).is_err(), "nobody tells");
        let rested = effort.share(Instant::now());
        let busy = Effort::from(Instant::now());
        let mut last = used();
        while last < busy.used + Duration::from_millis(5) {
            last = used();
        }
        let worked = busy.share(Instant::now());
        assert!(rested < worked, "{rested} {worked}");
        assert!((busy.share(busy.since) - 0.0).abs() < 1e-9, "no time, no effort");
    }

    #[test]
    fn as_many_threads_as_cpus_have_one_each_and_fewer_have_none() {
        let all = sched_getaffinity(None).unwrap();
        let count = usize::try_from(all.count()).unwrap();
        let mut schedules = Schedule::for_each(count);
        assert!(schedules.iter().all(|schedule| schedule.cpu.is_some()));
        assert!(Schedule::for_each(count + 1).iter().all(|schedule| schedule.cpu.is_none()));
        let mut last = schedules.pop().unwrap();
        last.settle(0.5, 0);
        assert_eq!(sched_getaffinity(None).unwrap().count(), 1);
        last.settle(0.1, 0);
        assert_eq!(sched_getaffinity(None).unwrap(), all);
    }
}
