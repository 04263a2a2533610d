//! Waiting on the clock.

use std::time::Duration;

use tokio::time::Instant;

use crate::failed::Failed;
use crate::signals;

/// Blocks this thread.
///
/// # Errors
/// If a signal asks the bench to end.
pub(crate) fn pause(duration: Duration) -> Result<(), Failed> {
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

#[expect(clippy::disallowed_methods, reason = "no runtime is on this thread")]
fn sleep(duration: Duration) {
    std::thread::sleep(duration);
}

/// How often to look for a signal.
const LOOK: Duration = Duration::from_millis(100);
