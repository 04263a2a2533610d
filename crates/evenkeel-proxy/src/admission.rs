//! Whom a service takes: how many clients at once, how many a second, and of one client.
//!
//! ```text
//! pace    before an accept: now, or after a wait       acceptRate
//! admit   after it: a Permit, or the client is reset   maxConnections
//!           of one client's connections                maxConnectionsPerClient, acceptRatePerClient
//! ```
//!
//! One [`Admission`] is shared by all listeners and threads of a service. What holds for the
//! service is two atomics; only where a limit for each client is configured is there a lock, and
//! all of it is in [`clients`]. Nothing here reads a clock but [`Admission::new`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use self::clients::{Client, Clients};
use self::rate::Rate;
use crate::config::ListenConfig;

mod clients;
mod rate;

/// The limits of a service, and what counts towards them.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: u32,
    open: AtomicU32,
    rate: Option<Rate>,
    /// What [`Rate::accept`] said last.
    due: AtomicU64,
    clients: Option<Clients>,
    /// The zero of all times in here.
    origin: Instant,
}

/// Admits one client: it counts until dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// Whom it counts for, where clients are counted one by one.
    client: Option<Client>,
}

/// Why a client is reset at accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// `maxConnections` are open.
    Limit,
    /// `maxConnectionsPerClient` are open from its address.
    ClientLimit,
    /// Its address is ahead of `acceptRatePerClient`.
    ClientRate,
}

impl Admission {
    /// Nobody is admitted yet, and every rate has its whole credit.
    pub(crate) fn new(listen: &ListenConfig) -> Arc<Self> {
        Arc::new(Self {
            limit: listen.max_connections,
            open: AtomicU32::new(0),
            rate: listen.accept_rate.map(Rate::per_second),
            due: AtomicU64::new(0),
            clients: Clients::new(
                listen.max_connections_per_client,
                listen.accept_rate_per_client.map(Rate::per_second),
            ),
            origin: Instant::now(),
        })
    }

    /// How long the listener must let its queue wait before the next accept; `None`: now, and the
    /// accept is taken from the rate. Who then admits nobody gives it [back](Self::give_back).
    pub(crate) fn pace(&self, now: Instant) -> Option<Duration> {
        let rate = self.rate?;
        let now = self.nanoseconds(now);
        let mut due = self.due.load(Ordering::Relaxed);
        loop {
            let next = match rate.accept(due, now) {
                Ok(next) => next,
                Err(wait) => return Some(wait),
            };
            match self.due.compare_exchange_weak(due, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return None,
                Err(moved) => due = moved,
            }
        }
    }

    /// Gives back what [`pace`](Self::pace) took: the queue was empty, or the client was refused.
    /// So one client that is refused all the time does not use up what the others may have.
    pub(crate) fn give_back(&self) {
        let Some(rate) = self.rate else { return };
        let mut due = self.due.load(Ordering::Relaxed);
        // Exact unless the whole credit had come back in between: then it is whole, and no more.
        while let Err(moved) = self.due.compare_exchange_weak(
            due,
            rate.give_back(due),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            due = moved;
        }
    }

    /// A permit for one connection of the client, or why it gets none. Never waits. Who is refused
    /// counts towards nothing.
    ///
    /// # Errors
    /// What is said first of one client's own limits, then of the service's.
    pub(crate) fn admit(self: &Arc<Self>, client: IpAddr, now: Instant) -> Result<Permit, Refused> {
        let Some(clients) = &self.clients else { return self.take_permit() };
        let client = Client::of(client);
        let mut permit = clients.admit(client, self.nanoseconds(now), || self.take_permit())?;
        permit.client = Some(client);
        Ok(permit)
    }

    /// Connections that are open now.
    #[cfg(test)]
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// How often a client's rate was forgotten too early for want of room, so that the client may
    /// have come faster than `acceptRatePerClient`.
    pub(crate) fn rates_forgotten(&self) -> u64 {
        self.clients.as_ref().map_or(0, Clients::forgotten)
    }

    /// A permit under the service's limit, which counts for no client.
    fn take_permit(self: &Arc<Self>) -> Result<Permit, Refused> {
        let mut open = self.open.load(Ordering::Relaxed);
        loop {
            if open >= self.limit {
                return Err(Refused::Limit);
            }
            match self.open.compare_exchange_weak(
                open,
                open.saturating_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(Permit { admission: self.clone(), client: None }),
                Err(moved) => open = moved,
            }
        }
    }

    /// Enough for 584 years.
    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        // The client first: so there are never more clients known than connections counted.
        if let (Some(client), Some(clients)) = (self.client, &self.admission.clients) {
            clients.leave(client);
        }
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
