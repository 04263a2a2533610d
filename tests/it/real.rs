//! The real binary before a real control plane: what clients felt, and what its status says.
//!
//! ```text
//! client 10.0.0.22 ---> lb 10.0.0.21  evenkeel :6443 ---> cp-1 cp-2 cp-3   10.0.0.11 to 13
//! ```
//!
//! Starting the control plane is what takes long. So a test is a story of several phases, each a
//! function that leaves the members as it found them.

mod credentials;
mod ends;
mod kubectl;
mod local_first;
mod membership;
mod silence;
mod site;
mod vip;

use std::time::Duration;

/// What a client feels beside evenkeel's own bound when its connection is reset: it must connect
/// again, shake hands with two cores busy, and be answered; the events come 50 ms apart, the
/// requests on a kept connection 100 ms.
const AGAIN: Duration = Duration::from_millis(500);

/// Longer than this no new connection takes for evenkeel's sake, on a machine that is busy with
/// the three members too. Undisturbed it is a tenth of it.
const LONG: Duration = Duration::from_secs(1);

/// Lets the clients feel for a while: there is no event to wait for.
fn pause(duration: Duration) {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async { tokio::time::sleep(duration).await });
}
