//! What must be true whatever happens. Times are in microseconds.

use std::collections::VecDeque;

use evenkeel_vip::class::Class;
use evenkeel_vip::router::{Action, StateName, Told, Why};

use crate::client::Client;
use crate::network::Network;
use crate::node::Node;
use crate::schedule::{Change, LATENCY, MS, Profile, SECOND};
use crate::sums::Sums;
use crate::world::Broken;

const INTERVAL: u64 = 100 * MS;
/// After so long without an advert another router takes over, its skew apart (RFC 9568, 6.1).
const SILENT: u64 = 3 * INTERVAL;

/// How long after the last change everything is where it stays. The longest of
/// - a stall, after which a router is the last resort for 3 s and then takes over from a lesser
///   class (0.4 s);
/// - a silent death in the hearing of a router that asks before it claims: 0.4 s until it asks,
///   0.2 s for an answer by the dead one's kernel, another 1.2 s, and another 1.2 s, by when the
///   kernel has taken the address away (1.15 s).
pub(crate) const SETTLED: u64 = 4500 * MS;

/// How long two owners who hear each other may both be: an interval until the next advert of the
/// greater, 55 ms on the way, three turns of 40 ms, 105 ms from the advert to the release, and 120 ms
/// and a turn that this waits for connections to end.
const BOTH: u64 = 540 * MS;

/// Within which time one of two owners must have given way, where adverts do not pass and
/// announcements do: a second between two announcements that are answers, and one claim.
const FILTERED: u64 = 2 * SECOND;

/// The same where some adverts pass and some do not: each may have to be told once that it does not
/// hear the owner, and owners follow each other up to the greatest.
const PARTLY_FILTERED: u64 = 8 * SECOND;

/// How long a router must have been able to own the address before somebody else may rely on it:
/// 0.25 s until its class is known, 0.4 s of silence, 0.2 s for an answer.
const READY: u64 = 1200 * MS;

/// After a kill, when whoever has nothing in its cache must reach the new owner: the lifetime and
/// what the kernel adds to it (1.15 s), and what is left for the new owner (vip.md, row 4).
const COLD: u64 = 1500 * MS;

/// How long after the sides of a partition hear each other clients must believe the winner: an
/// interval until it hears of the last of the losers, and 200 ms until it has the last word.
const HEALED: u64 = 500 * MS;

/// Priorities that are so far apart are 3.1 ms apart (RFC 9568, 6.1): enough for the first to be
/// heard within a millisecond by who heard the owner a millisecond earlier, turns included.
const APART: u8 = 8;

/// After a conflict of this length an owner has no answers left but one a second.
const QUARREL: u64 = 5 * SECOND;

/// How long the kernel may be without the address while its owner speaks: until the process is
/// told, and has its turn.
const UNAWARE: u64 = 60 * MS;

/// When 0 is said for the last time.
const LEAVING: u64 = 20 * MS;

/// How long connections may outlive a release for want of a link.
const SPARED: u64 = SECOND;

/// The turns of a node in a second, at most: four others' adverts and their doubles, their
/// announcements, and what it does by itself.
const TURNS: u32 = 500;

/// How often a node adds or renews the address in a second, at most: four renewals, as many answers
/// to who removes it, and as many claims, none sooner than 0.3 s after another.
const HOLDS: usize = 12;

/// What is kept about a node.
#[derive(Clone, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing that was seen or not")]
struct Track {
    adverts: VecDeque<u64>,
    /// When it last said that it is the owner, in this ownership.
    advertised: Option<u64>,
    announcements: VecDeque<u64>,
    holds: VecDeque<u64>,
    claims: VecDeque<u64>,
    /// Whether connections were ended since it claimed.
    ended: bool,
    /// Until when they must be.
    must_end: Option<u64>,
    released: bool,
    ended_now: bool,
    link_changed: Option<u64>,
    silent_since: Option<u64>,
    overslept: bool,
    was: Option<StateName>,
    hot: u32,
    second: u64,
    turns: u32,
    able_since: Option<u64>,
}

/// Somebody must have become the owner until then.
#[derive(Clone, Copy, Debug)]
struct Expected {
    since: u64,
    until: u64,
    from: u8,
    is_silent: bool,
    /// Whether priorities are far enough apart for only one to take over.
    is_apart: bool,
}

/// The laws, with what they have seen.
pub(crate) struct Laws {
    profile: Profile,
    tracks: Vec<Track>,
    /// When the last thing happened that the address may be lost for a moment for.
    hard: u64,
    /// When the last thing at all.
    last: u64,
    filtered: u64,
    /// When a class was last another than it is, or than others believe.
    reclassed: u64,
    owners: u8,
    both_since: [[u64; 7]; 7],
    expected: Option<Expected>,
    /// Until when nobody else may take over.
    alone_until: Option<u64>,
    cold_at: Option<u64>,
    /// When clients must believe the winner.
    healed_at: Option<u64>,
    quarrelled_at: Option<u64>,
    ticked: u64,
    ownerless_since: Option<u64>,
}

impl Laws {
    pub(crate) fn new(profile: Profile, nodes: usize) -> Self {
        Self {
            profile,
            tracks: vec![Track::default(); nodes],
            hard: 0,
            last: 0,
            filtered: 0,
            reclassed: 0,
            owners: 0,
            both_since: [[0; 7]; 7],
            expected: None,
            alone_until: None,
            cold_at: None,
            healed_at: None,
            quarrelled_at: None,
            ticked: 0,
            ownerless_since: None,
        }
    }

    /// How long until an advert was heard, of so many in a row that it cannot be chance that all
    /// were lost (one in 10^10).
    fn unlucky(&self) -> u64 {
        let mut chance = self.profile.loss;
        let mut adverts = 0;
        while chance > 1e-10 {
            chance *= self.profile.loss;
            adverts += 1;
        }
        adverts * INTERVAL
    }

    fn is_lossless(&self) -> bool {
        self.profile.loss <= 0.0
    }

    // What befalls them

    /// Before it does.
    pub(crate) fn befall(
        &mut self,
        now: u64,
        number: usize,
        change: Change,
        nodes: &[Node],
        network: &Network,
        sums: &mut Sums,
    ) {
        let was_calm = now > self.last + SETTLED && now > self.filtered + SETTLED;
        self.expected = None;
        self.cold_at = None;
        self.alone_until = None;
        self.healed_at = None;
        let (hard, until) = match change {
            Change::Stall { length, .. } => (true, now + length),
            Change::Fight(length) => (true, now + length),
            Change::Kill
            | Change::Beats(_)
            | Change::Link(_)
            | Change::Remove
            | Change::Refuse(_)
            | Change::Reach(_) => (true, now),
            Change::Adverts(_) => {
                self.filtered = now;
                self.hard = self.hard.max(now);
                return;
            }
            Change::Start | Change::Move | Change::End | Change::Close | Change::Class(_) => {
                (false, now)
            }
        };
        self.last = self.last.max(until);
        if matches!(
            change,
            Change::Class(_) | Change::Beats(_) | Change::Stall { .. } | Change::Start
        ) {
            self.reclassed = self.reclassed.max(until);
        }
        if hard {
            self.hard = self.hard.max(until);
        }
        if matches!(change, Change::Kill | Change::Start) {
            let track = &mut self.tracks[number];
            (track.advertised, track.must_end) = (None, None);
        }
        if let Change::Link(_) = change {
            self.tracks[number].link_changed = Some(now);
        }
        if let Change::Reach(matrix) = change
            && matrix == crate::schedule::EVERYBODY
        {
            self.quarrelled(now, nodes, network);
            // Who removes the address is answered out of the same purse.
            let quarrel = self.quarrelled_at.is_some_and(|at| now < at + QUARREL)
                || nodes.iter().any(|node| now < node.fought_until + QUARREL);
            let way = self.profile.longest_delay() + 2 * self.profile.longest_latency();
            self.healed_at = Some(now + HEALED + way + if quarrel { SECOND } else { 0 });
        }
        let is_owner = nodes[number].is_owner();
        if was_calm && is_owner && self.is_lossless() && network.is_clear() {
            self.expect(now, number, change, nodes, sums);
        }
    }

    fn expect(&mut self, now: u64, number: usize, change: Change, nodes: &[Node], sums: &mut Sums) {
        let others = nodes.iter().enumerate().filter(|(other, node)| {
            *other != number
                // keepalived begins its wait anew each time that 0 is said.
                && node.is_evenkeel()
                && node.is_able(now)
                && self.tracks[*other].able_since.is_some_and(|since| now > since + READY)
        });
        // keepalived does not move on request, and leaves when it is killed.
        if !nodes[number].is_evenkeel() && matches!(change, Change::Move | Change::Kill) {
            return;
        }
        let priorities: Vec<u8> = others.map(|(_, node)| node.priority()).collect();
        let Some(best) = priorities.iter().max().copied() else { return };
        let profile = &self.profile;
        let is_apart = profile.longest_delay() <= MS
            && profile.longest_latency() <= LATENCY
            && nodes.iter().all(Node::is_evenkeel)
            && are_apart(priorities);
        let skew = INTERVAL * (256 - u64::from(best)) / 256;
        let on_the_way = self.profile.longest_delay() + 2 * self.profile.longest_latency() + MS;
        // An advert that the first 0 has overtaken makes it wait for the last.
        let on_the_way = on_the_way + if profile.overtakes { LEAVING } else { 0 };
        let (within, is_silent) = match change {
            Change::Kill | Change::Link(false) => (SILENT + skew + on_the_way, true),
            Change::Stall { length, .. } if length > 600 * MS => (SILENT + skew + on_the_way, true),
            // It is told, it says so, it is heard, and waited for.
            Change::Move | Change::End => {
                (skew + on_the_way + 2 * self.profile.longest_latency(), false)
            }
            Change::Stall { .. }
            | Change::Start
            | Change::Close
            | Change::Class(_)
            | Change::Beats(_)
            | Change::Link(true)
            | Change::Remove
            | Change::Fight(_)
            | Change::Refuse(_)
            | Change::Reach(_)
            | Change::Adverts(_) => return,
        };
        if change == Change::Kill {
            self.cold_at = Some(now + COLD);
        }
        sums.planned += u64::from(!is_silent);
        let from = 1 << number;
        self.expected =
            Some(Expected { since: now, until: now + within, from, is_silent, is_apart });
    }

    // Of one turn

    /// Before what a router wants done is done. With how long it slept, at the beginning of a turn.
    pub(crate) fn stepped(
        &mut self,
        now: u64,
        number: usize,
        before: StateName,
        asleep: Option<u64>,
        nodes: &[Node],
        actions: &[Action],
    ) -> Broken {
        let node = &nodes[number];
        if now > self.reclassed + SETTLED {
            for action in actions {
                if let Action::Tell(Told::State(_, Why::Better { source, .. })) = action
                    && let Some(other) = nodes.iter().find(|other| other.address == *source)
                    && (other.priority(), other.address) < (node.priority(), node.address)
                {
                    return Err(format!("{number} gives way to {source}, which is lesser"));
                }
            }
        }
        let track = &mut self.tracks[number];
        track.was = Some(before);
        track.released = false;
        track.ended_now = false;
        let held = matches!(before, StateName::Owner | StateName::Yielding);
        track.overslept = false;
        if let Some(asleep) = asleep.filter(|_| held && node.is_evenkeel()) {
            let quiet = track.advertised.filter(|_| before == StateName::Owner);
            let quiet = quiet.map_or(asleep, |at| asleep.max(now - at));
            track.overslept = quiet > SILENT;
            let speaks = actions
                .iter()
                .any(|action| matches!(action, Action::Advertise(1..) | Action::Announce(_)));
            if track.overslept && (actions.first() != Some(&Action::Release) || speaks) {
                let ms = quiet / MS;
                return Err(format!("{number} stood still for {ms} ms, and goes on as the owner"));
            }
        }
        let becomes = node.is_owner() && before != StateName::Owner;
        if becomes {
            track.claims.push_back(now);
            track.ended = false;
            track.must_end = None;
        }
        Ok(())
    }

    /// Before one action is done.
    pub(crate) fn does(&mut self, now: u64, number: usize, node: &Node, action: &Action) -> Broken {
        if !node.is_evenkeel() {
            return Ok(());
        }
        let track = &mut self.tracks[number];
        let is_bare = node.expires.is_none()
            && now > node.bare_since + UNAWARE
            && now > node.fought_until + SECOND;
        match action {
            Action::Hold => {
                if track.silent_since.is_some_and(|since| now > since + UNAWARE) {
                    return Err(format!("{number} renews the address, and no data plane beats"));
                }
                track.holds.push_back(now);
                while track.holds.front().is_some_and(|at| *at + SECOND < now) {
                    track.holds.pop_front();
                }
                if track.holds.len() > HOLDS {
                    let many = track.holds.len();
                    return Err(format!("{number} adds the address {many} times in a second"));
                }
            }
            Action::Advertise(0) => {
                track.advertised = None;
                track.adverts.push_back(now);
            }
            Action::Advertise(_) => {
                if is_bare {
                    return Err(format!("{number} says that it is the owner, without the address"));
                }
                if let Some(at) = track.advertised
                    && now > at + SILENT
                {
                    let ms = (now - at) / MS;
                    return Err(format!(
                        "{number} was silent for {ms} ms, and says that it is the owner"
                    ));
                }
                track.advertised = Some(now);
                track.adverts.push_back(now);
            }
            Action::Announce(_) => {
                if is_bare {
                    return Err(format!("{number} announces an address that it does not have"));
                }
                track.announcements.push_back(now);
            }
            Action::EndConnections => {
                track.ended = true;
                track.ended_now = true;
                track.must_end = None;
            }
            Action::Release => {
                track.advertised = None;
                track.released = true;
                if !track.ended {
                    let for_the_link =
                        track.link_changed.is_some_and(|at| now < at + SILENT + UNAWARE);
                    if !track.overslept && !for_the_link {
                        return Err(format!("{number} releases, and connections are open"));
                    }
                    track.must_end = Some(now + SPARED);
                }
            }
            Action::Withdraw => return Err(format!("{number} withdraws, and is elected")),
            Action::Probe | Action::Tell(_) => {}
        }
        self.paced(now, number)
    }

    /// Adverts: ten in an interval. Announcements: six after each claim; as answers five at once and
    /// one a second, at either end of ten seconds too; and the one of each minute.
    fn paced(&mut self, now: u64, number: usize) -> Broken {
        let track = &mut self.tracks[number];
        while track.adverts.front().is_some_and(|at| *at + INTERVAL < now) {
            track.adverts.pop_front();
        }
        if track.adverts.len() > 10 {
            return Err(format!("{number} sends {} adverts in 100 ms", track.adverts.len()));
        }
        while track.announcements.front().is_some_and(|at| *at + 10 * SECOND < now) {
            track.announcements.pop_front();
        }
        while track.claims.front().is_some_and(|at| *at + 15 * SECOND < now) {
            track.claims.pop_front();
        }
        let allowed = 6 * track.claims.len() + 17;
        if track.announcements.len() > allowed {
            let many = track.announcements.len();
            return Err(format!("{number} announces {many} times in 10 s"));
        }
        Ok(())
    }

    /// After all was done.
    pub(crate) fn performed(&mut self, now: u64, number: usize, node: &Node) -> Broken {
        if !node.is_evenkeel() {
            return Ok(());
        }
        let track = &mut self.tracks[number];
        if !node.holds() && node.expires.is_some() {
            return Err(format!("{number} is {} and has the address", node.state.as_str()));
        }
        let link = track.link_changed.is_some_and(|at| now < at + SILENT + UNAWARE);
        if track.released && !track.ended_now && link {
            track.must_end.get_or_insert(now + SPARED);
        }
        if track.released && !track.ended_now && track.must_end.is_none() {
            return Err(format!("{number} releases, and spares who came in last"));
        }
        if track.ended_now
            && !track.released
            && node.is_owner()
            && track.was == Some(StateName::Owner)
        {
            return Err(format!("{number} ends connections, and stays the owner"));
        }
        Ok(())
    }

    /// After a turn: when it wants the next.
    pub(crate) fn slept(&mut self, number: usize, now: u64, due: u64) -> Broken {
        let track = &mut self.tracks[number];
        if due <= now {
            track.hot += 1;
            if track.hot > 3 {
                return Err(format!("{number} wants to be woken again and again"));
            }
        } else {
            track.hot = 0;
        }
        if track.second != now / SECOND {
            track.second = now / SECOND;
            track.turns = 0;
        }
        track.turns += 1;
        if track.turns > TURNS {
            return Err(format!("{number} has more than {TURNS} turns in a second"));
        }
        Ok(())
    }

    // Of all of them

    /// After anything has changed.
    pub(crate) fn changed(
        &mut self,
        now: u64,
        nodes: &[Node],
        clients: &mut [Client],
        network: &Network,
        sums: &mut Sums,
    ) -> Broken {
        for (track, node) in self.tracks.iter_mut().zip(nodes) {
            if !node.is_able(now) {
                track.able_since = None;
            } else if track.able_since.is_none() {
                track.able_since = Some(now);
            }
            if node.beats {
                track.silent_since = None;
            } else if track.silent_since.is_none() {
                track.silent_since = Some(now);
            }
        }
        for client in 0..clients.len() {
            self.fares(now, client, nodes, clients, network, sums)?;
        }
        let owners = nodes.iter().enumerate().filter(|(_, node)| node.is_owner());
        let owners = owners.fold(0_u8, |owners, (number, _)| owners | 1 << number);
        let (before, after) = (self.owners, owners);
        self.owners = owners;
        self.quarrelled(now, nodes, network);
        self.pair(now, nodes, network);
        if before != after {
            self.moved(now, before, after, nodes, network, sums)?;
        }
        self.is_held(now, nodes, network)
    }

    /// The owners are others than before.
    fn moved(
        &mut self,
        now: u64,
        before: u8,
        after: u8,
        nodes: &[Node],
        network: &Network,
        sums: &mut Sums,
    ) -> Broken {
        let calm = now > self.last + SETTLED && now > self.filtered + SETTLED;
        // keepalived hears adverts, and nothing else.
        let hear = network.adverts_pass() || nodes.iter().all(Node::is_evenkeel);
        if calm && hear && parts(now, nodes, network).is_some() {
            if self.is_lossless() {
                return Err(format!("owners {before:05b} -> {after:05b}, and nothing happened"));
            }
            sums.lossy_claims += u64::from((after & !before).count_ones());
        }
        if after & !before != 0 && self.alone_until.is_some_and(|until| now < until) {
            return Err(format!("two take over: owners {before:05b} -> {after:05b}"));
        }
        if let Some(expected) = self.expected
            && after & !before & !expected.from != 0
        {
            self.expected = None;
            self.alone_until = expected.is_apart.then_some(now + SILENT);
            let took = now - expected.since;
            if expected.is_silent {
                sums.failovers += 1;
                sums.failover += took;
                sums.longest_failover = sums.longest_failover.max(took);
            }
            if now > expected.until {
                return Err(late(expected, now));
            }
        }
        Ok(())
    }

    /// Since when pairs of owners hear each other.
    fn pair(&mut self, now: u64, nodes: &[Node], network: &Network) {
        if self.owners == 0 {
            self.both_since = [[0; 7]; 7];
            return;
        }
        for (a, one) in nodes.iter().enumerate() {
            for (b, other) in nodes.iter().enumerate().skip(a + 1) {
                let both = one.holds()
                    && other.holds()
                    && (one.is_owner() || other.is_owner())
                    && network.hears(a, b)
                    && network.hears(b, a)
                    && !one.is_stalled(now)
                    && !other.is_stalled(now);
                let since = &mut self.both_since[a][b];
                if !both {
                    *since = 0;
                } else if *since == 0 {
                    *since = now;
                }
            }
        }
    }

    /// Whether owners hear of each other.
    fn quarrelled(&mut self, now: u64, nodes: &[Node], network: &Network) {
        let owner = |number: &usize| self.owners & 1 << number != 0;
        let quarrel = (0..nodes.len())
            .filter(owner)
            .any(|a| (0..nodes.len()).filter(owner).any(|b| a != b && network.reaches(a, b)));
        if quarrel {
            self.quarrelled_at = Some(now);
        }
    }

    /// Whether nothing but planned moves happens, and somebody could own the address.
    fn is_planned(&self, now: u64, nodes: &[Node], network: &Network) -> bool {
        let gentle =
            self.is_lossless() && !self.profile.overtakes && self.profile.late_share <= 0.0;
        let planned = now > self.hard + SETTLED && now > self.filtered + SETTLED;
        // keepalived breaks before it makes.
        let all_make = nodes.iter().all(Node::is_evenkeel);
        let ready = |(node, track): (&Node, &Track)| {
            node.is_able(now) && track.able_since.is_some_and(|since| now > since + READY)
        };
        gentle
            && planned
            && all_make
            && network.is_clear()
            && nodes.iter().zip(&self.tracks).any(ready)
    }

    /// With nothing but planned moves, somebody always has the address.
    fn is_held(&self, now: u64, nodes: &[Node], network: &Network) -> Broken {
        if !nodes.iter().any(|node| node.answers(now)) && self.is_planned(now, nodes, network) {
            return Err("nobody has the address, and all was planned".into());
        }
        Ok(())
    }

    /// From time to time.
    pub(crate) fn tick(
        &mut self,
        now: u64,
        nodes: &[Node],
        clients: &[Client],
        network: &Network,
        sums: &mut Sums,
    ) -> Broken {
        let passed = now - self.ticked;
        self.ticked = now;
        let patience = BOTH + self.unlucky();
        for (a, row) in self.both_since.iter().enumerate() {
            for (b, since) in row.iter().enumerate() {
                if *since > 0 && now > since + patience {
                    let ms = (now - since) / MS;
                    return Err(format!("{a} and {b} hear each other, and both own for {ms} ms"));
                }
            }
        }
        if let Some(expected) = self.expected
            && now > expected.until
        {
            return Err(late(expected, now));
        }
        for (number, (track, node)) in self.tracks.iter_mut().zip(nodes).enumerate() {
            if node.process.is_none() {
                track.must_end = None;
            }
            let slack = self.profile.longest_latency() + UNAWARE;
            if track.must_end.is_some_and(|at| now > at.max(node.stalled_until) + slack) {
                return Err(format!("{number} has lost the address, and spares its connections"));
            }
        }
        self.cold(now, nodes)?;
        self.heal(now, nodes, clients, network)?;
        let is_partly = !network.adverts_pass() && network.adverts != [[false; 7]; 7];
        let filtered = if is_partly { PARTLY_FILTERED } else { FILTERED };
        if now > self.last + SETTLED && now > self.filtered + filtered {
            self.settled(now, passed, nodes, clients, network, sums)?;
        } else {
            self.ownerless_since = None;
        }
        Ok(())
    }

    /// Nothing has happened for long enough.
    fn settled(
        &mut self,
        now: u64,
        passed: u64,
        nodes: &[Node],
        clients: &[Client],
        network: &Network,
        sums: &mut Sums,
    ) -> Broken {
        let is_filtered = !network.adverts_pass();
        // keepalived hears adverts, and nothing else.
        if is_filtered && !nodes.iter().all(Node::is_evenkeel) {
            return Ok(());
        }
        let Some(parts) = parts(now, nodes, network) else { return Ok(()) };
        if !self.is_lossless() {
            return self.lossy(now, passed, nodes, network, sums);
        }
        for part in 0..nodes.len() {
            let members = || nodes.iter().zip(parts).filter(|(_, of)| *of == Some(part));
            let able = members().any(|(node, _)| node.is_able(now));
            let owners = members().filter(|(node, _)| node.is_owner()).count();
            if able {
                sums.checks += 1;
            }
            let others = members().filter(|(node, _)| node.is_evenkeel() && node.is_able(now));
            let best = others.map(|(node, _)| node.class).max();
            let owned = members().filter(|(node, _)| node.is_owner());
            let owned = owned.map(|(node, _)| Class::of_priority(node.priority())).max();
            // The class is in the adverts; who was told that it does not hear all asks for 4 s.
            let heard = !is_filtered && now > self.filtered + SETTLED + 2 * SECOND;
            if owners == 1 && owned < best && heard {
                return Err(format!("the owner is of a lesser class (the part of {part})"));
            }
            if able && owners != 1 {
                return Err(format!("{owners} owners where one belongs (the part of {part})"));
            }
        }
        let able = nodes.iter().any(|node| node.is_able(now));
        // The last of them have announced themselves until then, and the owner once more after.
        // A keepalived gives way in silence.
        let announced =
            now > self.filtered + FILTERED + SECOND && nodes.iter().all(Node::is_evenkeel);
        if network.is_clear() && able && announced {
            for (number, client) in clients.iter().enumerate() {
                sums.client_checks += 1;
                if let Some(entry) = client.entry
                    && !nodes[entry].is_owner()
                {
                    return Err(format!("client {number} believes {entry}, which is no owner"));
                }
            }
        }
        Ok(())
    }

    /// Where packets are lost there is no bound for who claims, only odds.
    fn lossy(
        &mut self,
        now: u64,
        passed: u64,
        nodes: &[Node],
        network: &Network,
        sums: &mut Sums,
    ) -> Broken {
        let able = nodes.iter().filter(|node| node.is_able(now)).count();
        if !network.is_clear() || able == 0 {
            self.ownerless_since = None;
            return Ok(());
        }
        if self.owners == 0 {
            let since = *self.ownerless_since.get_or_insert(now);
            if now > since + SECOND {
                return Err(format!("no owner for {} ms, for loss alone", (now - since) / MS));
            }
        } else {
            self.ownerless_since = None;
        }
        // A backup takes over when three adverts in a row are lost, after one that was not.
        let loss = self.profile.loss;
        let adverts = f64::from(u32::try_from(passed / MS).unwrap_or(0)) / 100.0;
        let backups = f64::from(u32::try_from(able - 1).unwrap_or(0));
        sums.lossy += passed;
        sums.expected_claims += adverts * backups * loss.powi(3) * (1.0 - loss);
        Ok(())
    }

    /// After a kill: whoever asks is answered by the new owner and by nobody else.
    fn cold(&mut self, now: u64, nodes: &[Node]) -> Broken {
        if self.cold_at.is_none_or(|at| now < at) {
            return Ok(());
        }
        self.cold_at = None;
        let able = nodes.iter().any(|node| node.is_able(now));
        let answers = |node: &&Node| node.answers(now);
        let owners = nodes.iter().filter(answers).filter(|node| node.is_owner()).count();
        if able && (owners != 1 || nodes.iter().filter(answers).count() != 1) {
            return Err(format!("{} ms after a kill, {owners} owners answer", COLD / MS));
        }
        Ok(())
    }

    /// After a heal: clients believe the winner.
    fn heal(&mut self, now: u64, nodes: &[Node], clients: &[Client], network: &Network) -> Broken {
        if self.healed_at.is_none_or(|at| now < at) {
            return Ok(());
        }
        self.healed_at = None;
        // A keepalived gives way in silence: nobody learns that it was an owner.
        let all_tell = nodes.iter().all(Node::is_evenkeel);
        // Who asked meanwhile may have been answered by the kernel of a dead owner.
        let haunts = |node: &Node| node.expires.is_some() || now < node.bare_since + 3 * SECOND;
        let is_haunted = nodes.iter().any(|node| node.process.is_none() && haunts(node));
        if !all_tell
            || is_haunted
            || !self.is_lossless()
            || !network.is_clear()
            || self.owners.count_ones() != 1
        {
            return Ok(());
        }
        for (number, client) in clients.iter().enumerate() {
            if let Some(entry) = client.entry
                && !nodes[entry].is_owner()
            {
                return Err(format!("after a heal, client {number} still believes {entry}"));
            }
        }
        Ok(())
    }

    /// How a client fares from now on.
    pub(crate) fn fares(
        &self,
        now: u64,
        number: usize,
        nodes: &[Node],
        clients: &mut [Client],
        network: &Network,
        sums: &mut Sums,
    ) -> Broken {
        let client = &mut clients[number];
        let host = nodes.len() + number;
        let is_served = client.entry.is_some_and(|entry| {
            let node = &nodes[entry];
            node.answers(now)
                && node.process.is_some()
                && !node.is_stalled(now)
                && network.reaches(host, entry)
                && network.reaches(entry, host)
        });
        match (is_served, client.out_since) {
            (true, Some(since)) => {
                sums.outage += now - since;
                client.out_since = None;
            }
            (false, None) => {
                client.out_since = Some(now);
                if self.profile.longest_delay() <= MS
                    && self.profile.longest_latency() <= LATENCY
                    && are_apart(nodes.iter().map(Node::priority).collect())
                    && self.is_planned(now, nodes, network)
                {
                    return Err(format!("client {number} is out, and all was planned"));
                }
            }
            (true, None) | (false, Some(_)) => {}
        }
        Ok(())
    }
}

/// Whether only one of these takes over.
fn are_apart(mut priorities: Vec<u8>) -> bool {
    priorities.sort_unstable();
    priorities.windows(2).all(|pair| pair[1] - pair[0] >= APART)
}

fn late(expected: Expected, now: u64) -> String {
    let (within, took) = (expected.until - expected.since, now - expected.since);
    let what = if expected.is_silent { "a silent death" } else { "a planned move" };
    format!("{what} has no successor after {} ms; {} ms are allowed", took / MS, within / MS)
}

/// The parts into which the nodes fall, if all in a part hear each other and nobody else. By part,
/// named by its first.
fn parts(now: u64, nodes: &[Node], network: &Network) -> Option<[Option<usize>; 7]> {
    let mut parts = [None; 7];
    for (a, node) in nodes.iter().enumerate() {
        if node.process.is_none() || node.is_stalled(now) || !network.links[a] {
            continue;
        }
        let first = (0..a).find(|b| parts[*b] == Some(*b) && network.reaches(a, *b));
        parts[a] = Some(first.unwrap_or(a));
    }
    for a in 0..nodes.len() {
        for b in 0..nodes.len() {
            if a != b
                && let (Some(one), Some(other)) = (parts[a], parts[b])
                && (one == other) != network.reaches(a, b)
            {
                return None;
            }
        }
    }
    Some(parts)
}
