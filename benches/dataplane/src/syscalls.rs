//! How many system calls a proxy makes, by `strace -f -c` on all its threads.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::child::{self, Child};
use crate::pause;
use evenkeel_bench::failed::{Doing, Failed};

/// strace, attached to a proxy.
#[derive(Debug)]
pub(crate) struct Trace {
    strace: Child,
    summary: std::path::PathBuf,
}

impl Trace {
    /// Attaches to all threads of these processes.
    pub(crate) fn attach(pids: &[u32], directory: &Path) -> Result<Self, Failed> {
        let summary = directory.join("strace.summary");
        drop(fs::remove_file(&summary));
        let mut command = child::command("strace");
        command.args(["-f", "-c", "-o"]).arg(&summary);
        for pid in pids {
            command.arg("-p").arg(pid.to_string());
        }
        let mut strace = Child::start("strace", command, directory)?;
        let attached = pause::until(LONGEST, || all_traced(pids).then_some(()));
        strace.check()?;
        attached.ok_or_else(|| strace.ended("it did not attach"))?;
        Ok(Self { strace, summary })
    }

    /// Detaches, and answers how often each call was made.
    pub(crate) fn detach(mut self) -> Result<Vec<(String, u64)>, Failed> {
        // What is under way, such as closing, is to be seen too.
        pause::pause(Duration::from_millis(200));
        self.strace.interrupt()?;
        let text = fs::read_to_string(&self.summary).doing(|| "read the summary of strace")?;
        Ok(calls(&text))
    }
}

fn all_traced(pids: &[u32]) -> bool {
    let threads = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    threads.flatten().filter_map(Result::ok).all(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        status
            .lines()
            .filter_map(|line| line.strip_prefix("TracerPid:"))
            .all(|pid| pid.trim() != "0")
    })
}

/// The calls in a summary:
///
/// ```text
/// % time     seconds  usecs/call     calls    errors syscall
/// ------ ----------- ----------- --------- --------- ----------------
///  52.10    0.012345          12      1028        16 recvfrom
/// ```
fn calls(summary: &str) -> Vec<(String, u64)> {
    let call = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.first()?.parse::<f64>().ok()?;
        let (calls, name) = (words.get(3)?.parse().ok()?, *words.last()?);
        (name != "total").then(|| (name.to_owned(), calls))
    };
    summary.lines().filter_map(call).collect()
}

const LONGEST: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_without_its_frame() {
        let summary = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 75.00    0.000300          10        30           sendto
 25.00    0.000100           3        32         2 recvfrom
  0.00    0.000000           0         1           close
------ ----------- ----------- --------- --------- ----------------
100.00    0.000400           6        63         2 total
";
        let expected = [("sendto", 30), ("recvfrom", 32), ("close", 1)];
        assert_eq!(calls(summary), expected.map(|(name, calls)| (name.to_owned(), calls)));
    }
}
