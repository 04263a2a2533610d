//! A data thread: one epoll, its own listening sockets, and connections that live on it from their
//! accept to their end.
//!
//! ```text
//! wait ──> mark what is ready ──> inbox ──> accept ──> run connections ──> timers ─┐
//!   ^                                                                             │
//!   └─────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Each turn is a beat, by which others see that no connection holds it up.
//!
//! Nothing is closed while events are marked, so no event of a batch can meet a socket that has
//! another's number; and what outlives a connection (its timer) knows it by a serial.

mod accept;
mod inbox;
mod moved;
mod poller;
mod schedule;
mod timers;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use rustix::event::epoll::Event;
use rustix::io::Errno;
use slab::Slab;
use tokio::time::Instant;

use self::accept::{Accepting, spare};
use self::inbox::{Client, Listening, Post};
pub(crate) use self::inbox::{Mailbox, Order};
use self::moved::Moved;
use self::poller::{ConnectionId, Poller, Token};
use self::schedule::{Effort, Schedule};
use self::timers::{Alarm, Timers};
use crate::account::{Book, PageNumber};
use crate::balancer::Balancer;
use crate::connection::{Connection, Ran, Swept, Tools};
use crate::listener::Listener;
use crate::metrics::Rejected;
use crate::relay::Side;
use crate::relay::drive::Mover;
use crate::relay::pipes::{Budget, Pipes};
use crate::reset::Resets;
use crate::silence::Kernel;
use crate::{socket, tcp_info};

/// How often what a thread has counted is carried over to the metrics.
const CARRY_OVER: Duration = Duration::from_millis(250);

/// Pause between two beats of a thread that has nothing to do, once somebody watches.
const BEAT: Duration = Duration::from_millis(100);

/// What all data threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mailboxes: Box<[Mailbox]>,
    /// Threads that may still accept clients, and hand them to others.
    accepting: AtomicUsize,
    budget: Arc<Budget>,
    /// What beats are counted from.
    epoch: Instant,
}

/// A data thread, before it runs.
#[derive(Debug)]
pub(crate) struct DataThread {
    index: usize,
    shared: Arc<Shared>,
    inbox: Receiver<Client>,
    poller: Poller,
    timers: Timers,
    /// The services, in the order of the pages of the book.
    services: Vec<Arc<Balancer>>,
    book: Book,
    mover: Mover,
    listeners: Slab<Accepting>,
    connections: Slab<Live>,
    next_serial: u32,
    /// Connections to be run in this turn.
    ready: Vec<ConnectionId>,
    /// Those that go on in the next.
    yielded: Vec<ConnectionId>,
    /// Connections to be reset, each in its turn: for each service, in the order of `services`.
    resets: Vec<Resets<ConnectionId>>,
    moved: Moved,
    random: fastrand::Rng,
    /// One descriptor in reserve: with none left a client could not even be told so.
    spare: Option<File>,
    schedule: Schedule,
    carry_over: Option<CarryOver>,
    /// How often it beats also when nothing happens: not unless somebody watches.
    beat_every: Option<Duration>,
    draining: bool,
    aborting: bool,
    stopped_accepting: bool,
}

/// When a thread next carries over what it has counted, and what it has used until then.
#[derive(Debug)]
struct CarryOver {
    at: Instant,
    effort: Effort,
}

/// A connection with what its thread needs to know of it.
#[derive(Debug)]
struct Live {
    connection: Connection,
    id: ConnectionId,
    alarm: Alarm,
    /// It is among those to be run.
    queued: bool,
    /// It is among those to be reset.
    resetting: bool,
    /// It is among those that leave with their address.
    leaving: bool,
}

impl Shared {
    /// The mailboxes of so many threads, and the threads.
    pub(crate) fn threads(count: usize) -> Result<(Arc<Self>, Vec<DataThread>), Errno> {
        let made = (0..count).map(|_| Mailbox::new()).collect::<Result<Vec<_>, _>>()?;
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) = made.into_iter().unzip();
        let budget = Budget::new();
        let shared = Arc::new(Self {
            mailboxes: mailboxes.into(),
            accepting: AtomicUsize::new(count),
            budget,
            epoch: Instant::now(),
        });
        let threads = inboxes
            .into_iter()
            .zip(Schedule::for_each(count))
            .enumerate()
            .map(|(index, (inbox, schedule))| DataThread::new(index, &shared, inbox, schedule))
            .collect::<Result<_, _>>()?;
        Ok((shared, threads))
    }

    /// Gives every thread an order.
    pub(crate) fn order(&self, order: Order) {
        for mailbox in &self.mailboxes {
            mailbox.order(order);
        }
    }

    /// Gives every thread its socket of a listener.
    pub(crate) fn listen(&self, listener: Listener, balancer: &Arc<Balancer>) {
        let Listener { sockets, address, bound: _ } = listener;
        for (mailbox, socket) in self.mailboxes.iter().zip(sockets) {
            mailbox.listen(Listening { socket, address, balancer: balancer.clone() });
        }
    }

    /// Has every thread end what came in through these addresses.
    pub(crate) fn end_moved(&self, addresses: &[IpAddr]) {
        for mailbox in &self.mailboxes {
            mailbox.end_moved(addresses);
        }
    }

    /// Whether any thread has connections left of an address that moves.
    pub(crate) fn is_ending(&self) -> bool {
        self.mailboxes.iter().any(Mailbox::is_ending)
    }

    /// Whether every thread has turned its loop within that time.
    pub(crate) fn beats(&self, now: Instant, within: Duration) -> bool {
        let now = now.saturating_duration_since(self.epoch);
        self.mailboxes.iter().all(|mailbox| mailbox.beats(now, within))
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.mailboxes.iter().map(Mailbox::load).sum()
    }
}

impl DataThread {
    fn new(
        index: usize,
        shared: &Arc<Shared>,
        inbox: Receiver<Client>,
        schedule: Schedule,
    ) -> Result<Self, Errno> {
        let poller = Poller::new()?;
        if let Some(mailbox) = shared.mailboxes.get(index) {
            poller.add_bell(mailbox.bell())?;
        }
        Ok(Self {
            index,
            shared: shared.clone(),
            inbox,
            poller,
            timers: Timers::default(),
            services: Vec::new(),
            book: Book::default(),
            mover: Mover::new(Pipes::new(shared.budget.clone())),
            listeners: Slab::new(),
            connections: Slab::new(),
            next_serial: 0,
            ready: Vec::new(),
            yielded: Vec::new(),
            resets: Vec::new(),
            moved: Moved::default(),
            random: fastrand::Rng::new(),
            spare: spare(),
            schedule,
            carry_over: None,
            beat_every: None,
            draining: false,
            aborting: false,
            stopped_accepting: false,
        })
    }

    /// Runs until it is drained or aborted and the last connection has ended.
    pub(crate) fn run(mut self) -> Result<(), Errno> {
        let mut events = poller::events();
        loop {
            let before = Instant::now();
            let timeout = self.timeout(before);
            let has_mail = self.wait(&mut events, timeout)?;
            let now = Instant::now();
            self.beat(now);
            if has_mail {
                self.read_mail(now);
            }
            self.accept(now);
            self.leave_some(now);
            self.ring_alarms(now);
            self.reset_some(now);
            self.run_ready(now);
            // After what has come was read.
            self.listen(now);
            self.see_to_the_book(now);
            if self.is_over() {
                self.book.carry_over();
                return Ok(());
            }
        }
    }

    fn beat(&self, now: Instant) {
        if let Some(mailbox) = self.shared.mailboxes.get(self.index) {
            mailbox.beat(now.saturating_duration_since(self.shared.epoch));
        }
    }

    /// How long it may sleep.
    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() || self.moved.is_busy() {
            return Some(Duration::ZERO);
        }
        let pauses = self.listeners.iter().filter_map(|(_, listener)| listener.paused_until);
        let others = pauses
            .chain(self.carry_over.as_ref().map(|carry_over| carry_over.at))
            .chain(self.book.listen_at())
            .chain(self.resets.iter().filter_map(Resets::next_at))
            .min();
        let others = others.map(|at| at.saturating_duration_since(now));
        [self.timers.next(now), others, self.beat_every].into_iter().flatten().min()
    }

    /// Waits, and marks what is ready. True if there is mail.
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> Result<bool, Errno> {
        let Self { poller, connections, listeners, ready, .. } = self;
        let mut has_mail = false;
        poller.wait(events, timeout, |token, readiness| match token {
            Token::Inbox => has_mail = true,
            Token::Listener(place) => {
                if let Some(listener) = listeners.get_mut(at(place)) {
                    listener.ready = true;
                }
            }
            Token::Leg(id, side) => {
                if let Some(live) = find(connections, id) {
                    live.connection.ready(side, readiness);
                    live.queue(ready);
                }
            }
        })?;
        Ok(has_mail)
    }

    fn read_mail(&mut self, now: Instant) {
        let Some(mailbox) = self.shared.mailboxes.get(self.index) else { return };
        let (orders, Post { listening, moved }) = mailbox.take();
        for listening in listening {
            self.add_listener(listening);
        }
        while let Ok(client) = self.inbox.try_recv() {
            self.take(client, now);
        }
        if !moved.is_empty() {
            self.end_moved(moved, now);
        }
        if orders.contain(Order::BEAT) {
            self.beat_every = Some(BEAT);
        }
        if orders.contain(Order::ABORT) {
            self.aborting = true;
            self.draining = true;
            self.queue_all(|_| true);
        }
        if orders.contain(Order::DRAIN) {
            self.draining = true;
        }
        if orders.contain(Order::SWEEP) {
            self.sweep(now);
        }
    }

    fn queue_all(&mut self, wanted: impl Fn(&Connection) -> bool) {
        for (_, live) in &mut self.connections {
            if wanted(&live.connection) {
                live.queue(&mut self.ready);
            }
        }
    }

    /// Sees to connections whose backend is treated otherwise by now.
    fn sweep(&mut self, now: Instant) {
        let Self { services, connections, resets, ready, .. } = self;
        let mut in_turn: Vec<Vec<ConnectionId>> = vec![Vec::new(); services.len()];
        for (_, live) in connections {
            let place = live.connection.page.place();
            let Some(service) = services.get(place) else { continue };
            match live.connection.swept(service.shed_idle, now) {
                Swept::Stays => {}
                Swept::RunNow => live.queue(ready),
                Swept::ResetInTurn => {
                    let is_new = !std::mem::replace(&mut live.resetting, true);
                    if let Some(in_turn) = in_turn.get_mut(place).filter(|_| is_new) {
                        in_turn.push(live.id);
                    }
                }
            }
        }
        let at_once: Vec<ConnectionId> =
            resets.iter_mut().zip(in_turn).flat_map(|(resets, ids)| resets.add(ids, now)).collect();
        for id in at_once {
            self.queue_one(id);
        }
    }

    /// Resets those whose turn it is.
    fn reset_some(&mut self, now: Instant) {
        let Self { resets, services, shared, random, .. } = self;
        let mut due = Vec::new();
        for (resets, service) in resets.iter_mut().zip(services) {
            let pause = service.pace.pause(shared.mailboxes.len());
            while let Some(id) = resets.pop(now, random.f64(), pause) {
                due.push(id);
            }
        }
        for id in due {
            self.queue_one(id);
        }
    }

    /// Ends what came in through these addresses, some each turn.
    fn end_moved(&mut self, addresses: Vec<IpAddr>, now: Instant) {
        self.moved.begin(addresses, now);
        for (_, live) in &mut self.connections {
            live.leave(&mut self.moved);
        }
    }

    /// Ends some of those that leave with their address.
    fn leave_some(&mut self, now: Instant) {
        for _ in 0..moved::A_TURN {
            let Some(id) = self.moved.next() else { break };
            self.let_one(id, now, Connection::leave);
        }
        if let Some(mailbox) = self.shared.mailboxes.get(self.index)
            && !self.moved.is_busy()
            && mailbox.is_ending()
        {
            mailbox.has_ended();
        }
    }

    fn queue_one(&mut self, id: ConnectionId) {
        if let Some(live) = find(&mut self.connections, id) {
            live.queue(&mut self.ready);
        }
    }

    /// Listens for backends that owe an answer.
    fn listen(&mut self, now: Instant) {
        let Self { book, connections, .. } = self;
        book.listen(now, |page, silent| {
            let asked = connections
                .iter()
                .filter(|(_, live)| live.connection.page == page)
                .filter_map(|(_, live)| live.connection.has_asked(silent.since))
                .filter(|(backend, _)| std::ptr::eq(*backend, Arc::as_ptr(silent.backend)))
                .map(|(_, socket)| socket);
            acknowledges(asked.take(ENOUGH), silent.since, now)
        });
    }

    fn add_listener(&mut self, listening: Listening) {
        let Listening { socket, address, balancer } = listening;
        if self.stopped_accepting {
            // It comes too late, and nobody may queue there in vain.
            return;
        }
        let entry = self.listeners.vacant_entry();
        let token = Token::Listener(place(entry.key()));
        if let Err(error) = self.poller.add(&socket, token) {
            // Only a lack of memory does this.
            tracing::error!(listener = %address, %error, "a listener is not polled");
            return;
        }
        entry.insert(Accepting {
            socket,
            address,
            balancer,
            paused_until: None,
            ready: false,
            failing: false,
        });
    }

    /// Keeps a client that this thread has accepted.
    fn keep(&mut self, client: Client, now: Instant) {
        if let Some(mailbox) = self.shared.mailboxes.get(self.index) {
            mailbox.add_load();
        }
        self.take(client, now);
    }

    /// Takes a client over that is counted already.
    fn take(&mut self, client: Client, now: Instant) {
        let Client { socket, address, balancer, permit } = client;
        let page = self.page(&balancer);
        let entry = self.connections.vacant_entry();
        let id = ConnectionId::new(place(entry.key()), self.next_serial);
        self.next_serial = self.next_serial.wrapping_add(1);
        let connection =
            Connection::new(socket, address, page, permit, balancer.connect.replay, now);
        if let Err(error) = self.poller.add_leg(connection.client(), id, Side::Client) {
            tracing::debug!(%error, "client not polled");
            balancer.metrics.rejected(Rejected::NoDescriptors);
            socket::close_with_reset(connection.client());
            if let Some(mailbox) = self.shared.mailboxes.get(self.index) {
                mailbox.remove_load();
            }
            return;
        }
        let alarm = Alarm::default();
        let mut live =
            Live { connection, id, alarm, queued: false, resetting: false, leaving: false };
        live.queue(&mut self.ready);
        if self.moved.leaves_any(now) {
            live.leave(&mut self.moved);
        }
        entry.insert(live);
    }

    /// The page of a service in the book, a new one if it has none.
    fn page(&mut self, balancer: &Arc<Balancer>) -> PageNumber {
        let known = self.services.iter().position(|service| Arc::ptr_eq(service, balancer));
        let place = known.unwrap_or_else(|| {
            self.services.push(balancer.clone());
            self.resets.push(Resets::default());
            self.book.add_page(balancer);
            self.services.len() - 1
        });
        PageNumber::new(place)
    }

    // Running

    fn ring_alarms(&mut self, now: Instant) {
        while let Some((entry, id)) = self.timers.pop(now) {
            if let Some(live) = find(&mut self.connections, id)
                && live.alarm.rings(entry, now, id, &mut self.timers)
            {
                live.queue(&mut self.ready);
            }
        }
    }

    fn run_ready(&mut self, now: Instant) {
        let mut ready = std::mem::take(&mut self.ready);
        self.mover.begin_turn();
        for id in ready.drain(..) {
            if self.mover.has_moved_enough() {
                // It stays queued, before those that have had their turn.
                self.yielded.push(id);
            } else {
                self.run_one(id, now);
            }
        }
        // Swapped, so that neither list is allocated again.
        self.ready = std::mem::replace(&mut self.yielded, ready);
    }

    fn run_one(&mut self, id: ConnectionId, now: Instant) {
        self.let_one(id, now, Connection::run);
    }

    /// Lets one connection do something, and sees to what comes of it.
    fn let_one(
        &mut self,
        id: ConnectionId,
        now: Instant,
        act: impl FnOnce(&mut Connection, &mut Tools<'_>) -> Ran,
    ) {
        let Self { services, connections, poller, book, mover, aborting, .. } = self;
        let Some(live) = find(connections, id) else { return };
        live.queued = false;
        let Some(balancer) = services.get(live.connection.page.place()) else { return };
        let mut tools = Tools {
            balancer,
            book,
            mover,
            now,
            aborting: *aborting,
            register: &|socket| poller.add_leg(socket, id, Side::Backend),
            tell_again: &|socket| poller.tell_again(socket, id, Side::Client),
        };
        let ran = catch_unwind(AssertUnwindSafe(|| act(&mut live.connection, &mut tools)));
        match ran {
            Ok(Ran::Waits(due)) => live.alarm.set(due, id, &mut self.timers),
            Ok(Ran::Yields) => {
                live.queued = true;
                self.yielded.push(id);
            }
            Ok(Ran::Over) => self.remove(id),
            Err(_panic) => {
                // The message and the place are the panic hook's to tell.
                tracing::error!(service = %balancer.name, "a connection panicked: it is reset");
                socket::close_with_reset(live.connection.client());
                self.remove(id);
            }
        }
    }

    fn remove(&mut self, id: ConnectionId) {
        if find(&mut self.connections, id).is_some()
            && self.connections.try_remove(at(id.place)).is_some()
            && let Some(mailbox) = self.shared.mailboxes.get(self.index)
        {
            mailbox.remove_load();
        }
    }

    fn see_to_the_book(&mut self, now: Instant) {
        if let Some(carry_over) = self.carry_over.take_if(|carry_over| carry_over.at <= now) {
            self.book.carry_over();
            self.schedule.settle(carry_over.effort.share(now), self.mover.take_sum());
            self.mover.pipes.tidy();
            self.timers.prune(self.connections.len(), |id, due| {
                self.connections
                    .get(at(id.place))
                    .is_some_and(|live| live.id == id && live.alarm.stands_for(due))
            });
        }
        let is_due =
            self.book.has_news() || self.mover.pipes.keeps_any() || self.schedule.is_busy();
        if self.carry_over.is_none() && is_due {
            // Its effort counts from the first that there is to do: a pause before it says nothing.
            self.carry_over = Some(CarryOver { at: now + CARRY_OVER, effort: Effort::from(now) });
        }
    }

    /// Whether nothing is left to do, and nothing can come any more.
    fn is_over(&self) -> bool {
        self.stopped_accepting
            && self.connections.is_empty()
            && self.shared.accepting.load(Ordering::Acquire) == 0
            && self.shared.mailboxes.get(self.index).is_none_or(|mailbox| mailbox.load() == 0)
    }
}

impl Drop for DataThread {
    fn drop(&mut self) {
        // Also if it panicked: the others wait for the last that may hand clients over.
        self.stop_accepting();
        if let Some(mailbox) = self.shared.mailboxes.get(self.index) {
            mailbox.close(self.draining && !std::thread::panicking());
        }
    }
}

impl Live {
    fn queue(&mut self, ready: &mut Vec<ConnectionId>) {
        if !std::mem::replace(&mut self.queued, true) {
            ready.push(self.id);
        }
    }

    /// Leaves, if the address does that its client has come to.
    fn leave(&mut self, moved: &mut Moved) {
        if !self.leaving
            && socket::local_ip(self.connection.client()).is_some_and(|ip| moved.leaves(ip))
        {
            self.leaving = true;
            moved.add(self.id);
        }
    }
}

/// Connections that are asked whether the kernel of their backend acknowledges.
const ENOUGH: usize = 16;

/// Whether anything was acknowledged of what they have sent since then.
fn acknowledges<'a>(
    sockets: impl Iterator<Item = BorrowedFd<'a>>,
    since: Instant,
    now: Instant,
) -> Kernel {
    let mut kernel = Kernel::NotAsked;
    for socket in sockets {
        let Ok(info) = tcp_info::read(socket) else { continue };
        if info.unacked == 0 {
            return Kernel::Acknowledges;
        }
        tracing::trace!(?info, "not acknowledged");
        // It was acknowledged before it was asked, at the latest.
        let last = now.checked_sub(info.last_ack).unwrap_or(since).max(since);
        kernel = match kernel {
            Kernel::Silent(known) => Kernel::Silent(known.max(last)),
            Kernel::NotAsked | Kernel::Acknowledges => Kernel::Silent(last),
        };
    }
    kernel
}

/// The connection of an event or a timer, unless its place is another's by now.
fn find(connections: &mut Slab<Live>, id: ConnectionId) -> Option<&mut Live> {
    connections.get_mut(at(id.place)).filter(|live| live.id == id)
}

fn place(key: usize) -> u32 {
    // Descriptors run out long before.
    u32::try_from(key).unwrap_or(u32::MAX)
}

fn at(place: u32) -> usize {
    usize::try_from(place).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};

    use evenkeel_core::pool::Pool;

    use super::*;
    use crate::config::{ConnectConfig, ListenConfig, RelayConfig};
    use crate::policy::Policy;

    const SELDOM: Duration = Duration::from_secs(60);

    /// A thread that does not run, and a way to give it clients.
    fn thread() -> (DataThread, impl Fn() -> Client) {
        let (_, mut threads) = Shared::threads(1).unwrap();
        let (_writer, pool) = Pool::new();
        let (listen, relay) = (ListenConfig::on(Vec::new()), RelayConfig::default());
        let connect = ConnectConfig::default();
        let balancer =
            Balancer::new("api", pool, &listen, connect, relay, Policy::default(), SELDOM);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = move || {
            let _peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (socket, address) = listener.accept().unwrap();
            let permit = balancer.admission.admit(address.ip(), Instant::now()).unwrap();
            Client { socket: socket.into(), address, balancer: balancer.clone(), permit }
        };
        (threads.remove(0), client)
    }

    #[test]
    fn an_event_of_a_closed_connection_is_not_the_next_ones_in_its_place() {
        let (mut thread, client) = thread();
        let now = Instant::now();
        thread.keep(client(), now);
        let old = thread.ready.remove(0);
        thread.remove(old);
        thread.keep(client(), now);
        let new = thread.ready[0];
        assert_eq!(old.place, new.place, "the place is used again");
        assert!(find(&mut thread.connections, old).is_none());
        assert!(find(&mut thread.connections, new).is_some());
        // Neither is its timer, and to close it again closes nothing.
        thread.timers.add(now, old);
        thread.ready.clear();
        thread.ring_alarms(now);
        assert!(thread.ready.is_empty());
        thread.run_one(old, now);
        assert_eq!((thread.connections.len(), thread.shared.open()), (1, 1));
    }

    #[test]
    fn who_turns_up_at_an_address_just_after_it_left_leaves_too() {
        let (mut thread, client) = thread();
        let now = Instant::now();
        thread.keep(client(), now);
        thread.end_moved(vec!["127.0.0.2".parse().unwrap()], now);
        thread.keep(client(), now);
        thread.leave_some(now);
        assert_eq!(thread.shared.open(), 2, "it was another address");
        thread.end_moved(vec!["127.0.0.1".parse().unwrap()], now);
        let soon = now + Duration::from_millis(50);
        thread.keep(client(), soon);
        thread.leave_some(soon);
        assert_eq!((thread.connections.len(), thread.shared.open()), (0, 0));
        // The address has come back.
        thread.keep(client(), now + SELDOM);
        thread.leave_some(now + SELDOM);
        assert_eq!(thread.shared.open(), 1);
    }

    #[test]
    fn many_who_leave_do_it_in_turns_and_each_once() {
        let (mut thread, client) = thread();
        let now = Instant::now();
        for _ in 0..moved::A_TURN + 10 {
            thread.keep(client(), now);
        }
        let addresses = vec!["127.0.0.1".parse().unwrap()];
        thread.end_moved(addresses.clone(), now);
        assert_eq!(thread.timeout(now), Some(Duration::ZERO));
        thread.leave_some(now);
        assert_eq!(thread.shared.open(), 10);
        thread.end_moved(addresses, now);
        thread.leave_some(now);
        assert_eq!((thread.shared.open(), thread.moved.is_busy()), (0, false));
    }

    #[test]
    fn a_thread_that_is_idle_wakes_only_where_somebody_watches() {
        let (mut thread, _) = thread();
        let now = Instant::now();
        thread.read_mail(now);
        assert_eq!(thread.timeout(now), None);
        thread.shared.order(Order::BEAT);
        thread.read_mail(now);
        assert_eq!(thread.timeout(now), Some(BEAT));
    }

    #[test]
    fn a_connection_that_panics_is_reset_and_the_others_go_on() {
        let (mut thread, client) = thread();
        let now = Instant::now();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket = listener.accept().unwrap().0.into();
        thread.keep(Client { socket, ..client() }, now);
        thread.keep(client(), now);
        let panics = thread.ready[0];
        thread.let_one(panics, now, |_, _| panic!("as a fault of ours would"));
        assert_eq!((thread.connections.len(), thread.shared.open()), (1, 1));
        let reset = peer.read(&mut [0]).unwrap_err();
        assert_eq!(reset.kind(), std::io::ErrorKind::ConnectionReset);
        // Neither does it run once more, though it was queued.
        thread.run_ready(now);
        assert_eq!(thread.shared.open(), 0, "the other one had no backend");
    }

    #[test]
    fn a_client_without_any_backend_is_over_at_once_and_counts_no_more() {
        let (mut thread, client) = thread();
        let now = Instant::now();
        thread.keep(client(), now);
        assert_eq!(thread.shared.open(), 1);
        thread.run_ready(now);
        assert_eq!((thread.connections.len(), thread.shared.open()), (0, 0));
    }
}
