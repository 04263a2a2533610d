//! What a node could do with the address, as a class, and the priority that says so to the others;
//! pure.
//!
//! The class is read from the priority of an advert, so peers need no other message. Who is of a
//! better class takes the address over; within a class it stays where it is. The rank only keeps
//! routers of one class from taking over at the same moment.

use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A moment: the time since the machine was started, suspends included (`CLOCK_BOOTTIME`,
/// `clock_gettime(2)`).
pub type Moment = Duration;

/// What a node could do with the address; the better, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It must not hold the address: its data plane does not turn, or it is cut off.
    Fault,
    /// Nothing is known yet, or not any more: it holds the address only if nobody else does.
    LastResort,
    /// It accepts clients and has no ready backend for them.
    Degraded,
    /// It serves.
    Healthy,
}

impl Class {
    /// Its name in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::LastResort => "last resort",
            Self::Degraded => "degraded",
            Self::Healthy => "healthy",
        }
    }

    /// The class that an advert of this priority speaks of. 0 is how a router leaves.
    pub fn of_priority(priority: u8) -> Self {
        match priority {
            0 => Self::Fault,
            1..DEGRADED => Self::LastResort,
            DEGRADED..HEALTHY => Self::Degraded,
            HEALTHY.. => Self::Healthy,
        }
    }

    /// The priority of a node of this class and rank: 0 if it must not hold the address, and never
    /// 255, which is for routers that own the address for good (RFC 9568, 5.2.4).
    pub fn priority(self, rank: Rank) -> u8 {
        match self {
            Self::Fault => 0,
            Self::LastResort => 1 + rank.0,
            Self::Degraded => DEGRADED + rank.0,
            Self::Healthy => HEALTHY + rank.0,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

const DEGRADED: u8 = 100;
const HEALTHY: u8 = 200;

/// Which of several routers of one class takes over first: the greater, the sooner. From 0 to 47.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(u8);

impl Rank {
    /// The greatest.
    pub const MOST: u8 = 47;

    /// The rank, if it is in range.
    pub fn new(rank: u8) -> Option<Self> {
        (rank <= Self::MOST).then_some(Self(rank))
    }

    /// The rank of a node by its own address, so that one config file does for all. Four addresses
    /// in a row are 12 apart, which is 4.7 ms at an interval of 100 ms: enough for the first advert
    /// to be heard by the others. 48 addresses in a row all differ.
    pub fn of_address(address: IpAddr) -> Self {
        let last = match address {
            IpAddr::V4(address) => address.octets()[3],
            IpAddr::V6(address) => address.octets()[15],
        };
        Self(last % 4 * 12 + last / 4 % 12)
    }

    /// As a number.
    pub fn get(self) -> u8 {
        self.0
    }
}

/// How long what is seen must last before it counts, so that the address does not move for what
/// passes by itself. Evidence of backends is hardened before it comes here.
const STEADY: Duration = Duration::from_secs(1);
/// Being cut off counts sooner: on the other side somebody has the address already.
const CUT_OFF: Duration = Duration::from_millis(250);
/// After so many steps down within [`FLAPPING`], up takes longer.
const STEPS_DOWN: usize = 3;
const FLAPPING: Duration = Duration::from_secs(60);
/// How long up takes then at first; it doubles up to [`LONGEST`].
const PENALTY: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// From what is seen now to the class that counts.
#[derive(Clone, Debug, Default)]
pub struct Ladder {
    counts: Option<Class>,
    other: Option<(Class, Moment)>,
    steps_down: VecDeque<Moment>,
    penalty: Option<Duration>,
}

impl Ladder {
    /// What counts, after `seen` is seen. The first that is seen counts at once.
    pub fn step(&mut self, seen: Class, now: Moment) -> Class {
        let Some(counts) = self.counts else {
            self.counts = Some(seen);
            return seen;
        };
        if seen == counts {
            self.other = None;
            return counts;
        }
        // From one class better to another it goes on; from better to worse it begins anew.
        let since = match self.other {
            Some((other, since)) if (other > counts) == (seen > counts) => since,
            Some(_) | None => now,
        };
        self.other = Some((seen, since));
        let needed = if seen > counts {
            self.penalty.unwrap_or(STEADY)
        } else if seen == Class::Fault {
            CUT_OFF
        } else {
            STEADY
        };
        if now.saturating_sub(since) < needed {
            return counts;
        }
        if seen < counts {
            self.stepped_down(now);
        }
        self.other = None;
        self.counts = Some(seen);
        seen
    }

    /// How long up takes now, where that is longer than usual.
    pub fn penalty(&self) -> Option<Duration> {
        self.penalty
    }

    fn stepped_down(&mut self, now: Moment) {
        let last = self.steps_down.back().copied();
        if last.is_some_and(|last| now.saturating_sub(last) > LONGEST) {
            self.penalty = None;
        }
        self.steps_down.retain(|at| now.saturating_sub(*at) <= LONGEST);
        self.steps_down.push_back(now);
        let lately = |at: &&Moment| now.saturating_sub(**at) <= FLAPPING;
        let recent = self.steps_down.iter().filter(lately).count();
        if let Some(penalty) = self.penalty {
            self.penalty = Some((penalty * 2).min(LONGEST));
        } else if recent >= STEPS_DOWN {
            self.penalty = Some(PENALTY);
        }
        if self.steps_down.len() > STEPS_DOWN {
            self.steps_down.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [Class; 4] = [Class::Fault, Class::LastResort, Class::Degraded, Class::Healthy];

    fn seconds(seconds: f64) -> Moment {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_priority_tells_the_class_and_never_claims_to_own_the_address() {
        for class in CLASSES {
            for rank in 0..=Rank::MOST {
                let priority = class.priority(Rank(rank));
                assert_eq!(Class::of_priority(priority), class);
                assert_ne!(priority, 255);
            }
        }
        assert!(CLASSES.is_sorted());
    }

    #[test]
    fn neighbours_differ_by_enough_to_hear_each_other() {
        let ranks = |first: u8| (first..first + 48).map(|n| Rank::of_address([10, 0, 0, n].into()));
        for first in [0, 11, 20, 200] {
            let all: std::collections::BTreeSet<_> = ranks(first).collect();
            assert_eq!(all.len(), 48, "from {first}");
        }
        let near: Vec<u8> = ranks(21).take(3).map(Rank::get).collect();
        assert!(near[0].abs_diff(near[1]) >= 11 && near[1].abs_diff(near[2]) >= 11, "{near:?}");
    }

    #[test]
    fn what_passes_does_not_count_and_what_lasts_does() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.step(Class::Healthy, seconds(0.0)), Class::Healthy);
        assert_eq!(ladder.step(Class::Degraded, seconds(1.0)), Class::Healthy);
        assert_eq!(ladder.step(Class::Healthy, seconds(1.9)), Class::Healthy);
        assert_eq!(ladder.step(Class::Degraded, seconds(2.0)), Class::Healthy);
        assert_eq!(ladder.step(Class::Degraded, seconds(3.0)), Class::Degraded);
        assert_eq!(ladder.step(Class::Fault, seconds(4.0)), Class::Degraded);
        assert_eq!(ladder.step(Class::Fault, seconds(4.25)), Class::Fault);
    }

    #[test]
    fn who_flaps_comes_up_later_each_time() {
        let mut ladder = Ladder::default();
        let mut now = seconds(0.0);
        ladder.step(Class::Healthy, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            ladder.step(Class::Degraded, now);
            now += STEADY;
            assert_eq!(ladder.step(Class::Degraded, now), Class::Degraded);
            let down = now;
            while ladder.step(Class::Healthy, now) != Class::Healthy {
                now += Duration::from_millis(250);
            }
            waits.push(now.saturating_sub(down).as_secs());
        }
        assert_eq!(waits, [1, 1, 10, 20, 40, 80, 160, 300]);
        // After a quiet time it is forgotten.
        now += LONGEST * 2;
        ladder.step(Class::Degraded, now);
        now += STEADY;
        ladder.step(Class::Degraded, now);
        assert_eq!(ladder.penalty(), None);
    }
}
