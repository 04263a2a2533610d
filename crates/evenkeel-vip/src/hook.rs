//! The address is a provider's, and a hook moves it: an elastic or floating IP.
//!
//! ```text
//! watch<bool>: are we the elected owner? --> HookDriver::step --> ExecHook or HttpHook: one call
//!                                                  |                      |
//!     mpsc<HookReport>: logs, events, metrics <----+<---------------------+ how it ended
//! ```
//!
//! The contract, in full in `deploy/hooks/README.md`: `acquire` moves the address to this node
//! whoever has it, `release` takes it off this node if it is there, `owner` says who has it. All
//! may be repeated. One call is in flight at a time. `acquire` is believed only when `owner` says
//! the same; while we are the elected owner that is looked after each `verifyInterval`.
//!
//! One [`Hook`] moves one address. A virtual IP with two has two, which know nothing of each other.

mod backoff;
mod config;
mod driver;
mod exec;
mod http;
mod request;

use std::net::IpAddr;
use std::pin::Pin;
use std::time::{Duration, SystemTime};

use evenkeel_core::shutdown::Shutdown;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

pub use self::config::{HookCall, HookConfig};
pub use self::driver::{Begin, CallEnd, Event, HookDriver, HookTold, Step};
pub use self::exec::ExecHook;
pub use self::http::{HookUrl, HookUrlError, HttpHook};
pub use self::request::Operation;
use self::request::Request;
use crate::causes::with_causes;

/// Moves one address by calling a hook.
#[derive(Debug)]
pub struct Hook {
    call: HookCall,
    driver: HookDriver,
    address: IpAddr,
    node: String,
    reports: mpsc::Sender<HookReport>,
    /// Whether the last report found the channel full.
    full: bool,
}

/// What a hook did or met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookReport {
    /// The address that it moves.
    pub address: IpAddr,
    /// When.
    pub at: Instant,
    /// What.
    pub told: HookTold,
}

type Calling = Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>>;

impl Hook {
    /// A hook for `address`, on the node that its `owner` knows as `node`. `seed` sets the jitter.
    ///
    /// A report that finds `reports` full is dropped, so that a slow reader delays no move: give
    /// it room for a few dozen.
    pub fn new(
        config: &HookConfig,
        address: IpAddr,
        node: &str,
        reports: mpsc::Sender<HookReport>,
        seed: u64,
    ) -> Self {
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let driver = HookDriver::new(config, node, Instant::now(), milliseconds(unix), seed);
        let (call, node) = (config.call.clone(), node.to_owned());
        Self { call, driver, address, node, reports, full: false }
    }

    /// Keeps the address here while `wanted` says `true`, and gives it up when that says `false`
    /// or is gone.
    ///
    /// It ends once `shutdown.drain` is cancelled and the address is given up; a `release` has
    /// until `shutdown.abort` for that. On `abort` it ends at once, and kills the call in flight.
    ///
    /// # Cancel safety
    /// Dropped, it kills the call in flight, like `abort`.
    pub async fn run(mut self, wanted: watch::Receiver<bool>, shutdown: Shutdown) {
        let driving = Box::pin(self.drive(wanted, &shutdown.drain));
        // `None` if aborted: either way this is the end.
        shutdown.abort.run_until_cancelled(driving).await.unwrap_or_default();
    }

    async fn drive(&mut self, mut wanted: watch::Receiver<bool>, drain: &CancellationToken) {
        let mut calling: Option<Calling> = None;
        let mut gone = false;
        let mut draining = false;
        let mut event = Event::Wanted(*wanted.borrow_and_update());
        loop {
            let now = Instant::now();
            let step = self.driver.step(event, now);
            for told in step.told {
                self.tell(told, now);
            }
            if step.abandon {
                calling = None;
            }
            if let Some(begin) = step.begin {
                calling = Some(self.begin(begin));
            }
            if step.finished {
                return;
            }
            event = tokio::select! {
                biased;
                changed = wanted.changed(), if !gone => {
                    gone = changed.is_err();
                    Event::Wanted(!gone && *wanted.borrow_and_update())
                }
                // Where nobody is left who could want it again, this is the end too.
                () = async { if !gone { drain.cancelled().await } }, if !draining => {
                    draining = true;
                    Event::Drain
                }
                Some(ended) = async { Some(calling.as_mut()?.await) }, if calling.is_some() => {
                    calling = None;
                    Event::Ended(ended)
                }
                () = time::sleep_until(step.wake.unwrap_or(now)), if step.wake.is_some() => Event::Tick,
                else => return,
            };
        }
    }

    fn begin(&self, begin: Begin) -> Calling {
        let request = Request {
            operation: begin.operation,
            vip: self.address,
            node: self.node.clone(),
            epoch: begin.epoch,
            deadline_ms: milliseconds(begin.timeout),
        };
        tracing::debug!(vip = %self.address, operation = %request.operation, "hook called");
        match self.call.clone() {
            HookCall::Exec(hook) => {
                Box::pin(
                    async move { hook.call(&request).await.map_err(|error| with_causes(&error)) },
                )
            }
            HookCall::Http(hook) => {
                Box::pin(
                    async move { hook.call(&request).await.map_err(|error| with_causes(&error)) },
                )
            }
        }
    }

    fn tell(&mut self, told: HookTold, at: Instant) {
        let report = HookReport { address: self.address, at, told };
        match self.reports.try_send(report) {
            // Nobody wants to know: that takes no address away.
            Ok(()) | Err(TrySendError::Closed(_)) => self.full = false,
            Err(TrySendError::Full(report)) => {
                if !self.full {
                    tracing::warn!(vip = %self.address, told = ?report.told, "hook report dropped");
                }
                self.full = true;
            }
        }
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
