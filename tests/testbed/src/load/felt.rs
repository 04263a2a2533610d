//! What clients felt, and how a person reads it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::gap::Signs;

/// One new connection: connect, handshake, request and answer.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// When it began.
    pub started: Instant,
    /// How long it took, to its answer or its failure.
    pub took: Duration,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

/// One failure that a client with a kept connection or a watch felt.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When it showed.
    pub at: Instant,
    /// What it was, with its causes.
    pub error: String,
}

/// What a client felt that keeps one connection and connects again when it must.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Good answers.
    pub answers: u64,
    /// New connections after the first.
    pub reconnects: u64,
    /// Requests and tries to connect that failed. A connection that the other side had closed
    /// before the next request is a reconnect, not a failure.
    pub failures: Vec<Failure>,
    /// When the good answers came.
    pub signs: Signs,
}

/// What a client felt that watches, and goes on where it was when it must connect again.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Events seen.
    pub events: u64,
    /// New connections after the first.
    pub reconnects: u64,
    /// Tries to connect, and watches that did not end as HTTP ends them.
    pub failures: Vec<Failure>,
    /// When the events came.
    pub signs: Signs,
}

/// How well the changes were written that the watches should have seen. This went past the
/// balancer: what is bad here is not its doing.
#[derive(Clone, Debug)]
pub struct Ticks {
    /// Changes written.
    pub written: u64,
    /// Changes and tries to connect that failed.
    pub failures: Vec<Failure>,
    /// When the changes were written.
    pub signs: Signs,
}

/// What all clients of one [`Load`](crate::Load) felt.
#[derive(Clone, Debug)]
pub struct Felt {
    /// Every new connection, in the order of their ends.
    pub new: Vec<Attempt>,
    /// One for each kept connection.
    pub kept: Vec<Kept>,
    /// One for each watch.
    pub watches: Vec<Watched>,
    /// The writer.
    pub ticks: Ticks,
    /// How long it all went on.
    pub lasted: Duration,
}

impl Felt {
    /// How many new connections failed.
    pub fn failed_new(&self) -> usize {
        self.new.iter().filter(|attempt| attempt.error.is_some()).count()
    }

    /// How many new connections failed that began at `instant` or later.
    pub fn failed_new_after(&self, instant: Instant) -> usize {
        let later = self.new.iter().filter(|attempt| attempt.started >= instant);
        later.filter(|attempt| attempt.error.is_some()).count()
    }

    /// The longest that a new connection took, failed or not.
    pub fn longest_new(&self) -> Duration {
        self.new.iter().map(|attempt| attempt.took).max().unwrap_or_default()
    }

    /// The longest that a new connection took which began at `instant` or later, failed or not.
    pub fn longest_new_after(&self, instant: Instant) -> Duration {
        let later = self.new.iter().filter(|attempt| attempt.started >= instant);
        later.map(|attempt| attempt.took).max().unwrap_or_default()
    }

    /// What `percent` of all good new connections took at most; 50 is the median.
    pub fn new_percentile(&self, percent: usize) -> Duration {
        let good = self.new.iter().filter(|attempt| attempt.error.is_none());
        let mut took: Vec<Duration> = good.map(|attempt| attempt.took).collect();
        took.sort_unstable();
        let last = took.len().saturating_sub(1);
        took.get(last * percent.min(100) / 100).copied().unwrap_or_default()
    }

    /// How many requests and tries to connect failed for kept connections.
    pub fn failed_kept(&self) -> usize {
        self.kept.iter().map(|kept| kept.failures.len()).sum()
    }

    /// How many of those showed at `instant` or later.
    pub fn failed_kept_after(&self, instant: Instant) -> usize {
        let failures = self.kept.iter().flat_map(|kept| &kept.failures);
        failures.filter(|failure| failure.at >= instant).count()
    }

    /// How often kept connections had to be made again.
    pub fn kept_reconnects(&self) -> u64 {
        self.kept.iter().map(|kept| kept.reconnects).sum()
    }

    /// The longest that a kept connection was without a good answer.
    pub fn longest_kept_gap(&self) -> Duration {
        self.kept.iter().map(|kept| kept.signs.longest_gap()).max().unwrap_or_default()
    }

    /// How often a watch broke or could not be started.
    pub fn failed_watches(&self) -> usize {
        self.watches.iter().map(|watch| watch.failures.len()).sum()
    }

    /// How often watches had to be started again.
    pub fn watch_reconnects(&self) -> u64 {
        self.watches.iter().map(|watch| watch.reconnects).sum()
    }

    /// The longest that a watch saw nothing.
    pub fn longest_watch_gap(&self) -> Duration {
        self.watches.iter().map(|watch| watch.signs.longest_gap()).max().unwrap_or_default()
    }

    /// The longest that nothing was written for the watches to see.
    pub fn longest_tick_gap(&self) -> Duration {
        self.ticks.signs.longest_gap()
    }
}

impl fmt::Display for Felt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failed_new();
        writeln!(
            f,
            "new: {} ok, {failed} failed in {:.1?}; half within {:.1?}, 99% within {:.1?}, \
             longest {:.1?}",
            self.new.len() - failed,
            self.lasted,
            self.new_percentile(50),
            self.new_percentile(99),
            self.longest_new(),
        )?;
        write_errors(f, self.new.iter().filter_map(|attempt| attempt.error.as_deref()))?;
        writeln!(
            f,
            "kept: {} connections, {} answers, {} failures, {} reconnects; longest gap {:.1?}",
            self.kept.len(),
            self.kept.iter().map(|kept| kept.answers).sum::<u64>(),
            self.failed_kept(),
            self.kept_reconnects(),
            self.longest_kept_gap(),
        )?;
        write_errors(f, texts(self.kept.iter().flat_map(|kept| &kept.failures)))?;
        writeln!(
            f,
            "watches: {}, {} events, {} failures, {} reconnects; longest gap {:.1?}",
            self.watches.len(),
            self.watches.iter().map(|watch| watch.events).sum::<u64>(),
            self.failed_watches(),
            self.watch_reconnects(),
            self.longest_watch_gap(),
        )?;
        write_errors(f, texts(self.watches.iter().flat_map(|watch| &watch.failures)))?;
        writeln!(
            f,
            "ticks: {} written, {} failures; longest gap {:.1?}",
            self.ticks.written,
            self.ticks.failures.len(),
            self.longest_tick_gap(),
        )?;
        write_errors(f, texts(&self.ticks.failures))
    }
}

fn texts<'a>(failures: impl IntoIterator<Item = &'a Failure>) -> impl Iterator<Item = &'a str> {
    failures.into_iter().map(|failure| failure.error.as_str())
}

fn write_errors<'a>(
    f: &mut fmt::Formatter<'_>,
    errors: impl Iterator<Item = &'a str>,
) -> fmt::Result {
    let mut counts = BTreeMap::<&str, usize>::new();
    for error in errors {
        *counts.entry(error).or_default() += 1;
    }
    counts.iter().try_for_each(|(error, count)| writeln!(f, "  {count} x {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn felt(new: Vec<Attempt>) -> Felt {
        let signs = Signs::new(Vec::new(), Instant::now());
        let ticks = Ticks { written: 0, failures: Vec::new(), signs };
        Felt { new, kept: Vec::new(), watches: Vec::new(), ticks, lasted: Duration::ZERO }
    }

    fn attempt(started: Instant, millis: u64, error: Option<&str>) -> Attempt {
        let took = Duration::from_millis(millis);
        Attempt { started, took, error: error.map(str::to_owned) }
    }

    #[test]
    fn failures_count_from_when_the_attempt_began() {
        let begun = Instant::now();
        let later = begun + Duration::from_secs(1);
        let felt = felt(vec![
            attempt(begun, 5000, Some("timeout")),
            attempt(later, 5, None),
            attempt(later, 1, Some("refused")),
        ]);
        assert_eq!((felt.failed_new(), felt.failed_new_after(later)), (2, 1));
        assert_eq!(felt.longest_new(), Duration::from_secs(5));
        assert_eq!(felt.longest_new_after(later), Duration::from_millis(5));
    }

    #[test]
    fn percentiles_are_of_the_good() {
        let begun = Instant::now();
        let mut all: Vec<_> = (1..=101).map(|millis| attempt(begun, millis, None)).collect();
        all.push(attempt(begun, 5000, Some("timeout")));
        let felt = felt(all);
        assert_eq!(felt.new_percentile(50), Duration::from_millis(51));
        assert_eq!(felt.new_percentile(99), Duration::from_millis(100));
        assert_eq!(felt.new_percentile(100), Duration::from_millis(101));
    }

    #[test]
    fn equal_errors_are_one_line() {
        let begun = Instant::now();
        let felt = felt(vec![attempt(begun, 1, Some("refused")); 3]);
        assert!(felt.to_string().contains("\n  3 x refused\n"), "{felt}");
    }
}
