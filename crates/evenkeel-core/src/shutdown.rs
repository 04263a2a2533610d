//! How the process ends: first drain, then abort, and no task is left behind.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

/// The two steps down. Clones are the same shutdown.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// Take nothing new; what is open goes on.
    pub drain: CancellationToken,
    /// End what is still open, now. Implies `drain`.
    pub abort: CancellationToken,
}

impl Shutdown {
    /// A shutdown that has not begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ends everything now.
    pub fn abort_now(&self) {
        self.drain.cancel();
        self.abort.cancel();
    }
}

/// Starts every task of the process and knows when the last has ended.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    panics: Arc<AtomicUsize>,
    essential_ended: Arc<watch::Sender<Option<&'static str>>>,
}

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            panics: Arc::default(),
            essential_ended: Arc::new(watch::Sender::new(None)),
        }
    }

    /// Starts a task. If it panics, the panic is logged with the name and counted, and ends this
    /// task alone.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let guard = PanicGuard { name, panics: self.panics.clone(), done: false };
        self.tracker.spawn(
            async move {
                let mut guard = guard;
                task.await;
                guard.done = true;
            }
            .in_current_span(),
        );
    }

    /// Starts a task without which the process is no load balancer. If it ends before
    /// `shutdown.drain` was asked for, by a panic or by itself, the process drains: half a load
    /// balancer is worse than none.
    pub fn spawn_essential(
        &self,
        name: &'static str,
        shutdown: &Shutdown,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let end = EssentialGuard {
            name,
            drain: shutdown.drain.clone(),
            ended: self.essential_ended.clone(),
        };
        self.spawn(name, async move {
            let _end = end;
            task.await;
        });
    }

    /// The name of the first essential task that ended early, if any has.
    pub fn ended_early(&self) -> Option<&'static str> {
        *self.essential_ended.borrow()
    }

    /// How many tasks have panicked.
    pub fn panics(&self) -> usize {
        self.panics.load(Ordering::Relaxed)
    }

    /// How many tasks run now.
    pub fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until every task has ended. No more may be started meanwhile but by tasks.
    ///
    /// # Cancel safety
    /// May be dropped and called again.
    pub async fn wait(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

struct PanicGuard {
    name: &'static str,
    panics: Arc<AtomicUsize>,
    done: bool,
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        // Dropped undone without a panic means that the runtime itself is going down.
        if !self.done && std::thread::panicking() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(task = self.name, "task panicked");
        }
    }
}

struct EssentialGuard {
    name: &'static str,
    drain: CancellationToken,
    ended: Arc<watch::Sender<Option<&'static str>>>,
}

impl Drop for EssentialGuard {
    fn drop(&mut self) {
        if !self.drain.is_cancelled() {
            tracing::error!(task = self.name, "essential task ended early: draining");
            self.ended.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(self.name);
                is_first
            });
            self.drain.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_own_task_and_is_counted() {
        let tasks = Tasks::new();
        tasks.spawn("bad", async { panic!("on purpose") });
        tasks.spawn("good", async {});
        tasks.wait().await;
        assert_eq!((tasks.panics(), tasks.running()), (1, 0));
    }

    #[tokio::test]
    async fn an_essential_task_that_ends_early_drains_the_process() {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        tasks.spawn_essential("listener", &shutdown, async {});
        shutdown.drain.cancelled().await;
        assert_eq!(tasks.ended_early(), Some("listener"));
        assert!(!shutdown.abort.is_cancelled());
    }

    #[tokio::test]
    async fn an_essential_task_that_ends_in_a_drain_is_in_order() {
        let (tasks, shutdown) = (Tasks::new(), Shutdown::new());
        let drain = shutdown.drain.clone();
        tasks.spawn_essential("listener", &shutdown, async move { drain.cancelled().await });
        shutdown.drain.cancel();
        tasks.wait().await;
        assert_eq!(tasks.ended_early(), None);
    }
}
