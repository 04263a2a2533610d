//! A node: its process, which is driven as the thread drives it, and its kernel.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_vip::class::{Class, Moment, Rank};
use evenkeel_vip::router::{Action, Event, Router, Settings, StateName};

use crate::keepalived::Keepalived;
use crate::schedule::MS;

pub(crate) const INTERVAL: Duration = Duration::from_millis(100);
pub(crate) const LIFETIME: u64 = 1000 * MS;
/// What waits in a socket at most.
const SOCKET: usize = 64;
/// Never, or for ever.
pub(crate) const NEVER: u64 = u64::MAX;

/// What a process reads when it has its turn, in the order in which it reads.
#[derive(Default)]
struct Inbox {
    links: Vec<Event>,
    class: Option<Class>,
    adverts: Vec<Event>,
    claims: Vec<Event>,
    orders: Vec<Event>,
}

impl Inbox {
    fn give(&mut self, event: Event) {
        match event {
            Event::LinkUp(_) | Event::LinkDown(_) | Event::AddressGone => self.links.push(event),
            Event::Class(class) => self.class = Some(class),
            Event::Heard { .. } => push(&mut self.adverts, event),
            Event::Claim(_) => push(&mut self.claims, event),
            Event::Move | Event::End | Event::Close => self.orders.push(event),
            // These are not read.
            Event::Beats(_) | Event::Ending(_) | Event::NotHeld => {}
        }
    }

    /// All that is there.
    fn take(&mut self, beats: bool, ending: bool) -> Vec<Event> {
        let mut all = vec![Event::Beats(beats), Event::Ending(ending)];
        all.append(&mut self.links);
        all.extend(self.class.take().map(Event::Class));
        all.append(&mut self.adverts);
        all.append(&mut self.claims);
        all.append(&mut self.orders);
        all
    }
}

fn push(socket: &mut Vec<Event>, event: Event) {
    if socket.len() < SOCKET {
        socket.push(event);
    }
}

/// What a process does in a turn, one after the other.
pub(crate) enum Step {
    Wake,
    Take(Event),
    Act,
}

pub(crate) enum Process {
    Evenkeel(Box<Router>),
    Keepalived(Keepalived),
}

#[expect(clippy::struct_excessive_bools, reason = "each may be so or not, apart from the others")]
pub(crate) struct Node {
    pub(crate) address: IpAddr,
    rank: Rank,
    /// If it is a keepalived: its priority, and whether it preempts.
    pub(crate) keepalived: Option<(u8, bool)>,
    pub(crate) process: Option<Process>,
    pub(crate) started: u64,
    inbox: Inbox,
    /// When its next turn is, and which of those that were planned counts.
    pub(crate) wake_at: u64,
    pub(crate) turn: u32,
    /// When it last had one.
    pub(crate) turned: u64,
    pub(crate) stalled_until: u64,
    /// Until when its kernel does not run either.
    pub(crate) frozen_until: u64,
    /// When the kernel takes the address away, if it has it.
    pub(crate) expires: Option<u64>,
    pub(crate) expiry_planned: bool,
    /// Since when the kernel does not have it.
    pub(crate) bare_since: u64,
    pub(crate) class: Class,
    pub(crate) beats: bool,
    pub(crate) refuses: bool,
    /// Until when its data plane ends connections.
    pub(crate) ending_until: u64,
    pub(crate) fought_until: u64,
    pub(crate) is_ending: bool,
    /// As it was after its last turn.
    pub(crate) state: StateName,
}

impl Node {
    pub(crate) fn new(address: IpAddr, rank: Rank, keepalived: Option<(u8, bool)>) -> Self {
        Self {
            address,
            rank,
            keepalived,
            process: None,
            started: 0,
            inbox: Inbox::default(),
            wake_at: NEVER,
            turn: 0,
            turned: 0,
            stalled_until: 0,
            frozen_until: 0,
            expires: None,
            expiry_planned: false,
            bare_since: 0,
            class: Class::Healthy,
            beats: true,
            refuses: false,
            ending_until: 0,
            fought_until: 0,
            is_ending: false,
            state: StateName::Down,
        }
    }

    pub(crate) fn start(&mut self, now: u64) {
        let at = moment(now);
        self.process = Some(if let Some((priority, preempts)) = self.keepalived {
            Process::Keepalived(Keepalived::new(self.address, priority, preempts, at))
        } else {
            let settings = Settings {
                interval: INTERVAL,
                rank: self.rank,
                elects: true,
                lifetime: Duration::from_micros(LIFETIME),
                yields_to_foreign: false,
            };
            Process::Evenkeel(Box::new(Router::new(settings, at)))
        });
        self.started = now;
        self.turned = now;
        self.is_ending = false;
        self.inbox = Inbox::default();
        self.state = StateName::Down;
    }

    /// The process is gone, and with it what it had.
    pub(crate) fn stop(&mut self) {
        self.process = None;
        self.inbox = Inbox::default();
        self.stalled_until = 0;
        self.wake_at = NEVER;
        self.turn += 1;
        self.state = StateName::Down;
    }

    /// Puts something into what the process reads next, if there is room.
    pub(crate) fn give(&mut self, event: Event) {
        if self.process.is_some() {
            self.inbox.give(event);
        }
    }

    /// A turn begins: what the process does in it.
    pub(crate) fn begin(&mut self, now: u64) -> Vec<Step> {
        self.turned = now;
        self.wake_at = NEVER;
        let mut steps = vec![Step::Wake];
        let ending = now < self.ending_until;
        steps.extend(self.inbox.take(self.beats, ending).into_iter().map(Step::Take));
        steps.push(Step::Act);
        steps
    }

    pub(crate) fn step(&mut self, step: Step, now: u64, actions: &mut Vec<Action>) {
        let at = moment(now);
        match &mut self.process {
            Some(Process::Evenkeel(router)) => match step {
                Step::Wake => router.wake(at, actions),
                Step::Take(event) => router.take(event, at, actions),
                Step::Act => router.act(at, actions),
            },
            Some(Process::Keepalived(keepalived)) => match step {
                Step::Wake => {}
                Step::Take(event) => keepalived.take(&event, at, actions),
                Step::Act => keepalived.act(at, actions),
            },
            None => {}
        }
        self.see();
    }

    /// The answer of the kernel to an attempt to add the address.
    pub(crate) fn refuse(&mut self, now: u64, actions: &mut Vec<Action>) {
        if let Some(Process::Evenkeel(router)) = &mut self.process {
            router.take(Event::NotHeld, moment(now), actions);
        }
        self.see();
    }

    fn see(&mut self) {
        self.state = match &self.process {
            Some(Process::Evenkeel(router)) => router.state(),
            Some(Process::Keepalived(keepalived)) if keepalived.is_master() => StateName::Owner,
            Some(Process::Keepalived(_)) => StateName::Backup,
            None => StateName::Down,
        };
    }

    pub(crate) fn due(&self) -> u64 {
        let due = match &self.process {
            Some(Process::Evenkeel(router)) => router.due(),
            Some(Process::Keepalived(keepalived)) => keepalived.due(),
            None => None,
        };
        due.map_or(NEVER, micros)
    }

    pub(crate) fn is_evenkeel(&self) -> bool {
        self.keepalived.is_none()
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.state == StateName::Owner
    }

    pub(crate) fn holds(&self) -> bool {
        matches!(self.state, StateName::Owner | StateName::Yielding)
    }

    pub(crate) fn is_stalled(&self, now: u64) -> bool {
        self.stalled_until > now
    }

    /// The priority that it has if its class counts.
    pub(crate) fn priority(&self) -> u8 {
        let own = || self.class.priority(self.rank);
        self.keepalived.map_or_else(own, |(priority, _)| priority)
    }

    /// Whether its kernel answers for the address, if it is reached.
    pub(crate) fn answers(&self, now: u64) -> bool {
        self.expires.is_some() && self.frozen_until <= now
    }

    /// Whether it could own the address.
    pub(crate) fn is_able(&self, now: u64) -> bool {
        let willing =
            !self.is_evenkeel() || (self.class > Class::Fault && self.beats && !self.refuses);
        self.process.is_some() && !self.is_ending && !self.is_stalled(now) && willing
    }
}

/// The machine had been up for so long when the simulation began.
const UP: u64 = 1_000_000_000;

pub(crate) fn moment(at: u64) -> Moment {
    Duration::from_micros(UP + at)
}

fn micros(at: Moment) -> u64 {
    u64::try_from(at.as_micros()).unwrap_or(u64::MAX).saturating_sub(UP)
}
