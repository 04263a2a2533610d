//! The nodes, the network and the clients, one happening after the other.

use std::collections::BinaryHeap;
use std::fmt::Write as _;

use evenkeel_vip::router::{Action, Claim, Event, Obstacle, StateName};

use crate::client::Client;
use crate::laws::Laws;
use crate::network::{Message, Network};
use crate::node::{INTERVAL, LIFETIME, NEVER, Node};
use crate::schedule::{CLIENTS, Change, LATENCY, MS, SECOND, Schedule, Whom};
use crate::sums::Sums;

/// How often a node is told its class.
const TICK: u64 = 250 * MS;
/// How long a data plane may take to end its connections.
const ENDING: u64 = 200 * MS;
/// The longest sleep of a thread.
const LONGEST_SLEEP: u64 = SECOND;
/// By how much the kernel may be late to take an address away.
pub(crate) const LATE_EXPIRY: u64 = 150 * MS;
/// How long a kernel takes to tell of a link at most.
const LINK_TOLD: u64 = 20 * MS;

/// The simulation of one schedule.
pub(crate) struct World {
    schedule: Schedule,
    random: fastrand::Rng,
    now: u64,
    happenings: BinaryHeap<Planned>,
    serial: u64,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    network: Network,
    laws: Laws,
    sums: Sums,
    /// Whom each episode befalls, once it is known.
    befallen: Vec<Option<usize>>,
    tell: bool,
    story: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Happening {
    Step(usize),
    Turn(usize, u32),
    Arrives {
        from: usize,
        to: usize,
        message: Message,
    },
    /// The kernel tells of the link.
    Link(usize),
    /// The kernel looks whether the lifetime is over.
    Expiry(usize),
    /// Somebody takes the address away.
    Taken(usize),
    Tick(usize),
}

/// When, in the high half, and in which order, in the low one.
struct Planned {
    key: u64,
    what: Happening,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // The first is the greatest: a `BinaryHeap` gives that.
        other.key.cmp(&self.key)
    }
}

/// A law that was broken.
pub(crate) type Broken = Result<(), String>;

impl World {
    pub(crate) fn new(schedule: Schedule, tell: bool) -> Self {
        let node = |(number, last): (usize, &u8)| {
            let keepalived = schedule.keepalived.filter(|(which, ..)| *which == number);
            let keepalived = keepalived.map(|(_, priority, preempts)| (priority, preempts));
            Node::new([10, 0, 0, *last].into(), schedule.ranks[number], keepalived)
        };
        let nodes: Vec<Node> = schedule.addresses.iter().enumerate().map(node).collect();
        Self {
            random: fastrand::Rng::with_seed(schedule.seed.wrapping_mul(0x9E37_79B9)),
            now: 0,
            happenings: BinaryHeap::new(),
            serial: 0,
            laws: Laws::new(schedule.profile, nodes.len()),
            nodes,
            clients: vec![Client::new(); CLIENTS],
            network: Network::new(schedule.profile),
            sums: Sums::default(),
            befallen: Vec::new(),
            tell,
            story: String::new(),
            schedule,
        }
    }

    /// Runs it to its end; the first law that is broken is an error.
    pub(crate) fn run(mut self) -> Result<Sums, String> {
        if self.tell {
            let Schedule { addresses, ranks, keepalived, profile, .. } = &self.schedule;
            let about = format!("{addresses:?} ranks {ranks:?} {keepalived:?} {profile:?}");
            self.tell(|| about);
        }
        for (place, at) in
            self.schedule.steps.iter().map(|step| step.at).enumerate().collect::<Vec<_>>()
        {
            self.plan(at, Happening::Step(place));
        }
        for node in 0..self.nodes.len() {
            let first = self.random.u64(0..TICK);
            self.plan(first, Happening::Tick(node));
        }
        while let Some(planned) = self.happenings.pop() {
            self.now = planned.key >> 32;
            if self.now >= self.schedule.length {
                break;
            }
            if let Err(broken) = self.happen(planned.what) {
                self.tell(|| format!("BROKEN: {broken}"));
                let ms = self.now / MS;
                return Err(format!("after {ms} ms: {broken}\n{}", self.story));
            }
        }
        self.sums.time = self.schedule.length;
        if self.tell {
            print!("{}", self.story);
        }
        Ok(self.sums)
    }

    fn plan(&mut self, at: u64, what: Happening) {
        self.serial += 1;
        self.happenings.push(Planned { key: at << 32 | self.serial, what });
    }

    fn tell(&mut self, what: impl FnOnce() -> String) {
        if self.tell {
            let (ms, us) = (self.now / MS, self.now % MS);
            // A `String` takes everything.
            writeln!(self.story, "{ms:>6}.{us:03} {}", what()).unwrap_or_default();
        }
    }

    fn happen(&mut self, what: Happening) -> Broken {
        match what {
            Happening::Step(place) => self.step(place),
            Happening::Turn(node, turn) => {
                if self.nodes[node].turn == turn && self.nodes[node].process.is_some() {
                    self.turn(node)?;
                }
                Ok(())
            }
            Happening::Arrives { from, to, message } => self.arrive(from, to, message),
            Happening::Link(node) => {
                let event = if self.network.links[node] {
                    Event::LinkUp(vec![self.nodes[node].address])
                } else {
                    Event::LinkDown(Obstacle::NoCarrier)
                };
                self.give(node, event);
                Ok(())
            }
            Happening::Expiry(node) => {
                self.expire(node);
                self.look()
            }
            Happening::Taken(node) => {
                if self.now < self.nodes[node].fought_until && self.nodes[node].expires.is_some() {
                    self.tell(|| format!("{node}: somebody removes the address"));
                    self.bare(node);
                    self.give(node, Event::AddressGone);
                }
                self.look()
            }
            Happening::Tick(node) => self.tick(node),
        }
    }

    fn tick(&mut self, node: usize) -> Broken {
        self.plan(self.now + TICK, Happening::Tick(node));
        let class = self.nodes[node].class;
        self.give(node, Event::Class(class));
        for client in 0..self.clients.len() {
            if self.clients[client].entry.is_none() && self.clients[client].asks_at <= self.now {
                self.clients[client].asks_at = self.now + SECOND;
                self.send(self.nodes.len() + client, Message::Probe);
            }
        }
        self.laws.tick(self.now, &self.nodes, &self.clients, &self.network, &mut self.sums)
    }

    /// After something that laws have an eye on has changed.
    fn look(&mut self) -> Broken {
        self.laws.changed(self.now, &self.nodes, &mut self.clients, &self.network, &mut self.sums)
    }

    // The process

    fn give(&mut self, node: usize, event: Event) {
        self.nodes[node].give(event);
        self.wake(node, self.now);
    }

    /// Plans the next turn of a node for this moment, if there is none sooner.
    fn wake(&mut self, node: usize, at: u64) {
        let profile = self.schedule.profile;
        let mut latency = self.random.u64(20..LATENCY);
        if profile.busy_share > 0.0 && self.random.f64() < profile.busy_share {
            latency += self.random.u64(0..profile.busy);
        }
        let state = &mut self.nodes[node];
        if state.process.is_none() || at == NEVER {
            return;
        }
        let at = (at.max(self.now) + latency).max(state.stalled_until + latency);
        if at < state.wake_at {
            state.wake_at = at;
            state.turn += 1;
            let turn = state.turn;
            self.plan(at, Happening::Turn(node, turn));
        }
    }

    fn turn(&mut self, number: usize) -> Broken {
        self.sums.turns += 1;
        let mut asleep = Some(self.now - self.nodes[number].turned);
        let mut is_idle = true;
        let mut actions = Vec::new();
        for step in self.nodes[number].begin(self.now) {
            let before = self.nodes[number].state;
            self.nodes[number].step(step, self.now, &mut actions);
            if !actions.is_empty() || self.nodes[number].state != before {
                is_idle = false;
                self.laws.stepped(self.now, number, before, asleep, &self.nodes, &actions)?;
                self.perform(number, &mut actions)?;
                if self.nodes[number].is_owner() && before != StateName::Owner {
                    self.sums.claims += 1;
                }
                self.laws.performed(self.now, number, &self.nodes[number])?;
            }
            asleep = None;
        }
        if !is_idle {
            self.look()?;
        }
        let due = self.nodes[number].due();
        self.laws.slept(number, self.now, due)?;
        self.wake(number, due.min(self.now + LONGEST_SLEEP));
        Ok(())
    }

    /// As the thread carries out a batch, and empties it.
    fn perform(&mut self, number: usize, actions: &mut Vec<Action>) -> Broken {
        let mut refused = false;
        for action in actions.drain(..) {
            if action == Action::Hold {
                refused = self.nodes[number].refuses;
            }
            let is_void = refused && !matches!(action, Action::Release | Action::EndConnections);
            self.tell(|| {
                let how = if is_void { " is void" } else { "" };
                if let Action::Tell(told) = &action {
                    format!("{number}: told: {told:?}{how}")
                } else {
                    format!("{number}: {action:?}{how}")
                }
            });
            if is_void {
                continue;
            }
            self.laws.does(self.now, number, &self.nodes[number], &action)?;
            match action {
                Action::Hold => self.hold(number),
                Action::Advertise(priority) => self.send(number, Message::Advert(priority)),
                Action::Announce(priority) => {
                    let rank = self.nodes[number].is_evenkeel().then_some(priority);
                    self.send(number, Message::Announcement(rank));
                }
                Action::Probe => self.send(number, Message::Probe),
                Action::Release | Action::Withdraw => self.bare(number),
                Action::EndConnections => {
                    // Mostly there are none, or few.
                    let takes = if self.random.u32(0..4) == 0 { ENDING } else { MS };
                    self.nodes[number].ending_until = self.now + self.random.u64(0..takes);
                }
                Action::Tell(_) => {}
            }
        }
        if refused {
            self.nodes[number].refuse(self.now, actions);
            return self.perform(number, actions);
        }
        Ok(())
    }

    // The kernel

    fn hold(&mut self, number: usize) {
        let late = self.random.u64(0..LATE_EXPIRY);
        let node = &mut self.nodes[number];
        node.expires = Some(if node.is_evenkeel() { self.now + LIFETIME + late } else { NEVER });
        if self.now < node.fought_until {
            let at = self.now + self.random.u64(MS..10 * MS);
            self.plan(at, Happening::Taken(number));
        }
        self.plan_expiry(number);
    }

    fn plan_expiry(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if let Some(at) = node.expires
            && at != NEVER
            && !node.expiry_planned
        {
            node.expiry_planned = true;
            self.plan(at, Happening::Expiry(number));
        }
    }

    fn expire(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.expiry_planned = false;
        if node.frozen_until > self.now {
            node.expires = node.expires.map(|at| at.max(node.frozen_until));
        }
        if node.expires.is_some_and(|at| at <= self.now) {
            self.tell(|| format!("{number}: the kernel takes the address away"));
            self.bare(number);
            self.give(number, Event::AddressGone);
        }
        self.plan_expiry(number);
    }

    fn bare(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.expires.take().is_some() {
            node.bare_since = self.now;
        }
    }

    // The network

    fn send(&mut self, from: usize, message: Message) {
        let hosts = self.nodes.len() + CLIENTS;
        let receivers = match message {
            Message::Announcement(_) => hosts,
            Message::Advert(_) | Message::Probe | Message::Answer => self.nodes.len(),
        };
        for to in (0..receivers).filter(|to| *to != from) {
            self.send_to(from, to, message);
        }
    }

    fn send_to(&mut self, from: usize, to: usize, message: Message) {
        let arrivals = self.network.send(from, to, message, self.now, &mut self.random);
        for at in arrivals.into_iter().flatten() {
            self.plan(at, Happening::Arrives { from, to, message });
        }
    }

    fn arrive(&mut self, from: usize, to: usize, message: Message) -> Broken {
        self.sums.messages += 1;
        if !self.network.links[to] {
            return Ok(());
        }
        if let Some(client) = to.checked_sub(self.nodes.len()) {
            let before = self.clients[client].entry;
            match message {
                Message::Announcement(_) => self.clients[client].announced(from),
                Message::Answer => self.clients[client].answered(from),
                Message::Advert(_) | Message::Probe => {}
            }
            if self.clients[client].entry != before {
                self.tell(|| format!("client {client} believes {from}"));
            }
            return self.laws.fares(
                self.now,
                client,
                &self.nodes,
                &mut self.clients,
                &self.network,
                &mut self.sums,
            );
        }
        let mac = [2, 0, 0, 0, 0, u8::try_from(from).unwrap_or(0)];
        let event = match message {
            Message::Advert(priority) => {
                let source = self.nodes[from].address;
                Event::Heard { source, priority, interval: INTERVAL }
            }
            Message::Announcement(rank) => {
                let rank = rank.map(|priority| (priority, self.nodes[from].address));
                Event::Claim(Claim { mac, announced: true, rank })
            }
            Message::Answer => Event::Claim(Claim { mac, announced: false, rank: None }),
            Message::Probe => {
                if self.nodes[to].answers(self.now) {
                    self.send_to(to, from, Message::Answer);
                }
                return Ok(());
            }
        };
        self.give(to, event);
        Ok(())
    }

    /// Nobody has cause to announce: clients find out by their own timers, which take longer than the
    /// kernel of a dead owner answers.
    fn forget(&mut self) {
        for client in &mut self.clients {
            client.entry = None;
            client.asks_at = self.now + LIFETIME + LATE_EXPIRY;
        }
    }

    // What befalls them

    fn befalls(&mut self, whom: Whom) -> usize {
        let episode = match whom {
            Whom::Node(node) => return node,
            Whom::Owner(episode) => episode,
        };
        let owner = self.nodes.iter().position(Node::is_owner).unwrap_or(0);
        if self.befallen.len() <= episode {
            self.befallen.resize(episode + 1, None);
        }
        *self.befallen[episode].get_or_insert(owner)
    }

    fn step(&mut self, place: usize) -> Broken {
        let step = self.schedule.steps[place];
        let number = self.befalls(step.whom);
        let change = step.change;
        self.tell(|| format!("== {}", told(number, change)));
        let was_owner = self.nodes[number].is_owner();
        self.laws.befall(self.now, number, change, &self.nodes, &self.network, &mut self.sums);
        let running = self.nodes[number].process.is_some();
        match change {
            Change::Stall { length, machine } => {
                let until = self.now + length;
                let node = &mut self.nodes[number];
                if running || machine {
                    node.stalled_until = node.stalled_until.max(until);
                }
                if machine {
                    node.frozen_until = node.frozen_until.max(until);
                }
                if node.wake_at < until {
                    node.wake_at = NEVER;
                    node.turn += 1;
                    self.wake(number, until);
                }
                self.sums.stalls += u64::from(was_owner && length > 300 * MS);
            }
            Change::Kill => {
                if self.nodes[number].is_evenkeel() {
                    if self.nodes.iter().filter(|node| node.is_owner()).count() > 1 {
                        // The other may not have heard of it yet.
                        self.forget();
                    }
                    self.nodes[number].stop();
                    self.sums.kills += u64::from(was_owner);
                } else {
                    self.give(number, Event::End);
                }
            }
            Change::Start => {
                let ended = self.nodes[number].is_ending || !self.nodes[number].is_evenkeel();
                if !running || ended {
                    // What a process before it has left.
                    self.bare(number);
                    self.nodes[number].stop();
                    self.nodes[number].start(self.now);
                    self.plan(self.now + MS, Happening::Link(number));
                }
            }
            Change::Move => {
                self.give(number, Event::Move);
                self.sums.moves += u64::from(was_owner);
            }
            Change::End => {
                self.nodes[number].is_ending = running;
                self.give(number, Event::End);
            }
            Change::Close => {
                if self.nodes[number].is_ending {
                    self.give(number, Event::Close);
                }
            }
            Change::Class(class) => {
                self.nodes[number].class = class;
                self.give(number, Event::Class(class));
            }
            Change::Beats(beats) => {
                self.nodes[number].beats = beats;
                self.wake(number, self.now);
            }
            Change::Link(up) => {
                self.network.links[number] = up;
                let told = self.now + self.random.u64(MS..LINK_TOLD);
                self.plan(told, Happening::Link(number));
            }
            Change::Remove => {
                if self.nodes[number].expires.is_some() {
                    if self.now < self.nodes[number].bare_since + SECOND {
                        // The second time in a row.
                        self.nodes[number].fought_until = self.now;
                    }
                    self.bare(number);
                    self.give(number, Event::AddressGone);
                }
            }
            Change::Fight(length) => {
                self.nodes[number].fought_until = self.now + length;
                self.plan(self.now + MS, Happening::Taken(number));
            }
            Change::Refuse(refuses) => self.nodes[number].refuses = refuses,
            Change::Reach(matrix) => {
                self.network.reach = matrix;
                // Who will speak of itself, and be heard.
                let speaks = |(number, node): &(usize, &Node)| {
                    node.is_owner() && self.network.links[*number] && !node.is_stalled(self.now)
                };
                let owners = self.nodes.iter().enumerate().filter(speaks).count();
                if owners == 1 || !self.network.adverts_pass() {
                    self.forget();
                } else {
                    self.sums.heals += 1;
                }
            }
            Change::Adverts(matrix) => self.network.adverts = matrix,
        }
        self.look()
    }
}

/// A change in words.
fn told(number: usize, change: Change) -> String {
    let (what, matrix) = if let Change::Reach(matrix) = change {
        ("reach", matrix)
    } else if let Change::Adverts(matrix) = change {
        ("adverts", matrix)
    } else {
        return format!("{number}: {change:?}");
    };
    let cell = |passes: &bool| if *passes { '1' } else { '.' };
    let row = |row: &[bool; 7]| row.iter().map(cell).collect::<String>();
    format!("{what} {}", matrix.iter().map(row).collect::<Vec<_>>().join(" "))
}
