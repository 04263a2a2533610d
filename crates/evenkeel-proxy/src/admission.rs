//! How many clients a service takes at once.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::config::ListenConfig;

#[derive(Debug)]
pub(crate) struct Admission {
    limit: u32,
    open: AtomicU32,
}

#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Refused {
    Limit,
}

impl Admission {
    pub(crate) fn new(listen: &ListenConfig) -> Arc<Self> {
        Arc::new(Self { limit: listen.max_connections, open: AtomicU32::new(0) })
    }

    pub(crate) fn pace(&self, _now: Instant) -> Option<Duration> {
        None
    }

    pub(crate) fn admit(
        self: &Arc<Self>,
        _client: IpAddr,
        _now: Instant,
    ) -> Result<Permit, Refused> {
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.limit {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Refused::Limit);
        }
        Ok(Permit { admission: self.clone() })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
    }
}
