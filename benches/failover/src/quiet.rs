//! Whether the machine has come to rest, so that the start of a member is not felt in the next
//! sample.

use std::fs;
use std::time::Duration;

use tokio::time::Instant;

use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::float;
use evenkeel_bench::pause::pause;

/// Waits until few cores are busy, or no longer than `limit`; how many were busy in the end.
pub(crate) fn wait(limit: Duration) -> Result<f64, Failed> {
    let end = Instant::now() + limit;
    let mut before = spent()?;
    loop {
        pause(LOOK)?;
        let now = spent()?;
        let busy = now.cores_since(before);
        if busy < QUIET || Instant::now() >= end {
            return Ok(busy);
        }
        before = now;
    }
}

fn spent() -> Result<Spent, Failed> {
    let text = fs::read_to_string("/proc/stat").doing(|| "read /proc/stat")?;
    Spent::read(&text).ok_or_else(|| Failed::because("understand /proc/stat", "no CPU is in it"))
}

/// What all CPUs did since they began, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spent {
    busy: u64,
    all: u64,
    cpus: u64,
}

impl Spent {
    fn read(text: &str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| line.starts_with("cpu"));
        let ticks: Vec<u64> =
            lines.next()?.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; what follows is in user already.
        let all: u64 = ticks.iter().take(8).sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        Some(Self {
            busy: all.checked_sub(idle)?,
            all,
            cpus: evenkeel_bench::number::count(lines.count()),
        })
    }

    fn cores_since(self, before: Self) -> f64 {
        let busy = self.busy.saturating_sub(before.busy);
        let all = self.all.saturating_sub(before.all);
        float(busy) / float(all.max(1)) * float(self.cpus)
    }
}

/// How long to look.
const LOOK: Duration = Duration::from_millis(500);
/// Cores that three idle members keep busy between them, and some more.
const QUIET: f64 = 0.6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_the_disk_is_not_busy() {
        let before = Spent::read("cpu  10 0 10 100 20 0 0 0 0 0\ncpu0 5\ncpu1 5\nintr 1").unwrap();
        assert_eq!(before, Spent { busy: 20, all: 140, cpus: 2 });
        let now = Spent::read("cpu  30 0 40 130 40 0 0 0 0 0\ncpu0 5\ncpu1 5\nintr 1").unwrap();
        assert!((now.cores_since(before) - 1.0).abs() < 1e-9, "half of two");
    }
}
