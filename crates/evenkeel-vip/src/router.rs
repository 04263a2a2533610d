//! Who of several routers holds the address: the state machine of VRRPv3 (RFC 9568, 6.4), with what
//! it lacks; pure.
//!
//! ```text
//!            link up                due, nobody heard              better heard
//!   Down ─────────────> Backup ─────────────────────────> Owner ────────────────> Backup
//!     ^                   ^                                 │ move, end, fault
//!     └── link down ──────┴──── successor heard ── Yielding <┘
//! ```
//!
//! What RFC 9568 lacks, and this has:
//! - **Make before break**: who leaves says so with priority 0, and keeps address and listeners
//!   until the successor is heard.
//! - **Classes**: a router takes the address over from one that is of a lesser [`Class`], and never
//!   from one of its own, so that who comes back does not pull the address back.
//! - **A lifetime**: the address is renewed by [`Action::Hold`] while the data plane beats; who is
//!   killed or hangs loses it by itself.
//! - **A guard against stalls**: who was not run for as long as the others need to take over has
//!   lost the address, whatever it believes.
//! - **Rivals**: where adverts are filtered and traffic passes, the announcements of the others are
//!   heard; the lesser one gives way, and asks before it claims again.
//!
//! Time is an argument. A caller first wakes the router, then gives it all that has come in, and
//! only then lets it act on what is due: what waited in a queue during a pause counts as heard.

mod leaving;
mod owner;
mod told;

use std::net::IpAddr;
use std::time::Duration;

pub use self::told::{Mac, Obstacle, StateName, Told, Why};
use crate::class::{Class, Moment, Rank};

/// What a router is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Between two adverts: whole centiseconds, 1 to 4095.
    pub interval: Duration,
    /// Its rank among those of its class.
    pub rank: Rank,
    /// Whether one of several is elected, or everybody who is healthy holds the address.
    pub elects: bool,
    /// How long the kernel keeps the address without being told anew: whole seconds.
    pub lifetime: Duration,
    /// Whether it gives way to somebody who uses the address and is no evenkeel.
    pub yields_to_foreign: bool,
}

/// What comes to a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its class was found out anew; must come every few seconds.
    Class(Class),
    /// The interface can be used. With the addresses that its adverts come from.
    LinkUp(Vec<IpAddr>),
    /// It cannot be used.
    LinkDown(Obstacle),
    /// An advert of another router was heard.
    Heard {
        /// Who sent it.
        source: IpAddr,
        /// Its priority; 0: it leaves.
        priority: u8,
        /// Its interval.
        interval: Duration,
    },
    /// Somebody else uses the address.
    Claim(Claim),
    /// The address was taken from the interface, and not by us.
    AddressGone,
    /// The kernel refused to add it.
    NotHeld,
    /// Whether the data plane has turned lately.
    Beats(bool),
    /// Whether connections that were to be ended are still open.
    Ending(bool),
    /// Somebody asked for a planned move.
    Move,
    /// The process ends: hand over, if somebody takes it.
    End,
    /// The process is over: let go now.
    Close,
}

/// That somebody else uses our address, as ARP or neighbour discovery tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The link-layer address that it is used with.
    pub mac: [u8; 6],
    /// It announced the address by itself, and did not just answer or ask.
    pub announced: bool,
    /// Priority and address, of another evenkeel of the same VRID.
    pub rank: Option<(u8, IpAddr)>,
}

/// What a router wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Add the address, or renew its lifetime. If that is refused, the rest of this batch is void
    /// and [`Event::NotHeld`] is the answer.
    Hold,
    /// Send an advert of this priority, in every family, to every peer.
    Advertise(u8),
    /// Tell the network where the address is: a burst, in every form. With our priority.
    Announce(u8),
    /// Ask the network whether somebody uses the address.
    Probe,
    /// End the connections that came in through the address: they cannot go on elsewhere.
    EndConnections,
    /// Take the address from the interface, where a routing daemon sees it, and accept clients for
    /// it nevertheless until [`Action::Release`].
    Withdraw,
    /// Take the address from the interface, and accept nobody for it any more.
    Release,
    /// Tell people.
    Tell(Told),
}

/// The longest time between two turns during which the address is certainly still ours, in
/// intervals: the shortest time after which another router takes over (RFC 9568, 6.1).
pub(crate) const SILENT_INTERVALS: u32 = 3;

/// A backup that is woken later than it asked for by more than this part of an interval may not be
/// the only one: everybody's machine may have stood still.
const LATE: u32 = 10;
/// What it then waits on, as a part of an interval: an owner that wakes too speaks at once.
const HEARD_AGAIN: u32 = 4;

/// When priority 0 is said again, as one may be lost.
const LEAVING: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(20)];
/// From the successor's advert to the end of connections: its announcement follows its advert, that of
/// keepalived after some milliseconds, and whoever came a moment before shall have his answer, which
/// takes a busy machine tens of them.
const HANDED_OVER: Duration = Duration::from_millis(75);
/// From the end of connections to the release: nothing can be sent from an address that is gone, so
/// that clients would not learn of it.
const ENDING: Duration = Duration::from_millis(30);

/// How much longer the release waits while connections are still being ended, and how often it is
/// looked.
const LONGEST_ENDING: Duration = Duration::from_millis(120);
const ENDING_LOOK: Duration = Duration::from_millis(5);

/// How long an owner must have been heard as degraded before one that is healthy takes the address:
/// where all servers fail, the nodes find that out within this time of each other, and the address
/// stays where it is.
const DEGRADED_FOR: Duration = Duration::from_secs(2);

/// How long an answer to a probe may take.
const PROBE_WAIT: Duration = Duration::from_millis(200);
/// When somebody answered, the next probe comes after this.
const PROBE_AGAIN: Duration = Duration::from_secs(1);
/// How long a rival is remembered whose address is not found again.
const RIVAL_REMEMBERED: Duration = Duration::from_secs(4);

/// A data plane that has not turned for so long is wedged.
const WEDGED: Duration = Duration::from_secs(1);
/// A class that was not found out anew for so long is not known any more.
const STALE: Duration = Duration::from_secs(5);
/// How long a new process waits for its first class before it claims without one.
const STARTING: Duration = Duration::from_secs(3);
/// How long after a stall a router is nobody's first choice.
const DAZED: Duration = Duration::from_secs(3);
/// How long connections outlive an address that may come back.
const SPARED: Duration = Duration::from_secs(1);

/// The router that is heard as the owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where its adverts come from.
    pub source: IpAddr,
    /// Its class, by its priority.
    pub class: Class,
}

/// An owner whose announcements are heard, and its adverts are not.
#[derive(Clone, Copy, Debug)]
struct Rival {
    mac: [u8; 6],
    source: IpAddr,
    /// When it was last known to have the address.
    at: Moment,
}

/// A router.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is by itself, beside the state")]
pub struct Router {
    settings: Settings,
    state: State,
    /// Where our adverts come from.
    sources: Vec<IpAddr>,
    class: Option<(Class, Moment)>,
    started: Moment,
    /// When it last ran.
    woken: Moment,
    /// Since when the data plane has not turned.
    wedged_since: Option<Moment>,
    dazed_until: Option<Moment>,
    /// Who was heard last as the owner, and when.
    peer: Option<(Peer, Moment)>,
    /// Who holds the address may be out of our hearing: ask before claiming.
    guarded: bool,
    /// Whom we gave way to without hearing its adverts: to hear others proves nothing about it.
    rival: Option<Rival>,
    /// When somebody who believes to be the owner was last answered.
    answered: Option<Moment>,
    /// When there was last a sign of another owner.
    signed: Option<Moment>,
    /// When the network is told once more for it.
    word_at: Option<Moment>,
    /// Until when announcements that are answers must wait.
    paced_until: Moment,
    /// When the address was last added again because somebody had taken it away.
    added_again: Option<Moment>,
    /// Since when the owner has been heard as one of a lesser class.
    lesser_since: Option<Moment>,
    /// When connections are ended that outlive the address.
    spared_until: Option<Moment>,
    /// The interval of the owner that was heard last.
    peer_interval: Duration,
    /// What keeps it down, as it was told.
    obstacle: Option<Obstacle>,
    /// A backup that woke late has waited on.
    put_off: bool,
    /// How often in a row the kernel has refused the address.
    refused: u32,
    /// Connections that were to be ended are still open, and since when it waits for that.
    ending: bool,
    waits_since: Option<Moment>,
    ended: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// There is no way to hold it.
    Down,
    Backup {
        /// When it claims the address, unless it hears of an owner.
        due: Moment,
        probe: Probing,
        /// Why the wait is over, once it is.
        because: Because,
    },
    Owner {
        advertised: Moment,
        advert_at: Moment,
        renew_at: Moment,
        announce_at: Moment,
        announced: usize,
        probe_at: Moment,
        /// Until then the kernel of the owner before may still answer for the address.
        grace: Moment,
    },
    Yielding {
        why: Leaving,
        /// `None`: it waits for a successor as long as the process is there.
        until: Option<Moment>,
        said: usize,
        say_at: Option<Moment>,
        renew_at: Moment,
        /// The successor was heard: when to end connections, and when to let go.
        end_at: Option<Moment>,
        let_go_at: Option<Moment>,
    },
    /// It never holds it again.
    Ended,
}

/// Whether a claim is preceded by a question, and how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probing {
    No,
    Asked { answered_by: Option<[u8; 6]> },
}

/// What a backup would give as the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Because {
    Silence,
    Left(IpAddr),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaving {
    Move,
    End,
    Fault,
    /// Somebody has the address whom we cannot hear as a router.
    Rival,
}

impl Router {
    /// A router that does not know its interface yet.
    pub fn new(settings: Settings, now: Moment) -> Self {
        Self {
            settings,
            state: State::Down,
            sources: Vec::new(),
            class: None,
            started: now,
            woken: now,
            wedged_since: None,
            dazed_until: None,
            peer: None,
            guarded: true,
            rival: None,
            answered: None,
            signed: None,
            word_at: None,
            paced_until: Duration::ZERO,
            added_again: None,
            lesser_since: None,
            spared_until: None,
            peer_interval: settings.interval,
            obstacle: None,
            put_off: false,
            refused: 0,
            ending: false,
            waits_since: None,
            ended: false,
        }
    }

    /// The state.
    pub fn state(&self) -> StateName {
        match self.state {
            State::Down => StateName::Down,
            State::Backup { .. } => StateName::Backup,
            State::Owner { .. } => StateName::Owner,
            State::Yielding { .. } => StateName::Yielding,
            State::Ended => StateName::Ended,
        }
    }

    /// Whether the address is, or should be, on the interface.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Owner { .. } | State::Yielding { .. })
    }

    /// Gives it the rank that its interface's address has made known.
    pub fn set_rank(&mut self, rank: Rank) {
        self.settings.rank = rank;
    }

    /// The priority that it has now.
    pub fn priority(&self, now: Moment) -> u8 {
        self.class(now).priority(self.settings.rank)
    }

    /// When it wants to be woken, whatever happens.
    pub fn due(&self) -> Option<Moment> {
        let own = match &self.state {
            State::Down | State::Ended => None,
            State::Backup { due, .. } => Some(*due),
            State::Owner { advert_at, renew_at, announce_at, probe_at, .. } => {
                if self.settings.elects {
                    let word_at = self.word_at.unwrap_or(*announce_at);
                    [*advert_at, *renew_at, *announce_at, *probe_at, word_at].into_iter().min()
                } else {
                    Some(*renew_at)
                }
            }
            State::Yielding { until, say_at, renew_at, end_at, let_go_at, .. } => {
                [*until, *say_at, *end_at, *let_go_at, Some(*renew_at)].into_iter().flatten().min()
            }
        };
        [own, self.spared_until].into_iter().flatten().min()
    }

    /// Must be called first in each turn: finds out whether it has slept too long.
    pub fn wake(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let asleep = now.saturating_sub(self.woken);
        let interval = self.settings.interval;
        self.woken = now;
        if !self.settings.elects {
            return;
        }
        let late = self.due().map_or(Duration::ZERO, |due| now.saturating_sub(due));
        let asleep = match &self.state {
            // What the others count from is our last advert, and that may be older than our last turn.
            State::Owner { advertised, .. } => asleep.max(now.saturating_sub(*advertised)),
            // It says nothing that others would miss.
            State::Yielding { .. } => late,
            State::Down | State::Backup { .. } | State::Ended => asleep,
        };
        match &mut self.state {
            State::Owner { .. } | State::Yielding { .. }
                if asleep > interval * SILENT_INTERVALS =>
            {
                // Somebody else has it by now. Nothing is sent first.
                actions.push(Action::Release);
                actions.push(Action::EndConnections);
                self.dazed_until = Some(now + DAZED);
                if self.ended {
                    self.state = State::Ended;
                    actions.push(Action::Tell(Told::State(StateName::Ended, Why::Ended)));
                } else {
                    self.back_up(now, Why::Stalled(asleep), actions);
                }
            }
            State::Backup { due, .. } if late > interval / LATE && !self.put_off => {
                // The others may have slept as long: they get the time to be heard, once.
                self.put_off = true;
                *due = now + interval / HEARD_AGAIN;
            }
            State::Down
            | State::Backup { .. }
            | State::Owner { .. }
            | State::Yielding { .. }
            | State::Ended => {}
        }
    }

    /// Takes in what has come.
    pub fn take(&mut self, event: Event, now: Moment, actions: &mut Vec<Action>) {
        match event {
            Event::Class(class) => {
                if let State::Owner { advert_at, .. } = &mut self.state
                    && self.class.is_some_and(|(known, _)| known != class)
                {
                    // Whoever is better learns of it at once.
                    *advert_at = now;
                }
                let before = self.class(now);
                self.class = Some((class, now));
                if self.class(now) < before {
                    self.is_less(now);
                }
            }
            Event::LinkUp(sources) => self.link_up(sources, now, actions),
            Event::LinkDown(obstacle) => self.link_down(obstacle, now, actions),
            Event::Heard { source, priority, interval } => {
                self.heard(source, priority, interval, now, actions);
            }
            Event::Claim(claim) => self.claimed(claim, now, actions),
            Event::AddressGone => self.gone(now, actions),
            Event::NotHeld => self.not_held(now, actions),
            Event::Beats(true) => {
                if self.wedged_since.take().is_some()
                    && let State::Owner { renew_at, .. } | State::Yielding { renew_at, .. } =
                        &mut self.state
                {
                    // It may be about to expire.
                    *renew_at = now;
                }
            }
            Event::Ending(ending) => self.ending = ending,
            Event::Beats(false) => {
                self.wedged_since.get_or_insert(now);
            }
            Event::Move => match self.state {
                State::Owner { .. } if self.settings.elects => {
                    self.leave(Leaving::Move, now, actions);
                }
                State::Owner { .. }
                | State::Down
                | State::Backup { .. }
                | State::Yielding { .. }
                | State::Ended => actions.push(Action::Tell(Told::NotMoved)),
            },
            Event::End => self.end(now, actions),
            Event::Close => self.close(now, actions),
        }
    }

    /// Must be called last in each turn: does what is due.
    pub fn act(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.spared_until.is_some_and(|until| until <= now) {
            self.spared_until = None;
            actions.push(Action::EndConnections);
        }
        let class = self.class(now);
        match self.state.clone() {
            State::Down | State::Ended => {}
            State::Backup { due, probe, because } => {
                if self.settings.elects {
                    if due <= now {
                        self.may_claim(class, probe, because, now, actions);
                    }
                } else if class == Class::Healthy {
                    self.own(Why::Alone, now, actions);
                } else if due <= now {
                    self.wait(now + STEADY_LOOK);
                }
            }
            mut state @ State::Owner { .. } => {
                let must_leave = if self.settings.elects { Class::Fault } else { Class::Degraded };
                if class <= must_leave {
                    self.leave(Leaving::Fault, now, actions);
                    return;
                }
                self.keep(&mut state, class, now, actions);
                self.state = state;
            }
            State::Yielding { why, until, said, say_at, renew_at, end_at, let_go_at } => {
                let ends = end_at.is_some_and(|at| at <= now);
                if ends {
                    actions.push(Action::EndConnections);
                }
                if let_go_at.is_some_and(|at| at <= now) {
                    let waits_since = *self.waits_since.get_or_insert(now);
                    if !self.ending || now.saturating_sub(waits_since) >= LONGEST_ENDING {
                        self.waits_since = None;
                        self.let_go(why, now, actions);
                        return;
                    }
                }
                // Or the last connections are still to be ended.
                let let_go_at = let_go_at.map(|at| if at <= now { now + ENDING_LOOK } else { at });
                if until.is_some_and(|until| until <= now) && let_go_at.is_none() {
                    self.nobody_took_over(why, now, actions);
                    return;
                }
                let mut next = (said, say_at, renew_at);
                if let Some(at) = say_at
                    && at <= now
                {
                    if let_go_at.is_none() {
                        actions.push(Action::Advertise(0));
                    }
                    next.0 += 1;
                    let pause = match (LEAVING.get(said), LEAVING.get(next.0)) {
                        (Some(done), Some(next)) => Some(next.saturating_sub(*done)),
                        // Nobody is there yet. Who comes will not be told otherwise.
                        _ if until.is_none() => Some(self.settings.interval),
                        _ => None,
                    };
                    next.1 =
                        pause.map(|pause| if at + pause > now { at + pause } else { now + pause });
                }
                if renew_at <= now {
                    if self.wedged_since.is_none() && self.settings.elects {
                        actions.push(Action::Hold);
                    }
                    next.2 = now + self.renewal();
                }
                self.state = State::Yielding {
                    why,
                    until,
                    said: next.0,
                    say_at: next.1,
                    renew_at: next.2,
                    end_at: end_at.filter(|_| !ends),
                    let_go_at,
                };
            }
        }
    }

    /// The class that counts now.
    fn class(&self, now: Moment) -> Class {
        // Before the kernel takes the address away, so that a successor has it first.
        let patience = WEDGED.min(self.settings.lifetime.saturating_sub(self.renewal()));
        let wedged = self.wedged_since.is_some_and(|at| now.saturating_sub(at) >= patience);
        let dazed = self.dazed_until.is_some_and(|until| now < until);
        match self.class {
            _ if wedged => Class::Fault,
            None => {
                let starting = now.saturating_sub(self.started) < STARTING;
                if starting { Class::Fault } else { Class::LastResort }
            }
            Some((class, at)) if dazed || now.saturating_sub(at) > STALE => {
                class.min(Class::LastResort)
            }
            Some((class, _)) => class,
        }
    }

    fn renewal(&self) -> Duration {
        self.settings.lifetime * 3 / 10
    }

    /// (256 - priority) / 256 of an interval (RFC 9568, 6.1).
    fn skew(&self, now: Moment) -> Duration {
        self.peer_interval * (256 - u32::from(self.priority(now))) / 256
    }

    fn silence(&self, now: Moment) -> Duration {
        self.peer_interval * SILENT_INTERVALS + self.skew(now)
    }

    fn back_up(&mut self, now: Moment, why: Why, actions: &mut Vec<Action>) {
        self.put_off = false;
        self.waits_since = None;
        self.state = State::Backup {
            due: now + self.silence(now),
            probe: Probing::No,
            because: Because::Silence,
        };
        actions.push(Action::Tell(Told::State(StateName::Backup, why)));
    }

    /// It is of a lesser class than before: an owner that was about to be taken over may do now.
    fn is_less(&mut self, now: Moment) {
        let own = self.class(now);
        if let State::Backup { .. } = self.state
            && let Some((peer, at)) = self.peer
            && peer.class >= own
            && now.saturating_sub(at) < self.silence(now)
        {
            self.lesser_since = None;
            self.wait(at + self.silence(now));
        }
    }

    /// Waits on as a backup, until `due` at least.
    fn wait(&mut self, due: Moment) {
        self.put_off = false;
        self.state = State::Backup { due, probe: Probing::No, because: Because::Silence };
    }

    fn link_up(&mut self, sources: Vec<IpAddr>, now: Moment, actions: &mut Vec<Action>) {
        self.sources = sources;
        match self.state {
            State::Down => {
                // What was heard before it went down says nothing any more.
                self.guarded = true;
                self.rival = None;
                self.peer_interval = self.settings.interval;
                self.back_up(now, Why::Link, actions);
            }
            State::Owner { .. } => {
                // The cable may lead elsewhere by now.
                if self.settings.elects {
                    self.answer(now, actions);
                }
            }
            State::Backup { .. } | State::Yielding { .. } | State::Ended => {}
        }
    }

    fn link_down(&mut self, obstacle: Obstacle, now: Moment, actions: &mut Vec<Action>) {
        match self.state {
            State::Ended => {}
            State::Down if self.obstacle == Some(obstacle) => {}
            State::Down => {
                self.obstacle = Some(obstacle);
                actions.push(Action::Tell(Told::State(StateName::Down, Why::Obstacle(obstacle))));
            }
            State::Owner { .. } | State::Yielding { .. } => {
                actions.push(Action::Release);
                self.spared_until = Some(now + SPARED);
                if self.ended {
                    self.state = State::Ended;
                    actions.push(Action::Tell(Told::State(StateName::Ended, Why::Ended)));
                } else {
                    self.down(obstacle, actions);
                }
            }
            State::Backup { .. } => self.down(obstacle, actions),
        }
    }

    fn down(&mut self, obstacle: Obstacle, actions: &mut Vec<Action>) {
        self.state = State::Down;
        self.obstacle = Some(obstacle);
        self.peer = None;
        actions.push(Action::Tell(Told::State(StateName::Down, Why::Obstacle(obstacle))));
        actions.push(Action::Tell(Told::Peer(None)));
    }

    fn heard(
        &mut self,
        source: IpAddr,
        priority: u8,
        interval: Duration,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if !self.settings.elects {
            return;
        }
        let class = Class::of_priority(priority);
        let (skew, own_class) = (self.skew(now), self.class(now));
        match &mut self.state {
            State::Down | State::Ended => {}
            State::Backup { due, because, probe } if priority == 0 => {
                if self.peer.is_none_or(|(peer, _)| peer.source == source) {
                    // Not later than before: it is said several times.
                    *due = (*due).min(now + skew);
                    *because = Because::Left(source);
                    // It would answer: it keeps the address until it hears us.
                    *probe = Probing::No;
                    self.hears(source, now);
                }
            }
            State::Backup { due, .. } => {
                let due = *due;
                self.hears(source, now);
                self.end_spared(actions);
                self.see(Peer { source, class }, now, actions);
                self.peer_interval = interval;
                if class >= own_class {
                    self.lesser_since = None;
                    self.wait(now + self.silence(now));
                    return;
                }
                // One of a lesser class does not put off what is due, once it stays that; nor does it
                // answer the question whether somebody else has the address.
                let lesser = now.saturating_sub(*self.lesser_since.get_or_insert(now));
                let lasts = class < Class::Degraded || lesser >= DEGRADED_FOR;
                if !lasts {
                    self.wait(now + self.silence(now));
                } else if !self.guarded {
                    self.wait(due);
                }
            }
            State::Owner { advert_at, .. } => {
                if priority == 0 {
                    *advert_at = now;
                    // It had the address, and its clients believe it.
                    self.answer(now, actions);
                    return;
                }
                let own = self.class(now).priority(self.settings.rank);
                if priority == own && source.is_ipv6() && self.sources.iter().any(IpAddr::is_ipv4) {
                    // Its adverts of IPv4 settle it: the order of addresses may be another one here.
                    return;
                }
                if priority > own || (priority == own && self.is_greater(source)) {
                    // Whoever it is hears that we had it, and announces itself anew: clients may
                    // believe that the address is here. Not with our priority: if it has become
                    // lesser meanwhile it would give way to us, who are leaving.
                    actions.push(Action::Advertise(0));
                    let why = Why::Better { source, class };
                    self.give_way(Leaving::Move, why, now + HANDED_OVER, now, actions);
                    self.see(Peer { source, class }, now, actions);
                    self.peer_interval = interval;
                } else {
                    self.advertise_soon(now);
                    if self.answer(now, actions) {
                        actions.push(Action::Tell(Told::Lesser { source, class }));
                    }
                }
            }
            State::Yielding { why: Leaving::Move, let_go_at: None, .. }
                if priority > 0 && class < own_class =>
            {
                // It would serve worse, and we would take the address back from it.
                actions.push(Action::Tell(Told::NobodyTookOver));
                self.own(Why::NobodyTookOver, now, actions);
            }
            State::Yielding { end_at, let_go_at, until, say_at, .. } => {
                if priority > 0 && let_go_at.is_none() {
                    *end_at = Some(now + HANDED_OVER);
                    *let_go_at = Some(now + HANDED_OVER + ENDING);
                    // There is nothing else to wait for.
                    (*until, *say_at) = (None, None);
                    self.peer_interval = interval;
                    self.see(Peer { source, class }, now, actions);
                }
            }
        }
    }

    /// The adverts of this router are heard: it need not be asked for.
    fn hears(&mut self, source: IpAddr, now: Moment) {
        let other = |rival: Rival| {
            rival.source != source && now.saturating_sub(rival.at) < RIVAL_REMEMBERED
        };
        if !self.rival.is_some_and(other) {
            self.guarded = false;
            self.rival = None;
        }
    }

    /// Whether this address is greater than ours of its family (RFC 9568, 6.4.3).
    fn is_greater(&self, source: IpAddr) -> bool {
        let own = self.sources.iter().find(|own| own.is_ipv4() == source.is_ipv4());
        own.is_some_and(|own| source > *own)
    }

    fn see(&mut self, mut peer: Peer, now: Moment, actions: &mut Vec<Action>) {
        // Its adverts come in both families: people know it by the one of IPv4.
        if let Some((known, at)) = self.peer
            && known.source.is_ipv4()
            && peer.source.is_ipv6()
            && now.saturating_sub(at) < self.peer_interval * SILENT_INTERVALS
        {
            peer.source = known.source;
        }
        if self.peer.is_none_or(|(known, _)| known != peer) {
            actions.push(Action::Tell(Told::Peer(Some(peer))));
        }
        self.peer = Some((peer, now));
    }

    /// The wait of a backup is over.
    fn may_claim(
        &mut self,
        class: Class,
        probe: Probing,
        because: Because,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if class == Class::Fault || self.wedged_since.is_some() {
            // It waits for one that can. What does not beat now is not renewed either.
            self.forget_peer(now, actions);
            self.wait(now + self.silence(now));
            return;
        }
        if because == Because::Silence
            && let Some((peer, at)) = self.peer
            && peer.class >= class
            && at + self.silence(now) > now
        {
            // It was about to take over from a lesser one, and is no better any more.
            self.wait(at + self.silence(now));
            return;
        }
        match probe {
            Probing::No if self.guarded => {
                actions.push(Action::Probe);
                self.state = State::Backup {
                    due: now + PROBE_WAIT,
                    probe: Probing::Asked { answered_by: None },
                    because,
                };
            }
            Probing::Asked { answered_by: Some(mac) } => {
                actions.push(Action::Tell(Told::Taken(mac)));
                if let Some(rival) = &mut self.rival
                    && rival.mac == mac
                {
                    rival.at = now;
                }
                self.wait(now + PROBE_AGAIN);
            }
            Probing::No | Probing::Asked { answered_by: None } => {
                let why = match (because, self.peer) {
                    (Because::Left(source), _) => Why::Left(source),
                    (Because::Silence, Some((peer, at))) => {
                        let silent = now.saturating_sub(at);
                        if silent < self.peer_interval * 2 && peer.class < class {
                            Why::LesserClass(peer)
                        } else {
                            Why::Silence { source: peer.source, silent }
                        }
                    }
                    (Because::Silence, None) => Why::Nobody,
                };
                self.own(why, now, actions);
            }
        }
    }

    fn forget_peer(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.peer.is_some_and(|(_, at)| now.saturating_sub(at) >= self.silence(now)) {
            self.peer = None;
            actions.push(Action::Tell(Told::Peer(None)));
        }
    }
}

/// How often a router that is not elected looks whether it may hold the address.
const STEADY_LOOK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests;
