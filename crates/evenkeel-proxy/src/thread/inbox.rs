//! What other threads have for a data thread: clients to take over, listeners, and orders.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

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
}

/// The orders that have come in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orders(u8);

impl Orders {
    pub(super) fn contain(self, order: Order) -> bool {
        self.0 & order.0 != 0
    }
}

/// Where other threads put things for one data thread.
#[derive(Debug)]
pub(crate) struct Mailbox {
    clients: SyncSender<Client>,
    /// A lock: it is taken a few times in the life of a process, when a service starts.
    /// `None` once the thread has ended.
    listening: Mutex<Option<Vec<Listening>>>,
    orders: AtomicU8,
    /// Readable when something was put in.
    bell: OwnedFd,
    rung: AtomicBool,
    /// Connections that the thread has, those in its inbox included.
    load: AtomicUsize,
}

impl Mailbox {
    pub(super) fn new() -> Result<(Self, Receiver<Client>), Errno> {
        let (clients, inbox) = sync_channel(CLIENTS);
        let mailbox = Self {
            clients,
            listening: Mutex::new(Some(Vec::new())),
            orders: AtomicU8::new(0),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            rung: AtomicBool::new(false),
            load: AtomicUsize::new(0),
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
        let mut waiting = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            waiting.push(listening);
        }
        drop(waiting);
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

    /// Takes the orders and the listeners. Whatever is put in from here on rings again.
    pub(super) fn take(&self) -> (Orders, Vec<Listening>) {
        // A swap and not a store: it sees what was put in by whoever found the bell rung already.
        self.rung.swap(false, Ordering::AcqRel);
        let orders = Orders(self.orders.swap(0, Ordering::AcqRel));
        let mut listening = self.listening.lock().unwrap_or_else(PoisonError::into_inner);
        (orders, listening.as_mut().map(std::mem::take).unwrap_or_default())
    }

    /// Takes no listener any more, and closes those that wait.
    pub(super) fn close(&self) {
        *self.listening.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
