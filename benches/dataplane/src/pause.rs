//! Waiting on the clock.

use std::time::Duration;

use tokio::time::Instant;

/// Blocks this thread.
#[expect(clippy::disallowed_methods, reason = "no runtime is on this thread")]
pub(crate) fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

/// Asks until there is an answer, or no longer.
pub(crate) fn until<T>(longest: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + longest;
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if Instant::now() >= end {
            return None;
        }
        pause(AGAIN);
    }
}

const AGAIN: Duration = Duration::from_millis(5);
