//! How a data thread accepts: some each turn, over to who has fewer, and through what accept(2)
//! throws.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::time::Instant;

use super::inbox::{Client, Mailbox, Order};
use super::poller::Token;
use super::{DataThread, place};
use crate::balancer::Balancer;
use crate::listener::Trouble;
use crate::metrics::Rejected;
use crate::socket;

/// Clients that are accepted in one turn: then those that are connected have theirs.
const ACCEPTS: usize = 64;

/// Clients that are accepted at most when the socket is about to be closed: its whole queue.
const LAST_ACCEPTS: usize = 65_535;

/// Pause after the kernel had no descriptor or memory for us: long enough not to spin, short
/// enough that a client does not notice once there is one again.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(20);

/// Connections that a thread may have more than another before it hands new ones over.
const LEAD: usize = 1;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Accepting {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    pub(super) balancer: Arc<Balancer>,
    pub(super) paused_until: Option<Instant>,
    pub(super) ready: bool,
    pub(super) failing: bool,
}

impl DataThread {
    /// Accepts those who wait.
    pub(super) fn accept(&mut self, now: Instant) {
        if self.stopped_accepting {
            return;
        }
        let mut rung = 0_u64;
        // Until all go at once none goes, so that their places are the first ones.
        for place in 0..self.listeners.len() {
            self.resume(place, now);
            let Some(listener) = self.listeners.get(place) else { continue };
            // Only where someone waits: without a descriptor accept(2) fails before it looks.
            if listener.ready || self.draining {
                self.accept_on(place, now, &mut rung);
            }
        }
        for (index, mailbox) in self.shared.mailboxes.iter().enumerate() {
            if rung & (1 << (index % 64)) != 0 && index != self.index {
                mailbox.ring();
            }
        }
        if self.draining {
            // Whoever was queued has been taken; from here on the kernel refuses.
            self.stop_accepting();
        }
    }

    /// Closes the sockets. Whoever hands clients over has ended once all threads have done this.
    pub(super) fn stop_accepting(&mut self) {
        self.listeners.clear();
        if !std::mem::replace(&mut self.stopped_accepting, true)
            && self.shared.accepting.fetch_sub(1, Ordering::AcqRel) == 1
        {
            self.shared.order(Order::LOOK);
        }
    }

    /// Accepts those who wait on one socket, as many as it is their turn for.
    fn accept_on(&mut self, place: usize, now: Instant, rung: &mut u64) {
        let mut accepted = 0;
        loop {
            let Some(listener) = self.listeners.get_mut(place) else { return };
            listener.ready = false;
            let most = if self.draining { LAST_ACCEPTS } else { ACCEPTS };
            if listener.paused_until.is_some() || accepted >= most {
                return;
            }
            let balancer = listener.balancer.clone();
            if !self.draining
                && let Some(pause) = balancer.admission.pace(now)
            {
                self.pause(place, now + pause);
                return;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match acceptfrom_with(&listener.socket, flags) {
                Ok((client, address)) => {
                    listener.failing = false;
                    accepted += 1;
                    let address = address.and_then(|address| SocketAddr::try_from(address).ok());
                    let address =
                        address.unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
                    self.admit(client, address, balancer, now, rung);
                }
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.give_back(&balancer);
                    return;
                }
                Err(error) => {
                    self.give_back(&balancer);
                    if !self.accept_failed(place, error, now) {
                        return;
                    }
                }
            }
        }
    }

    /// Gives the accept back to the rate, which admitted nobody. Nothing was taken in a drain.
    fn give_back(&self, balancer: &Balancer) {
        if !self.draining {
            balancer.admission.give_back();
        }
    }

    /// Says what is the matter. True if the next client may be fine.
    fn accept_failed(&mut self, place: usize, error: Errno, now: Instant) -> bool {
        let Some(listener) = self.listeners.get_mut(place) else { return false };
        let trouble = Trouble::of(error);
        listener.balancer.metrics.accept_failed(trouble.reason());
        if trouble == Trouble::ClientGone {
            return true;
        }
        if !std::mem::replace(&mut listener.failing, true) {
            tracing::error!(
                service = %listener.balancer.name,
                listener = %listener.address,
                %error,
                "clients cannot be accepted"
            );
        }
        if trouble == Trouble::NoDescriptors {
            // Uses the spare descriptor to reset the first client in the queue, which would
            // otherwise wait for as long as we have none.
            drop(self.spare.take());
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            if let Ok((client, _)) = acceptfrom_with(&listener.socket, flags) {
                socket::reset(client);
            }
            self.spare = spare();
        }
        self.pause(place, now + EXHAUSTED_PAUSE);
        false
    }

    fn pause(&mut self, key: usize, until: Instant) {
        if let Some(listener) = self.listeners.get_mut(key) {
            listener.paused_until = Some(until);
            let token = Token::Listener(place(key));
            if let Err(error) = self.poller.pause(&listener.socket, token, true) {
                tracing::debug!(%error, "listener not paused");
            }
        }
    }

    fn resume(&mut self, key: usize, now: Instant) {
        if let Some(listener) = self.listeners.get_mut(key)
            && (self.draining || listener.paused_until.is_some_and(|at| at <= now))
            && listener.paused_until.take().is_some()
            && let Err(error) =
                self.poller.pause(&listener.socket, Token::Listener(place(key)), false)
        {
            tracing::debug!(%error, "listener not resumed");
        }
    }

    fn admit(
        &mut self,
        client: OwnedFd,
        address: SocketAddr,
        balancer: Arc<Balancer>,
        now: Instant,
        rung: &mut u64,
    ) {
        // Where nobody is served, nobody waits.
        if balancer.pool.snapshot().serving().is_empty() {
            socket::reset(client);
            self.give_back(&balancer);
            balancer.metrics.rejected(Rejected::NoBackend);
            return;
        }
        let permit = match balancer.admission.admit(address.ip(), now) {
            Ok(permit) => permit,
            Err(refused) => {
                socket::reset(client);
                self.give_back(&balancer);
                balancer.metrics.rejected(refused.into());
                return;
            }
        };
        balancer.metrics.accepted();
        let client = Client { socket: client, address, balancer, permit };
        let target = self.least_loaded();
        let Some(mailbox) = self.shared.mailboxes.get(target).filter(|_| target != self.index)
        else {
            self.keep(client, now);
            return;
        };
        match mailbox.hand_over(client) {
            Ok(()) => *rung |= 1 << (target % 64),
            Err(client) => self.keep(client, now),
        }
    }

    /// The thread that the next client goes to: this one, unless another has clearly fewer.
    fn least_loaded(&self) -> usize {
        let loads = self.shared.mailboxes.iter().map(Mailbox::load).enumerate();
        let own = self.shared.mailboxes.get(self.index).map_or(0, Mailbox::load);
        match loads.min_by_key(|(_, load)| *load) {
            Some((index, load)) if load + LEAD < own => index,
            Some(_) | None => self.index,
        }
    }
}

/// A descriptor to give up where there is no other.
pub(super) fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
