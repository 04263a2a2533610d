//! Ends the bench in good order when somebody ends it by a signal: namespaces and the workers of a
//! balancer would outlive it otherwise.
//!
//! A first SIGINT or SIGTERM is seen by the next [`pause`](crate::pause::pause), whose error ends
//! everything; a second one does not wait for that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::failed::{Doing, Failed};

static CAME: AtomicBool = AtomicBool::new(false);

/// Whether one came.
pub fn came() -> bool {
    CAME.load(Ordering::Relaxed)
}

/// Watches for them on a thread of its own.
///
/// # Errors
/// If the kernel has no thread for it.
pub fn watch() -> Result<(), Failed> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "start a runtime")?;
    let (mut interrupt, mut terminate) = {
        let _here = runtime.enter();
        let watch = |kind| signal(kind).doing(|| "watch for signals");
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?)
    };
    let run = move || {
        runtime.block_on(async {
            for _ in 0..2 {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if CAME.swap(true, Ordering::Relaxed) {
                    leave();
                }
            }
        });
    };
    thread::Builder::new().name("signals".to_owned()).spawn(run).doing(|| "start a thread")?;
    Ok(())
}

#[expect(clippy::exit, reason = "who asks twice does not want to wait for an orderly end")]
fn leave() {
    std::process::exit(130);
}
