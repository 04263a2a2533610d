//! The thread of one VIP: it asks the kernel and the network, has the [`Router`] decide, and does
//! what that says.
//!
//! ```text
//! wake ──> orders, heartbeat ──> links ──> adverts ──> ARP, neighbours ──> act ──> poll ─┐
//!   ^                                                                                   │
//!   └───────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A thread of its own, so that no busy runtime puts off an advert: it does nothing but this, and
//! never waits for anybody but the kernel. What it has to tell goes into a bounded channel; if that
//! is full it is dropped and counted, but for the state, which is said again.

mod links;
mod wire;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};

use self::links::{Links, Looked};
use self::wire::{Heard, Wire};
use crate::causes::with_causes;
use crate::class::{Class, Moment, Rank};
use crate::config::{Conflict, Mode, VipConfig};
use crate::metrics::Counters;
use crate::router::{Action, Event, Obstacle, Router, Settings, StateName, Told};

/// Reports that may wait to be read.
const REPORTS: usize = 256;

/// The longest sleep: a link that no message told of, and a heartbeat, are seen to so often.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// How often trouble that lasts is told.
const TROUBLE_AGAIN: Duration = Duration::from_secs(30);

/// How often adverts of strangers with our VRID are told.
const FOREIGN_AGAIN: Duration = Duration::from_secs(600);

/// A data plane must have turned within this time for the address to be renewed.
pub const BEAT: Duration = Duration::from_millis(500);

/// What the thread asks of the data plane.
pub trait DataPlane: Send {
    /// Whether each of its threads has turned within [`BEAT`].
    fn beats(&self) -> bool;

    /// Ends the connections that came in through one of these addresses, without waiting for it.
    fn end_connections(&self, addresses: &[IpAddr]);

    /// Whether some of those are still open.
    fn is_ending(&self) -> bool;
}

/// What the thread tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// What the router tells.
    Told(Told),
    /// Its rank and interface are known: once, and whenever they change.
    On {
        /// The interface.
        interface: String,
        /// The rank and the VRID of this node, where one is elected.
        elected: Option<(u8, u8)>,
    },
    /// The kernel or the network refused something.
    Trouble {
        /// What was attempted.
        what: &'static str,
        /// What the kernel said.
        error: String,
    },
    /// Adverts came that are for our VRID, and for other addresses.
    ForeignAdvert {
        /// From there.
        source: IpAddr,
    },
}

/// A thread that runs.
#[derive(Debug)]
pub struct Vip {
    shared: Arc<Shared>,
}

/// What others leave for the thread.
#[derive(Debug)]
struct Shared {
    orders: AtomicU8,
    /// A class as a number, from 1 on; 0: nothing new.
    class: AtomicU8,
    bell: OwnedFd,
}

const MOVE: u8 = 1;
const END: u8 = 2;
const CLOSE: u8 = 4;

const CLASSES: [Class; 4] = [Class::Fault, Class::LastResort, Class::Degraded, Class::Healthy];

impl Vip {
    /// Starts the thread. It reports until it has ended, after [`Vip::end`] and [`Vip::close`]; the
    /// second receiver then closes.
    ///
    /// Takes metric handles: the recorder must be installed before.
    ///
    /// # Errors
    /// If the kernel has no descriptors or threads for it. Everything else is reported, and tried
    /// again: a network that is not there yet is no reason to end.
    pub fn start(
        config: VipConfig,
        data_plane: Box<dyn DataPlane>,
    ) -> io::Result<(Self, mpsc::Receiver<Report>, oneshot::Receiver<()>)> {
        let (reports, told) = mpsc::channel(REPORTS);
        let (ended, end) = oneshot::channel();
        let shared = Arc::new(Shared {
            orders: AtomicU8::new(0),
            class: AtomicU8::new(0),
            bell: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        });
        let links = Links::open(&config)?;
        let counters = Counters::new(&config.name);
        let body = Thread {
            shared: shared.clone(),
            router: Router::new(settings(&config), now()),
            links,
            wire: Wire::default(),
            config,
            counters,
            data_plane,
            reports,
            actions: Vec::with_capacity(16),
            heard: Vec::with_capacity(16),
            look_at: Duration::ZERO,
            troubles: Vec::new(),
            untold: None,
            foreign: None,
        };
        let named = thread::Builder::new().name("evenkeel-vip".to_owned());
        named.spawn(move || {
            let _ended = ended;
            body.run();
        })?;
        Ok((Self { shared }, told, end))
    }

    /// What this node could do with the address now; must be said every second or so.
    pub fn set_class(&self, class: Class) {
        let number = CLASSES.iter().position(|known| *known == class).unwrap_or_default();
        self.shared.class.store(u8::try_from(number).unwrap_or_default() + 1, Ordering::Release);
        self.shared.ring();
    }

    /// Hands the address over, if this node has it and another takes it.
    pub fn move_away(&self) {
        self.shared.order(MOVE);
    }

    /// Hands the address over and never claims it again. Without a successor it stays until
    /// [`Vip::close`].
    pub fn end(&self) {
        self.shared.order(END);
    }

    /// Lets go of the address and ends the thread.
    pub fn close(&self) {
        self.shared.order(CLOSE);
    }
}

impl Shared {
    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::AcqRel);
        self.ring();
    }

    fn ring(&self) {
        if let Err(Errno::BADF) = rustix::io::write(&self.bell, &1_u64.to_ne_bytes()) {
            // It is open as long as this is. A counter at its end means that the thread is awake.
        }
    }

    fn hush(&self) {
        let mut count = [0; 8];
        if let Err(Errno::AGAIN) = rustix::io::read(&self.bell, &mut count) {
            // Nothing to read is as good.
        }
    }
}

struct Thread {
    shared: Arc<Shared>,
    router: Router,
    links: Links,
    wire: Wire,
    config: VipConfig,
    counters: Counters,
    data_plane: Box<dyn DataPlane>,
    reports: mpsc::Sender<Report>,
    actions: Vec<Action>,
    heard: Vec<Heard>,
    /// When the links are looked at, though nothing was told of them.
    look_at: Moment,
    /// What was told lately.
    troubles: Vec<Trouble>,
    /// The last state, if there was no room to tell it.
    untold: Option<Told>,
    /// When adverts of strangers were told last.
    foreign: Option<Moment>,
}

/// Something that the kernel has refused.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    what: &'static str,
    code: Option<i32>,
    told: Moment,
}

impl fmt::Debug for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Thread").field("vip", &self.config.name).finish_non_exhaustive()
    }
}

/// The time since the machine was started, suspends included.
fn now() -> Moment {
    let time = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

impl Thread {
    fn run(mut self) {
        if let Err(error) = self.links.clean(&self.config.addresses) {
            self.trouble("remove what a crash has left", &error);
        }
        loop {
            self.turn();
            if self.router.state() == StateName::Ended {
                return;
            }
            if let Err(error) = self.sleep() {
                self.trouble("poll", &error.into());
            }
        }
    }

    fn turn(&mut self) {
        let now = now();
        self.retell();
        self.with_router(now, Router::wake);
        self.give(Event::Beats(self.data_plane.beats()), now);
        self.give(Event::Ending(self.data_plane.is_ending()), now);
        self.see_to_links(now);
        let class = self.shared.class.swap(0, Ordering::AcqRel);
        if let Some(class) = class.checked_sub(1).and_then(|n| CLASSES.get(usize::from(n))) {
            self.give(Event::Class(*class), now);
        }
        self.listen(now);
        let orders = self.shared.orders.swap(0, Ordering::AcqRel);
        for (order, event) in [(MOVE, Event::Move), (END, Event::End), (CLOSE, Event::Close)] {
            if orders & order != 0 {
                self.give(event, now);
            }
        }
        self.with_router(now, Router::act);
    }

    /// Waits for news, or for what is due.
    fn sleep(&self) -> Result<(), Errno> {
        let now = now();
        let wait = self
            .router
            .due()
            .map_or(LONGEST_SLEEP, |due| due.saturating_sub(now))
            .min(LONGEST_SLEEP);
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or_default(),
            tv_nsec: wait.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&self.shared.bell, PollFlags::IN)];
        fds.push(PollFd::from_borrowed_fd(self.links.monitor(), PollFlags::IN));
        self.wire.fds(|fd| fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if fds.first().is_some_and(|bell| !bell.revents().is_empty()) {
            self.shared.hush();
        }
        Ok(())
    }

    fn give(&mut self, event: Event, now: Moment) {
        self.with_router(now, |router, now, actions| router.take(event, now, actions));
    }

    /// Has the router do something, and does what it says.
    fn with_router(
        &mut self,
        now: Moment,
        step: impl FnOnce(&mut Router, Moment, &mut Vec<Action>),
    ) {
        let mut actions = std::mem::take(&mut self.actions);
        step(&mut self.router, now, &mut actions);
        let mut refused = false;
        for action in actions.drain(..) {
            if matches!(action, Action::Hold) {
                refused = !self.hold();
            } else if !refused || matches!(action, Action::Release | Action::EndConnections) {
                self.carry_out(&action);
            }
        }
        self.actions = actions;
        if refused {
            self.give(Event::NotHeld, now);
        }
    }

    fn hold(&mut self) -> bool {
        match self.links.hold(&self.config.addresses, self.config.lifetime.duration()) {
            Ok(()) => true,
            Err(error) => {
                self.trouble("add the address", &error);
                false
            }
        }
    }

    fn carry_out(&mut self, action: &Action) {
        let done = match action {
            Action::Hold => Ok(()),
            Action::Advertise(priority) => {
                self.counters.sent.increment(1);
                self.wire.advertise(*priority).map_err(|error| ("send an advert", error))
            }
            Action::Announce(priority) => {
                self.counters.announced.increment(1);
                self.wire.announce(*priority).map_err(|error| ("announce the address", error))
            }
            Action::Probe => self.wire.probe().map_err(|error| ("ask for the address", error)),
            Action::EndConnections => {
                self.data_plane.end_connections(&self.config.addresses);
                Ok(())
            }
            Action::Withdraw => self
                .links
                .withdraw(&self.config.addresses)
                .map_err(|error| ("withdraw the address", error)),
            Action::Release => self
                .links
                .release(&self.config.addresses)
                .map_err(|error| ("remove the address", error)),
            Action::Tell(told) => {
                self.report(Report::Told(*told));
                Ok(())
            }
        };
        if let Err((what, error)) = done {
            self.trouble(what, &error);
        }
    }

    /// Hears what has changed at the interface, and makes what rests on it anew.
    fn see_to_links(&mut self, now: Moment) {
        let mut gone = false;
        match self.links.changes(&self.config.addresses) {
            Ok(changes) => {
                gone = changes.address_gone;
                if changes.look || self.look_at <= now {
                    self.look_at = now + LONGEST_SLEEP;
                    self.look(now);
                }
            }
            Err(error) => self.trouble("hear of links", &error),
        }
        if gone {
            self.give(Event::AddressGone, now);
        }
    }

    fn look(&mut self, now: Moment) {
        let looked = match self.links.look(&self.config) {
            Ok(looked) => looked,
            Err(error) => {
                self.trouble("look at the interface", &error);
                return;
            }
        };
        match looked {
            Looked::Same => {}
            Looked::Unusable(obstacle) => {
                self.wire.close();
                self.give(Event::LinkDown(obstacle), now);
            }
            Looked::Usable(place) => {
                if let Err(error) = self.wire.open(&place, &self.config) {
                    self.trouble("open its sockets", &error);
                    self.links.forget();
                    self.give(Event::LinkDown(Obstacle::NoSocket), now);
                    return;
                }
                let rank = self.rank(&place.sources);
                self.router.set_rank(rank);
                self.report(Report::On {
                    interface: place.link.name.clone(),
                    elected: self.config.elects().then(|| (rank.get(), self.config.vrid())),
                });
                self.give(Event::LinkUp(place.sources), now);
            }
        }
    }

    /// As set, or by the node's own address.
    fn rank(&self, sources: &[IpAddr]) -> Rank {
        let by_address = || sources.first().map(|source| Rank::of_address(*source));
        self.config.rank().or_else(by_address).unwrap_or_default()
    }

    /// Takes in all that came over the network.
    fn listen(&mut self, now: Moment) {
        let mut heard = std::mem::take(&mut self.heard);
        if let Err(error) = self.wire.listen(&self.counters, &mut heard) {
            self.trouble("hear the others", &error);
        }
        for heard in heard.drain(..) {
            match heard {
                Heard::Event(event) => self.give(event, now),
                Heard::Foreign(source) => self.foreign(source, now),
            }
        }
        self.heard = heard;
    }

    /// Adverts come ten times a second: what lasts is told now and then.
    fn foreign(&mut self, source: IpAddr, now: Moment) {
        if self.foreign.is_none_or(|at| now.saturating_sub(at) >= FOREIGN_AGAIN) {
            self.foreign = Some(now);
            self.report(Report::ForeignAdvert { source });
        }
    }

    /// Trouble that lasts is told now and then.
    fn trouble(&mut self, what: &'static str, error: &io::Error) {
        let (now, code) = (now(), error.raw_os_error());
        self.troubles.retain(|trouble| now.saturating_sub(trouble.told) < TROUBLE_AGAIN);
        if !self.troubles.iter().any(|known| known.what == what && known.code == code) {
            self.troubles.push(Trouble { what, code, told: now });
            self.report(Report::Trouble { what, error: with_causes(error) });
        }
    }

    fn report(&mut self, report: Report) {
        let state = match &report {
            Report::Told(told @ Told::State(..)) => Some(*told),
            Report::Told(_)
            | Report::On { .. }
            | Report::Trouble { .. }
            | Report::ForeignAdvert { .. } => None,
        };
        if self.reports.try_send(report).is_err() {
            self.counters.untold.increment(1);
            // Others act on the state: it is said again until it is heard.
            self.untold = state.or(self.untold);
        } else if state.is_some() {
            self.untold = None;
        }
    }

    fn retell(&mut self) {
        if let Some(told) = self.untold {
            self.report(Report::Told(told));
        }
    }
}

fn settings(config: &VipConfig) -> Settings {
    let conflict = match &config.mode {
        Mode::L2(l2) => l2.conflict,
        Mode::Route(_) | Mode::Hook(_) => Conflict::Defend,
    };
    Settings {
        interval: config.interval(),
        rank: Rank::default(),
        elects: config.elects(),
        lifetime: config.lifetime.duration(),
        yields_to_foreign: conflict == Conflict::Yield,
    }
}
