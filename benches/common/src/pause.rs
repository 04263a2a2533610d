//! Waiting on the clock.

use std::time::Duration;

use rustix::process::setpriority_process;
use tokio::time::Instant;

use crate::failed::Failed;
use crate::signals;

/// Blocks this thread.
///
/// # Errors
/// If a signal asks the bench to end.
pub fn pause(duration: Duration) -> Result<(), Failed> {
    let end = Instant::now() + duration;
    loop {
        if signals::came() {
            return Err(Failed::because("go on", "a signal came"));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        sleep(left.min(LOOK));
    }
}

/// Lets this thread, which measures, go before those that are measured: it is busy for microseconds,
/// and what it does late looks like a fault.
pub fn go_first() {
    // Who may not do that measures without.
    setpriority_process(None, FIRST).unwrap_or_default();
}

/// Blocks this thread, whatever comes.
#[expect(clippy::disallowed_methods, reason = "no runtime is on this thread")]
pub fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// How often to look for a signal.
const LOOK: Duration = Duration::from_millis(100);
/// Its nice value.
const FIRST: i32 = -15;
