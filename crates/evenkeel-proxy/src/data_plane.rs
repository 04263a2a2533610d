//! The data threads of the process: started once, for all services.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use evenkeel_core::shutdown::{Shutdown, Tasks};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::balancer::Balancer;
use crate::listener::Listener;
use crate::thread::{DataThread, Order, Shared};

/// The data threads. They end when the process is drained and the last connection has ended, or is
/// aborted. Clones are the same threads.
#[derive(Clone, Debug)]
pub struct DataPlane {
    shared: Arc<Shared>,
    shutdown: Shutdown,
}

impl DataPlane {
    /// Starts `threads` of them, at least one. `tasks` waits for their end; if one ends early the
    /// process drains. Must be called within a runtime.
    ///
    /// Takes metric handles: the recorder must be installed before.
    ///
    /// # Errors
    /// If the kernel has no descriptors or threads for them.
    pub fn start(threads: usize, tasks: &Tasks, shutdown: &Shutdown) -> io::Result<Self> {
        let (shared, threads) = Shared::threads(threads.max(1))?;
        let plane = Self { shared, shutdown: shutdown.clone() };
        for (index, data_thread) in threads.into_iter().enumerate() {
            let (ended, end) = oneshot::channel();
            let named = thread::Builder::new().name(format!("evenkeel-data-{index}"));
            let spawned = named.spawn(move || {
                let _ended = ended;
                run(data_thread);
            });
            if let Err(error) = spawned {
                plane.shared.order(Order::ABORT);
                return Err(error);
            }
            tasks.spawn_essential("data thread", shutdown, plane.clone().follow(index, end));
        }
        Ok(plane)
    }

    /// Accepts clients of `balancer` on `listener`, until the process drains.
    pub fn serve(&self, listener: Listener, balancer: &Arc<Balancer>) {
        self.shared.listen(listener, balancer);
    }

    /// Resets what is open to a backend when the service's pool says so. A task for each service.
    pub async fn sweep(self, balancer: Arc<Balancer>) {
        let mut pool = balancer.pool.clone();
        while self.shutdown.abort.run_until_cancelled(pool.changed()).await == Some(true) {
            self.shared.order(Order::SWEEP);
        }
    }

    /// Connections open now, of all services.
    pub fn open(&self) -> usize {
        self.shared.open()
    }

    /// Resets the connections of all services whose clients came to one of these local addresses:
    /// for an address that leaves this host, and before it is gone, since Linux sends nothing from
    /// an IPv4 address that it does not have. It may be in IPv6 form.
    ///
    /// Nothing is flushed and no pace is kept. A connection takes about 30 µs of CPU, where both
    /// peers are on this host too, and the threads share them out: how soon thousands have ended
    /// depends on the CPU that the threads get.
    /// For 200 ms from the order on, clients that turn up at such an address are reset as well,
    /// since they were connected before it left; if it comes back so soon, their next attempt may
    /// meet this too.
    ///
    /// Only gives the order, without waiting, and may be called from any thread.
    pub fn end_connections(&self, addresses: &[IpAddr]) {
        self.shared.end_moved(addresses);
    }

    /// Whether connections that [`end_connections`](Self::end_connections) was told of are still
    /// open. May be called from any thread.
    pub fn is_ending(&self) -> bool {
        self.shared.is_ending()
    }

    /// Has the data threads turn their loops ten times a second also when nothing happens, from now
    /// on, so that [`beats`](Self::beats) tells those apart that are stuck. May be called from any
    /// thread.
    pub fn watch(&self) {
        self.shared.order(Order::BEAT);
    }

    /// Whether every data thread has turned its loop within that time, exact to a millisecond. An
    /// idle one has only after [`watch`](Self::watch), and a moment later. One that has failed has
    /// not; one that has ended in order, since the process drains and it had no connection left,
    /// holds nothing up. May be called from any thread.
    pub fn beats(&self, within: Duration) -> bool {
        self.shared.beats(Instant::now(), within)
    }

    /// Tells a thread what the process is up to, until it has ended.
    async fn follow(self, index: usize, mut end: oneshot::Receiver<()>) {
        let Self { shared, shutdown } = self;
        let order = |order| {
            if let Some(mailbox) = shared.mailboxes.get(index) {
                mailbox.order(order);
            }
        };
        for (step, order_of_it) in [(shutdown.drain, Order::DRAIN), (shutdown.abort, Order::ABORT)]
        {
            tokio::select! {
                _ended = &mut end => return,
                () = step.cancelled() => order(order_of_it),
            }
        }
        if end.await.is_err() {
            // The sender is dropped, which is what it is for.
        }
    }
}

fn run(data_thread: DataThread) {
    if let Err(error) = data_thread.run() {
        tracing::error!(%error, "a data thread cannot go on");
    }
}
