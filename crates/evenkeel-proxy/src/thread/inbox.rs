//! What other threads have for a data thread: clients to take over, listeners, addresses that move,
//! and orders; and how they see that it is alive.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;

use crate::admission::Permit;
use crate::balancer::Balancer;

/// Clients that may wait to be taken over: with so many, whoever accepted keeps the next.
const CLIENTS: usize = 1024;

/// A client that another thread has accepted.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    pub(super) balancer: Arc<Balancer>,
    pub(super) permit: Permit,
}

/// A socket to accept clients on.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) socket: OwnedFd,
    pub(super) address: SocketAddr,
    pub(super) balancer: Arc<Balancer>,
}

/// Orders for a data thread; each is a bit, since to be told twice is to be told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Order(u8);

impl Order {
    /// Look for connections whose backend was reset.
    pub(crate) const SWEEP: Self = Self(1);
    /// Accept nobody any more.
    pub(crate) const DRAIN: Self = Self(2);
    /// End what is open.
    pub(crate) const ABORT: Self = Self(4);
    /// See whether everything has ended.
    pub(crate) const LOOK: Self = Self(8);
    /// Beat, also when nothing happens.
    pub(crate) const BEAT: Self = Self(16);
}

/// The orders that have come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders(u8);

impl Orders {
    pub(super) fn contain(self, order: Order) -> bool {
        self.0 & order.0 != 0
    }
}

/// What is put in seldom.
#[derive(Debug, Default)]
pub(super) struct Post {
    pub(super) listening: Vec<Listening>,
    /// Addresses that leave this host. Each stands here once, so that there are no more of them
    /// than of addresses that move.
    pub(super) moved: Vec<IpAddr>,
}

/// Where other threads put things for one data thread.
#[derive(Debug)]
pub(crate) struct Mailbox {
    clients: SyncSender<Client>,
    /// A lock: others take it a few times in the life of a process, when a service starts or an
    /// address moves. `None` once the thread has ended.
    post: Mutex<Option<Post>>,
    orders: AtomicU8,
    /// Readable when something was put in.
    bell: OwnedFd,
    rung: AtomicBool,
    /// Connections that the thread has, those in its inbox included.
    load: AtomicUsize,
    /// When the thread last turned its loop, in milliseconds since all of them were made, or
    /// [`ENDED`].
    beat: AtomicU64,
    /// Connections are to be ended whose address moves.
    ending: AtomicBool,
}

/// The beat of a thread that has ended in order, which holds nothing up.
const ENDED: u64 = u64::MAX;
/// The beat of one that has failed.
const FAILED: u64 = u64::MAX - 1;

impl Mailbox {
    pub(super) fn new() -> Result<(Self, Receiver<Client>), Errno> {
        let (clients, inbox) = sync_channel(CLIENTS);
        let mailbox = Self {
            clients,
            post: Mutex::new(Some(Post::default())),
            orders: AtomicU8::new(0),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            rung: AtomicBool::new(false),
            load: AtomicUsize::new(0),
            beat: AtomicU64::new(0),
            ending: AtomicBool::new(false),
        };
        Ok((mailbox, inbox))
    }

    /// Connections that the thread has.
    pub(crate) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    pub(super) fn add_load(&self) {
        self.load.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn remove_load(&self) {
        self.load.fetch_sub(1, Ordering::AcqRel);
    }

    /// Hands a client over, which is counted before it is sent. The bell is rung by the caller,
    /// once for all it has.
    pub(super) fn hand_over(&self, client: Client) -> Result<(), Client> {
        self.add_load();
        self.clients.try_send(client).map_err(|refused| {
            self.remove_load();
            match refused {
                TrySendError::Full(client) | TrySendError::Disconnected(client) => client,
            }
        })
    }

    /// Gives it an order.
    pub(crate) fn order(&self, order: Order) {
        self.orders.fetch_or(order.0, Ordering::AcqRel);
        self.ring();
    }

    pub(super) fn listen(&self, listening: Listening) {
        self.put(|post| post.listening.push(listening));
    }

    /// Ends what came in through these addresses.
    pub(super) fn end_moved(&self, addresses: &[IpAddr]) {
        self.put(|post| {
            self.ending.store(true, Ordering::Relaxed);
            for address in addresses {
                let address = address.to_canonical();
                if !post.moved.contains(&address) {
                    post.moved.push(address);
                }
            }
        });
    }

    fn put(&self, put: impl FnOnce(&mut Post)) {
        let mut post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(post) = post.as_mut() {
            put(post);
        }
        drop(post);
        self.ring();
    }

    /// Wakes the thread, unless that has been done and it has not looked yet.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Err(error) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes())
        {
            // Only a counter at its end refuses, and then the thread is awake.
            tracing::debug!(%error, "bell not rung");
        }
    }

    /// The bell, for the poller.
    pub(super) fn bell(&self) -> &OwnedFd {
        &self.bell
    }

    /// Takes the orders and the post. Whatever is put in from here on rings again.
    pub(super) fn take(&self) -> (Orders, Post) {
        // A swap and not a store: it sees what was put in by whoever found the bell rung already.
        self.rung.swap(false, Ordering::AcqRel);
        let orders = Orders(self.orders.swap(0, Ordering::AcqRel));
        let mut post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        (orders, post.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// The thread turns its loop, so long after all of them were made.
    pub(super) fn beat(&self, now: Duration) {
        let now = millis(now);
        // Once a millisecond at most: what stands beside it is read by others.
        if self.beat.load(Ordering::Relaxed) != now {
            self.beat.store(now, Ordering::Relaxed);
        }
    }

    /// Whether connections of an address that moves are still to be ended.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// Every connection of the addresses that were taken from the post has ended.
    pub(super) fn has_ended(&self) {
        let post = self.post.lock().unwrap_or_else(PoisonError::into_inner);
        let more = post.as_ref().is_some_and(|post| !post.moved.is_empty());
        self.ending.store(more, Ordering::Relaxed);
    }

    /// Whether the thread has turned its loop within that time, or had nothing left to do and ended.
    pub(super) fn beats(&self, now: Duration, within: Duration) -> bool {
        let beat = self.beat.load(Ordering::Relaxed);
        match beat {
            ENDED => true,
            FAILED => false,
            beat => millis(now).saturating_sub(beat) <= millis(within),
        }
    }

    /// The thread has ended, in order or not: takes no post any more, and closes the listeners that
    /// wait.
    pub(super) fn close(&self, in_order: bool) {
        self.beat.store(if in_order { ENDED } else { FAILED }, Ordering::Relaxed);
        self.ending.store(false, Ordering::Relaxed);
        *self.post.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_beats_until_it_stands_still_or_has_ended() {
        let (mailbox, _inbox) = Mailbox::new().unwrap();
        let at = Duration::from_millis;
        assert!(mailbox.beats(at(300), at(300)), "it has that long to begin");
        assert!(!mailbox.beats(at(301), at(300)));
        mailbox.beat(at(1000));
        assert!(mailbox.beats(at(1300), at(300)) && !mailbox.beats(at(1301), at(300)));
        // Whoever asks may have read the clock before it beat.
        assert!(mailbox.beats(at(999), at(300)));
        mailbox.close(true);
        assert!(mailbox.beats(at(9000), at(300)), "it has nothing left to do");
    }

    #[test]
    fn a_thread_that_failed_does_not_beat() {
        let (mailbox, _inbox) = Mailbox::new().unwrap();
        mailbox.close(false);
        assert!(!mailbox.beats(Duration::ZERO, Duration::MAX));
    }

    #[test]
    fn an_address_is_left_once_its_last_connection_has_ended() {
        let (mailbox, _inbox) = Mailbox::new().unwrap();
        assert!(!mailbox.is_ending());
        mailbox.end_moved(&["10.0.0.1".parse().unwrap()]);
        assert!(mailbox.is_ending());
        mailbox.take();
        mailbox.end_moved(&["10.0.0.2".parse().unwrap()]);
        mailbox.has_ended();
        assert!(mailbox.is_ending(), "another one came meanwhile");
        mailbox.take();
        mailbox.has_ended();
        assert!(!mailbox.is_ending());
    }

    #[test]
    fn an_address_that_moves_is_in_the_post_once() {
        let (mailbox, _inbox) = Mailbox::new().unwrap();
        let [four, mapped, six] = ["10.0.0.1", "::ffff:10.0.0.1", "fd00::1"]
            .map(|address| address.parse::<IpAddr>().unwrap());
        mailbox.end_moved(&[four, six]);
        mailbox.end_moved(&[mapped, six]);
        assert_eq!(mailbox.take().1.moved, [four, six]);
        assert!(mailbox.take().1.moved.is_empty());
        mailbox.close(true);
        mailbox.end_moved(&[four]);
        assert!(mailbox.take().1.moved.is_empty(), "nobody would ever take it");
    }
}
