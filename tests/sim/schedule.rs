//! What happens in a simulation, decided by a seed.

use std::time::Duration;

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It answers within milliseconds.
    Well,
    /// It has no CPU to spare: its kernel answers at once, it takes up to a third of a second.
    Busy,
    /// It says that it shuts down, and serves what it has.
    ShuttingDown,
    /// Its process is gone: its kernel refuses.
    Gone,
    /// It answers that its etcd fails.
    EtcdLost,
    /// Its process does nothing; its kernel acknowledges and accepts.
    Frozen,
    /// Its host does not answer.
    CutOff,
}

impl Condition {
    /// Whether something of it still answers: such a server is never reset.
    pub(crate) fn lives(self) -> bool {
        match self {
            Self::Well | Self::Busy | Self::ShuttingDown | Self::Gone | Self::EtcdLost => true,
            Self::Frozen | Self::CutOff => false,
        }
    }
}

/// A change at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Server(usize, Condition),
    /// Our own link to all of them.
    Uplink(bool),
    /// Our own process is not run for so long.
    Stall(Duration),
}

/// All that happens, in the order of time.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) seed: u64,
    pub(crate) servers: usize,
    /// Whether clients are there, who ask something all the time.
    pub(crate) traffic: bool,
    /// The share of packets of handshakes that are lost.
    pub(crate) loss: f64,
    /// Milliseconds from the start, and what happens.
    pub(crate) changes: Vec<(u64, Change)>,
    /// Milliseconds that it lasts.
    pub(crate) length: u64,
}

impl Schedule {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let servers = random.usize(2..=5);
        let mut changes = Vec::new();
        let mut at = 3000 + random.u64(0..1000);
        for _ in 0..random.usize(1..6) {
            match random.u32(0..10) {
                0 => {
                    changes.push((at, Change::Uplink(false)));
                    // Sometimes nearly as long as the brake holds.
                    at += if random.u32(0..3) == 0 {
                        random.u64(11_000..13_000)
                    } else {
                        random.u64(50..8000)
                    };
                    changes.push((at, Change::Uplink(true)));
                }
                1 => {
                    changes.push((at, Change::Stall(Duration::from_millis(random.u64(100..6000)))));
                }
                2 => {
                    // What befalls all at once: etcd without a quorum, or a saturated rack.
                    let all = [Condition::EtcdLost, Condition::Busy];
                    let condition = all[random.usize(0..all.len())];
                    for server in 0..servers {
                        changes.push((at + random.u64(0..100), Change::Server(server, condition)));
                    }
                    at += random.u64(1000..8000);
                    for server in 0..servers {
                        changes.push((
                            at + random.u64(0..100),
                            Change::Server(server, Condition::Well),
                        ));
                    }
                }
                _ => {
                    let one = [
                        Condition::Busy,
                        Condition::ShuttingDown,
                        Condition::Gone,
                        Condition::EtcdLost,
                        Condition::Frozen,
                        Condition::Frozen,
                        Condition::CutOff,
                        Condition::CutOff,
                    ];
                    let server = random.usize(0..servers);
                    let condition = one[random.usize(0..one.len())];
                    changes.push((at, Change::Server(server, condition)));
                    at += random.u64(30..8000);
                    if random.u32(0..4) > 0 {
                        changes.push((at, Change::Server(server, Condition::Well)));
                    }
                }
            }
            at += random.u64(0..6000);
        }
        changes.sort_by_key(|(at, _)| *at);
        let loss = if random.bool() { 0.0 } else { random.f64() * 0.02 };
        Self { seed, servers, traffic: random.u32(0..4) > 0, loss, changes, length: at + 8000 }
    }
}
