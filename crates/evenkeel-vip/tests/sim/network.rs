//! The network: who hears whom, and when.

use crate::schedule::{EVERYBODY, Matrix, Profile};

/// What goes over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Advert(u8),
    /// With the priority if it is of an evenkeel.
    Announcement(Option<u8>),
    Probe,
    /// The answer of a kernel to a probe.
    Answer,
}

pub(crate) struct Network {
    profile: Profile,
    /// Who is connected with whom, apart from links.
    pub(crate) reach: Matrix,
    pub(crate) adverts: Matrix,
    /// Whether the link of each is up.
    pub(crate) links: [bool; 7],
    /// When the last packet arrives, by sender and receiver.
    last: [[u64; 7]; 7],
}

impl Network {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile, reach: EVERYBODY, adverts: EVERYBODY, links: [true; 7], last: [[0; 7]; 7] }
    }

    /// Whether what `from` sends comes to `to`, losses apart.
    pub(crate) fn reaches(&self, from: usize, to: usize) -> bool {
        self.links[from] && self.links[to] && self.reach[from][to]
    }

    /// Whether everybody hears everybody.
    pub(crate) fn is_clear(&self) -> bool {
        self.adverts_pass() && self.reach == EVERYBODY && self.links == [true; 7]
    }

    pub(crate) fn adverts_pass(&self) -> bool {
        self.adverts == EVERYBODY
    }

    /// Whether adverts of `from` come to `to`, losses apart.
    pub(crate) fn hears(&self, to: usize, from: usize) -> bool {
        self.reaches(from, to) && self.adverts[from][to]
    }

    /// When a message arrives; mostly once.
    pub(crate) fn send(
        &mut self,
        from: usize,
        to: usize,
        message: Message,
        now: u64,
        random: &mut fastrand::Rng,
    ) -> [Option<u64>; 2] {
        let passes = self.reaches(from, to)
            && (self.adverts[from][to] || !matches!(message, Message::Advert(_)));
        if !passes {
            return [None; 2];
        }
        let first = self.arrival(from, to, now, random);
        let is_doubled = self.profile.doubled > 0.0 && random.f64() < self.profile.doubled;
        let second = if is_doubled { self.arrival(from, to, now, random) } else { None };
        [first, second]
    }

    fn arrival(
        &mut self,
        from: usize,
        to: usize,
        now: u64,
        random: &mut fastrand::Rng,
    ) -> Option<u64> {
        let profile = &self.profile;
        if profile.loss > 0.0 && random.f64() < profile.loss {
            return None;
        }
        let mut at = now + random.u64(50..=profile.delay);
        if profile.late_share > 0.0 && random.f64() < profile.late_share {
            at += random.u64(0..=profile.late);
        }
        if !profile.overtakes {
            at = at.max(self.last[from][to] + 1);
            self.last[from][to] = at;
        }
        Some(at)
    }
}
