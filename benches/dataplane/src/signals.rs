//! Takes the namespace away when somebody ends the bench by a signal.

use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use crate::namespace;
use evenkeel_bench::failed::{Doing, Failed};

/// Watches for SIGINT and SIGTERM on a thread of its own; `name` is the namespace to remove.
pub(crate) fn watch(name: String) -> Result<(), Failed> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.doing(|| "start a runtime")?;
    let (mut interrupt, mut terminate) = {
        let _here = runtime.enter();
        let watch = |kind| signal(kind).doing(|| "watch for signals");
        (watch(SignalKind::interrupt())?, watch(SignalKind::terminate())?)
    };
    let run = move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        // What runs in it would keep it alive; the processes of the bench itself end with this one.
        namespace::remove(&name);
        leave();
    };
    thread::Builder::new().name("signals".to_owned()).spawn(run).doing(|| "start a thread")?;
    Ok(())
}

#[expect(clippy::exit, reason = "the thread that measures waits for processes that were ended")]
fn leave() {
    std::process::exit(130);
}
