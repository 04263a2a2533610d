//! What happens in a simulation, decided by a seed. Times are in microseconds.

use evenkeel_vip::class::{Class, Rank};

pub(crate) const MS: u64 = 1_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// Clients of the address; they come after the nodes in every matrix.
pub(crate) const CLIENTS: usize = 2;

/// Who is connected with whom: `from` in rows, `to` in columns.
pub(crate) type Matrix = [[bool; 7]; 7];

/// How the network and the machines are all the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Profile {
    /// The share of packets that are lost.
    pub(crate) loss: f64,
    /// The share of packets that come twice.
    pub(crate) doubled: f64,
    /// The longest usual delay.
    pub(crate) delay: u64,
    /// The share of packets that take up to `late` longer.
    pub(crate) late_share: f64,
    pub(crate) late: u64,
    /// Whether a packet may overtake another of the same sender.
    pub(crate) overtakes: bool,
    /// The share of turns that begin up to `busy` late.
    pub(crate) busy_share: f64,
    pub(crate) busy: u64,
}

impl Profile {
    /// The longest time from a packet's sending to its arrival.
    pub(crate) fn longest_delay(&self) -> u64 {
        self.delay + if self.late_share > 0.0 { self.late } else { 0 }
    }

    /// The longest time from what wakes a router to its turn.
    pub(crate) fn longest_latency(&self) -> u64 {
        LATENCY + if self.busy_share > 0.0 { self.busy } else { 0 }
    }
}

/// The longest usual time from what wakes a router to its turn.
pub(crate) const LATENCY: u64 = 300;

/// Whom a change befalls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Node(usize),
    /// Who owned the address when the episode of this number began.
    Owner(usize),
}

/// A change at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Change {
    /// The process is not run for so long. With `machine`, neither is its kernel.
    Stall {
        length: u64,
        machine: bool,
    },
    Kill,
    Start,
    Move,
    End,
    Close,
    Class(Class),
    Beats(bool),
    Link(bool),
    /// Somebody removes the address.
    Remove,
    /// Somebody removes the address again and again, so long.
    Fight(u64),
    /// Whether the kernel refuses to add it.
    Refuse(bool),
    /// Who is connected with whom at all.
    Reach(Matrix),
    /// Between whom adverts pass.
    Adverts(Matrix),
}

/// A change, and whom it befalls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) at: u64,
    pub(crate) whom: Whom,
    pub(crate) change: Change,
}

/// All that happens, in the order of time.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    /// The last octets of the nodes' addresses.
    pub(crate) addresses: Vec<u8>,
    /// The rank of each.
    pub(crate) ranks: Vec<Rank>,
    /// Which of them is a keepalived, of which priority, and whether it preempts.
    pub(crate) keepalived: Option<(usize, u8, bool)>,
    pub(crate) profile: Profile,
    pub(crate) steps: Vec<Step>,
    pub(crate) length: u64,
}

pub(crate) const EVERYBODY: Matrix = [[true; 7]; 7];

struct Maker {
    random: fastrand::Rng,
    nodes: usize,
    episodes: usize,
    steps: Vec<Step>,
}

impl Schedule {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let nodes = random.usize(3..=5);
        let profile = profile(&mut random);
        let first = random.u8(2..240);
        let addresses: Vec<u8> = (0..nodes).map(|n| first + u8::try_from(n).unwrap_or(0)).collect();
        let own = |last: &u8| Rank::of_address([10, 0, 0, *last].into());
        let ranks: Vec<Rank> = if random.u32(0..8) == 0 {
            // All the same: somebody has set it by hand, or addresses are 48 apart.
            vec![own(&random.u8(0..48)); nodes]
        } else {
            addresses.iter().map(own).collect()
        };
        let keepalived = (random.u32(0..8) == 0)
            .then(|| (random.usize(0..nodes), random.u8(100..=254), random.bool()));
        let mut maker = Maker { random, nodes, episodes: 0, steps: Vec::new() };
        let mut at = 0;
        for node in 0..nodes {
            // Together, or one after the other.
            let start = if maker.random.bool() { 10 * MS } else { 500 * MS };
            let start = maker.random.u64(0..start);
            maker.push(start, Whom::Node(node), Change::Start);
            at = at.max(start);
        }
        at += maker.random.u64(3 * SECOND..5 * SECOND);
        for _ in 0..maker.random.usize(2..=4) {
            let end = maker.episode(at);
            at = if maker.random.u32(0..4) == 0 {
                // The next comes before this one is over.
                maker.random.u64(at..=end) + maker.random.u64(0..500 * MS)
            } else {
                end + maker.random.u64(4 * SECOND..6 * SECOND)
            };
        }
        let mut steps = maker.steps;
        steps.sort_by_key(|step| step.at);
        let last = steps.last().map_or(0, |step| step.at);
        let length = last + 7 * SECOND;
        Self { seed, addresses, ranks, keepalived, profile, steps, length }
    }
}

fn profile(random: &mut fastrand::Rng) -> Profile {
    let loss = match random.u32(0..4) {
        0 => random.f64() * 0.1,
        1 if random.bool() => random.f64() * 0.3,
        _ => 0.0,
    };
    let overtakes = random.u32(0..3) == 0;
    let late_share = if random.u32(0..3) == 0 { 0.01 } else { 0.0 };
    Profile {
        loss,
        doubled: if random.u32(0..3) == 0 { 0.05 } else { 0.0 },
        delay: [300, MS, 5 * MS][random.usize(0..3)],
        late_share,
        late: 50 * MS,
        overtakes,
        busy_share: if random.u32(0..3) == 0 { 0.03 } else { 0.0 },
        busy: 40 * MS,
    }
}

impl Maker {
    fn push(&mut self, at: u64, whom: Whom, change: Change) {
        self.steps.push(Step { at, whom, change });
    }

    fn node(&mut self) -> Whom {
        if self.random.bool() {
            Whom::Owner(self.episodes)
        } else {
            Whom::Node(self.random.usize(0..self.nodes))
        }
    }

    fn class(&mut self) -> Class {
        [Class::Fault, Class::LastResort, Class::Degraded, Class::Healthy][self.random.usize(0..4)]
    }

    /// Something that happens and, mostly, ends. Says when.
    #[expect(clippy::too_many_lines, reason = "a list of all that may happen")]
    fn episode(&mut self, at: u64) -> u64 {
        self.episodes += 1;
        let whom = self.node();
        match self.random.u32(0..21) {
            0 | 1 => {
                self.push(at, whom, Change::Kill);
                // As systemd restarts it, or after somebody has looked.
                let after = if self.random.bool() { 200 * MS } else { 6 * SECOND };
                let end = at + self.random.u64(100 * MS..=after);
                self.push(end, whom, Change::Start);
                end
            }
            2 | 3 => {
                let machine = self.random.bool();
                let length = match self.random.u32(0..3) {
                    0 => self.random.u64(50 * MS..500 * MS),
                    1 => self.random.u64(50 * MS..1500 * MS),
                    _ => self.random.u64(50 * MS..6 * SECOND),
                };
                if self.random.u32(0..5) == 0 {
                    for node in 0..self.nodes {
                        let at = at + self.random.u64(0..20 * MS);
                        self.push(at, Whom::Node(node), Change::Stall { length, machine });
                    }
                } else {
                    self.push(at, whom, Change::Stall { length, machine });
                }
                at + length
            }
            4 | 5 => self.restart(at, whom),
            20 => self.last_and_first(at),
            6 => {
                let mut at = at;
                for node in 0..self.nodes {
                    at = self.restart(at, Whom::Node(node)) + self.random.u64(0..600 * MS);
                }
                at
            }
            7 | 8 => {
                self.push(at, whom, Change::Move);
                at
            }
            9 => {
                let class = self.class();
                self.push(at, whom, Change::Class(class));
                let end = at + self.random.u64(100 * MS..7 * SECOND);
                self.push(end, whom, Change::Class(Class::Healthy));
                end
            }
            10 => {
                let class = self.class();
                let length = self.random.u64(SECOND..6 * SECOND);
                for node in 0..self.nodes {
                    let (down, up) = (self.random.u64(0..SECOND), self.random.u64(0..SECOND));
                    self.push(at + down, Whom::Node(node), Change::Class(class));
                    let healthy = Change::Class(Class::Healthy);
                    self.push(at + length + up, Whom::Node(node), healthy);
                }
                at + length + SECOND
            }
            11 => {
                self.push(at, whom, Change::Beats(false));
                let end = at + self.random.u64(100 * MS..4 * SECOND);
                self.push(end, whom, Change::Beats(true));
                end
            }
            12 | 13 => {
                self.push(at, whom, Change::Link(false));
                let long = if self.random.bool() { SECOND } else { 6 * SECOND };
                let end = at + self.random.u64(10 * MS..long);
                self.push(end, whom, Change::Link(true));
                end
            }
            14 => {
                if self.random.bool() {
                    self.push(at, whom, Change::Remove);
                    return at;
                }
                let length = self.random.u64(100 * MS..3 * SECOND);
                self.push(at, whom, Change::Fight(length));
                at + length
            }
            15 => {
                self.push(at, whom, Change::Refuse(true));
                let end = at + self.random.u64(100 * MS..5 * SECOND);
                self.push(end, whom, Change::Refuse(false));
                end
            }
            16 | 17 => {
                let matrix = self.partition();
                self.push(at, Whom::Node(0), Change::Reach(matrix));
                let end = at + self.random.u64(100 * MS..7 * SECOND);
                self.push(end, Whom::Node(0), Change::Reach(EVERYBODY));
                end
            }
            18 => {
                let matrix = self.any();
                self.push(at, Whom::Node(0), Change::Reach(matrix));
                let end = at + self.random.u64(100 * MS..5 * SECOND);
                self.push(end, Whom::Node(0), Change::Reach(EVERYBODY));
                end
            }
            _ => {
                let nobody = [[false; 7]; 7];
                let matrix = if self.random.u32(0..3) > 0 { nobody } else { self.any() };
                self.push(at, Whom::Node(0), Change::Adverts(matrix));
                let end = at + self.random.u64(SECOND..9 * SECOND);
                self.push(end, Whom::Node(0), Change::Adverts(EVERYBODY));
                end
            }
        }
    }

    fn restart(&mut self, at: u64, whom: Whom) -> u64 {
        self.push(at, whom, Change::End);
        let drained = at + self.random.u64(350 * MS..3 * SECOND);
        self.push(drained, whom, Change::Close);
        let end = drained + self.random.u64(50 * MS..2 * SECOND);
        self.push(end, whom, Change::Start);
        end
    }

    /// All end but one, which ends too and finds nobody, until others come.
    fn last_and_first(&mut self, at: u64) -> u64 {
        let last = Whom::Node(self.random.usize(0..self.nodes));
        let others: Vec<Whom> =
            (0..self.nodes).map(Whom::Node).filter(|one| *one != last).collect();
        for one in &others {
            self.push(at, *one, Change::End);
            self.push(at + 400 * MS, *one, Change::Close);
        }
        let alone = at + 500 * MS;
        self.push(alone, last, Change::End);
        let mut end = alone + self.random.u64(400 * MS..2 * SECOND);
        for one in &others {
            self.push(end, *one, Change::Start);
            end += self.random.u64(0..200 * MS);
        }
        end += self.random.u64(1500 * MS..3 * SECOND);
        self.push(end, last, Change::Close);
        end += 300 * MS;
        self.push(end, last, Change::Start);
        end
    }

    /// Two or three parts that hear nothing of each other.
    fn partition(&mut self) -> Matrix {
        let parts = self.random.u8(2..=3);
        let part: [u8; 7] = std::array::from_fn(|_| self.random.u8(0..parts));
        std::array::from_fn(|from| std::array::from_fn(|to| part[from] == part[to]))
    }

    /// Any shape, one-way ones among them.
    fn any(&mut self) -> Matrix {
        let cut = self.random.f64();
        std::array::from_fn(|_| std::array::from_fn(|_| self.random.f64() >= cut))
    }
}
