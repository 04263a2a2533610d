//! What a process holds.

use std::fs;

use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::count;

/// Memory and descriptors of some processes together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holding {
    /// Bytes of anonymous memory: what the processes themselves keep, without the kernel's buffers.
    pub(crate) bytes: u64,
    /// File descriptors.
    pub(crate) descriptors: u64,
}

impl Holding {
    /// Of these processes, now.
    pub(crate) fn of(pids: &[u32]) -> Result<Self, Failed> {
        let mut all = Self { bytes: 0, descriptors: 0 };
        for pid in pids {
            let path = format!("/proc/{pid}/smaps_rollup");
            let text = fs::read_to_string(&path).doing(|| format!("read {path}"))?;
            all.bytes += anonymous(&text)
                .ok_or_else(|| Failed::because(format!("read {path}"), "no line Anonymous"))?;
            let path = format!("/proc/{pid}/fd");
            let entries = fs::read_dir(&path).doing(|| format!("read {path}"))?;
            all.descriptors += count(entries.count());
        }
        Ok(all)
    }
}

/// The line `Anonymous:  1234 kB`, in bytes.
fn anonymous(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_found_among_others() {
        let text = "Rss:      1732 kB\nAnonymous:          88 kB\nLazyFree: 0 kB\n";
        assert_eq!(anonymous(text), Some(88 * 1024));
        assert_eq!(anonymous("Rss: 12 kB\n"), None);
    }

    #[test]
    fn this_process_holds_something() {
        let holding = Holding::of(&[std::process::id()]).unwrap();
        assert!(holding.bytes > 0 && holding.descriptors >= 3, "{holding:?}");
    }
}
