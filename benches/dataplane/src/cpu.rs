//! Who used the CPU.
//!
//! A process: the nanoseconds of `/proc/PID/task/*/schedstat`, since the ticks of
//! `/proc/PID/stat` are as long as a thousand requests. The machine: what its CPUs were not idle,
//! from `/proc/stat`. What is left between the two is foreign, and tells how quiet the machine was.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::float;

/// Whose CPU is told apart: the pids of each.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Watched {
    /// The proxy's processes.
    pub(crate) proxy: Vec<u32>,
    /// The backend.
    pub(crate) backend: Vec<u32>,
    /// The load generator.
    pub(crate) generator: Vec<u32>,
    /// Who started them.
    pub(crate) runner: Vec<u32>,
}

/// CPU-seconds of each between two moments.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Spent {
    /// The proxy.
    pub(crate) proxy: f64,
    /// The backend.
    pub(crate) backend: f64,
    /// The load generator.
    pub(crate) generator: f64,
    /// Who started them.
    pub(crate) runner: f64,
    /// All others, and what the hypervisor took.
    pub(crate) foreign: f64,
    /// How long it was.
    pub(crate) elapsed: f64,
}

impl Spent {
    /// How many cores all others kept busy.
    pub(crate) fn foreign_cores(&self) -> f64 {
        self.foreign / self.elapsed.max(f64::MIN_POSITIVE)
    }
}

/// What all have used up to a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    spent: Spent,
    busy: f64,
    at: Instant,
}

impl Used {
    /// Reads what all have used up to now.
    pub(crate) fn now(watched: &Watched) -> Result<Self, Failed> {
        let machine = fs::read_to_string("/proc/stat").doing(|| "read /proc/stat")?;
        let busy = busy_ticks(&machine)
            .ok_or_else(|| Failed::because("read /proc/stat", "it has no line of all CPUs"))?;
        let spent = Spent {
            proxy: of(&watched.proxy),
            backend: of(&watched.backend),
            generator: of(&watched.generator),
            runner: of(&watched.runner),
            foreign: 0.0,
            elapsed: 0.0,
        };
        let busy = float(busy) / float(rustix::param::clock_ticks_per_second());
        Ok(Self { spent, busy, at: Instant::now() })
    }

    /// What was used since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let (now, then) = (&self.spent, &earlier.spent);
        let mut spent = Spent {
            proxy: now.proxy - then.proxy,
            backend: now.backend - then.backend,
            generator: now.generator - then.generator,
            runner: now.runner - then.runner,
            foreign: 0.0,
            elapsed: self.at.duration_since(earlier.at).as_secs_f64(),
        };
        let ours = spent.proxy + spent.backend + spent.generator + spent.runner;
        spent.foreign = (self.busy - earlier.busy - ours).max(0.0);
        spent
    }
}

/// A process and all that descend from it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    let Ok(entries) = fs::read_dir("/proc") else { return vec![root] };
    for entry in entries.filter_map(Result::ok) {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut all = vec![root];
    let mut next = 0;
    while let Some(pid) = all.get(next) {
        let of_it = children.remove(pid).unwrap_or_default();
        all.extend(of_it);
        next += 1;
    }
    all
}

/// The seconds that processes have used.
fn of(pids: &[u32]) -> f64 {
    let nanoseconds = pids.iter().map(|pid| nanoseconds_of(*pid)).sum();
    float(nanoseconds) / 1e9
}

fn nanoseconds_of(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    threads
        .filter_map(Result::ok)
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// The ticks in which a CPU was not idle: of `cpu user nice system idle iowait irq softirq steal
/// guest guest_nice` all but `idle` and `iowait`, and the guests', which user has too.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let (all, idle) = (ticks.get(..8)?, ticks.get(3..5)?);
    Some(all.iter().sum::<u64>() - idle.iter().sum::<u64>())
}

/// The parent that a line of `/proc/PID/stat` names. The name before it may hold anything.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_and_waiting_for_disks_is_not_busy() {
        let stat = "cpu  10 20 30 1000 500 1 2 4 7 8\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(busy_ticks(stat), Some(67));
        assert_eq!(busy_ticks("intr 0\n"), None);
    }

    #[test]
    fn a_name_with_brackets_hides_no_parent() {
        assert_eq!(parent("12 (a) b (c) S 7 12 12 0"), Some(7));
    }

    #[test]
    fn a_thread_that_works_is_seen() {
        let watched = Watched { runner: vec![std::process::id()], ..Watched::default() };
        let before = Used::now(&watched).unwrap();
        let end = Instant::now() + std::time::Duration::from_millis(30);
        while Instant::now() < end {}
        let spent = Used::now(&watched).unwrap().since(&before);
        assert!(spent.runner > 0.005 && spent.elapsed >= 0.03, "{spent:?}");
    }

    #[test]
    fn a_child_is_of_the_tree() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().unwrap();
        let tree = tree(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(tree.contains(&child.id()), "{tree:?}");
    }
}
