//! Addresses that leave this host, and the connections that came in through them: they are ended
//! before the address is gone, since after that no packet of ours may reach their clients.

use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::poller::ConnectionId;

/// How long whoever turns up at such an address is still ended: he was with the kernel, or with
/// another thread, when the order came. It is as long as an address may take to leave.
const LEAVING: Duration = Duration::from_millis(200);

/// Connections that are ended in one turn, for 3 ms of CPU with both peers on this host: then the
/// others have theirs.
pub(super) const A_TURN: usize = 128;

/// What leaves, and who leaves with it.
#[derive(Debug, Default)]
pub(super) struct Moved {
    /// Each once, with when it has left.
    addresses: Vec<(IpAddr, Instant)>,
    /// Connections that are to be ended.
    ids: Vec<ConnectionId>,
}

impl Moved {
    /// These leave from now on.
    pub(super) fn begin(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.forget(now);
        self.addresses.retain(|(address, _)| !addresses.contains(address));
        self.addresses.extend(addresses.into_iter().map(|address| (address, now + LEAVING)));
    }

    /// Whether any address leaves just now.
    pub(super) fn leaves_any(&mut self, now: Instant) -> bool {
        // Nearly always there is none to be forgotten.
        if !self.addresses.is_empty() {
            self.forget(now);
        }
        !self.addresses.is_empty()
    }

    /// Whether this one does.
    pub(super) fn leaves(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|(leaving, _)| *leaving == address)
    }

    /// Ends this one in its turn.
    pub(super) fn add(&mut self, id: ConnectionId) {
        self.ids.push(id);
    }

    /// Whether any is still to be ended.
    pub(super) fn is_busy(&self) -> bool {
        !self.ids.is_empty()
    }

    /// The next that is to be ended.
    pub(super) fn next(&mut self) -> Option<ConnectionId> {
        let next = self.ids.pop();
        if self.ids.is_empty() {
            // They may have been thousands, and it may be the last time in months.
            self.ids = Vec::new();
        }
        next
    }

    fn forget(&mut self, now: Instant) {
        self.addresses.retain(|(_, until)| *until > now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leaves_for_a_moment_from_the_last_order_on() {
        let [a, b] = ["10.0.0.1", "fd00::1"].map(|address| address.parse::<IpAddr>().unwrap());
        let (mut moved, start) = (Moved::default(), Instant::now());
        assert!(!moved.leaves_any(start));
        moved.begin(vec![a], start);
        assert!(moved.leaves_any(start) && moved.leaves(a) && !moved.leaves(b));
        let later = start + LEAVING / 2;
        moved.begin(vec![a, b], later);
        assert_eq!(moved.addresses.len(), 2, "each is there once");
        assert!(moved.leaves_any(start + LEAVING) && moved.leaves(a) && moved.leaves(b));
        assert!(!moved.leaves_any(later + LEAVING) && !moved.leaves(a));
    }
}
