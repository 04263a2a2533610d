//! An owner, from its claim to its last renewal: what it says, and what it answers to others who say
//! that the address is theirs.

use std::time::Duration;

use super::{
    Action, Claim, Leaving, PROBE_AGAIN, Probing, Rival, Router, State, StateName, Told, Why,
};
use crate::class::{Class, Moment};

/// When announcements follow the first: lost or early ones are what clients wait tens of seconds
/// for. Then one a [`ANNOUNCED_AGAIN`].
const ANNOUNCEMENTS: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
const ANNOUNCED_AGAIN: Duration = Duration::from_secs(60);
/// The first so many of [`ANNOUNCEMENTS`] may come faster than answers.
const AFTER_CLAIM: usize = 2;

/// Between two announcements that are answers to others, on average, and so many may come at once.
const ANSWERED_AGAIN: Duration = Duration::from_secs(1);
const ANSWERS_AT_ONCE: u32 = 5;
/// The last word comes so long after a sign of another owner: it may have announced itself after
/// it spoke.
const ANSWER_FOLLOWED: Duration = Duration::from_millis(200);

/// How often an owner asks whether it is the only one.
const OWNER_PROBES: Duration = Duration::from_secs(30);
/// How much longer than its lifetime a dead owner's kernel may answer for the address, before that
/// counts as somebody else who uses it: the kernel rounds up, and looks about once a second.
const GRACE: Duration = Duration::from_secs(1);

/// How often the pause doubles after which an address is claimed that the kernel refuses.
const MOST_DOUBLINGS: u32 = 6;

impl Router {
    pub(super) fn own(&mut self, why: Why, now: Moment, actions: &mut Vec<Action>) {
        self.peer = None;
        self.rival = None;
        self.spared_until = None;
        self.answered = None;
        (self.signed, self.word_at) = (None, None);
        self.peer_interval = self.settings.interval;
        actions.push(Action::Hold);
        let priority = self.priority(now);
        if self.settings.elects {
            // In this order: who hears the advert and lets go leaves nobody without an owner.
            actions.push(Action::Advertise(priority));
            actions.push(Action::Announce(priority));
            // Nobody is asked now: it was, where nobody was heard, and else the owner before may still
            // have the address rightly.
        }
        let grace = now + self.settings.lifetime + GRACE;
        self.state = State::Owner {
            advertised: now,
            advert_at: now + self.settings.interval,
            renew_at: now + self.renewal(),
            announce_at: now + ANNOUNCEMENTS[1],
            announced: 1,
            probe_at: grace,
            grace,
        };
        actions.push(Action::Tell(Told::State(StateName::Owner, why)));
        actions.push(Action::Tell(Told::Peer(None)));
    }

    /// What an owner does again and again.
    pub(super) fn keep(
        &mut self,
        state: &mut State,
        class: Class,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let State::Owner {
            advertised, advert_at, renew_at, announce_at, announced, probe_at, ..
        } = state
        else {
            return;
        };
        if *renew_at <= now {
            if self.wedged_since.is_none() {
                actions.push(Action::Hold);
            }
            *renew_at = now + self.renewal();
            self.refused = 0;
        }
        if !self.settings.elects {
            return;
        }
        let priority = class.priority(self.settings.rank);
        if *advert_at <= now {
            actions.push(Action::Advertise(priority));
            *advertised = now;
            // On the beat, unless it has fallen behind by more than one.
            let next = *advert_at + self.settings.interval;
            *advert_at = if next > now { next } else { now + self.settings.interval };
        }
        let has_word = self.word_at.is_some_and(|at| at <= now);
        if has_word || *announce_at <= now {
            actions.push(Action::Announce(priority));
            if has_word || *announced > AFTER_CLAIM {
                self.pace(now);
            }
            // It is the last word only if it is long enough after the last sign.
            let word = self.signed.map(|at| at + ANSWER_FOLLOWED).filter(|at| *at > now);
            self.word_at = word.map(|at| at.max(self.paced_until));
        }
        if *announce_at <= now {
            let done = ANNOUNCEMENTS.get(*announced).copied();
            *announced += 1;
            *announce_at = match (done, ANNOUNCEMENTS.get(*announced)) {
                (Some(done), Some(next)) => *announce_at + next.saturating_sub(done),
                _ => now + ANNOUNCED_AGAIN,
            };
        }
        if *probe_at <= now {
            actions.push(Action::Probe);
            *probe_at = now + OWNER_PROBES;
        }
    }

    /// An advert at once, but not two within a tenth of an interval: two routers that answer each
    /// other would fill the wire.
    pub(super) fn advertise_soon(&mut self, now: Moment) {
        let interval = self.settings.interval;
        if let State::Owner { advertised, advert_at, .. } = &mut self.state {
            *advert_at = (*advert_at).min(now.max(*advertised + interval / 10));
        }
    }

    pub(super) fn claimed(&mut self, claim: Claim, now: Moment, actions: &mut Vec<Action>) {
        if !self.settings.elects {
            return;
        }
        let own = (self.class(now).priority(self.settings.rank), &self.sources);
        match &mut self.state {
            State::Down | State::Ended | State::Yielding { .. } => {}
            State::Backup { probe: Probing::Asked { answered_by }, .. } => {
                *answered_by = Some(claim.mac);
            }
            State::Backup { probe: Probing::No, .. } => {}
            State::Owner { grace, .. } => match claim.rank {
                Some((priority, source)) if claim.announced => {
                    let greater =
                        priority > own.0 || (priority == own.0 && self.is_greater(source));
                    if greater {
                        self.rival = Some(Rival { mac: claim.mac, source, at: now });
                    }
                    self.rivalled(claim.mac, greater, now, actions);
                }
                Some(_) | None => {
                    if now < *grace {
                        return;
                    }
                    self.rivalled(claim.mac, self.settings.yields_to_foreign, now, actions);
                }
            },
        }
    }

    /// Somebody else uses the address while we do.
    fn rivalled(&mut self, mac: [u8; 6], yields: bool, now: Moment, actions: &mut Vec<Action>) {
        if yields {
            actions.push(Action::Tell(Told::Rival { mac, yields }));
            self.guarded = true;
            self.give_way(Leaving::Rival, Why::Rival(mac), now, now, actions);
        } else if self.answer(now, actions) {
            actions.push(Action::Tell(Told::Rival { mac, yields }));
        }
    }

    /// Tells the network again where the address is, because somebody said otherwise: now, and once
    /// more. False if somebody was answered just now.
    pub(super) fn answer(&mut self, now: Moment, actions: &mut Vec<Action>) -> bool {
        let is_due = self.answered.is_none_or(|at| now.saturating_sub(at) >= ANSWERED_AGAIN);
        if is_due {
            self.answered = Some(now);
        }
        if is_due && self.paced_until <= now {
            self.pace(now);
            actions.push(Action::Announce(self.priority(now)));
        }
        self.signed = Some(now);
        let word = (now + ANSWER_FOLLOWED).max(self.paced_until);
        self.word_at = Some(self.word_at.map_or(word, |at| at.min(word)));
        is_due
    }

    /// Counts an announcement that is an answer.
    fn pace(&mut self, now: Moment) {
        let burst = ANSWERED_AGAIN * (ANSWERS_AT_ONCE - 1);
        let full = (self.paced_until + burst).max(now) + ANSWERED_AGAIN;
        self.paced_until = full.saturating_sub(burst).min(now + ANSWERED_AGAIN);
    }

    pub(super) fn gone(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let withdrawn = !self.settings.elects && matches!(self.state, State::Yielding { .. });
        if !self.holds() || withdrawn {
            return;
        }
        if self.wedged_since.is_some() {
            // It may not be added again, and who does not have it does not say that it does.
            if matches!(self.state, State::Owner { .. }) {
                self.leave(Leaving::Fault, now, actions);
            }
            return;
        }
        // Who takes it away each time that it is added gets no more than one answer in the time
        // between two renewals; the next renewal adds it anyway.
        if self.added_again.is_some_and(|at| now.saturating_sub(at) < self.renewal()) {
            return;
        }
        self.added_again = Some(now);
        actions.push(Action::Hold);
        if self.settings.elects {
            self.answer(now, actions);
        }
        actions.push(Action::Tell(Told::AddedAgain));
    }

    pub(super) fn not_held(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match self.state {
            State::Owner { .. } | State::Yielding { .. } => {
                // Who has just claimed has said nothing that others must be told otherwise.
                let claimed_at = now + self.settings.lifetime + GRACE;
                let claims =
                    matches!(self.state, State::Owner { grace, .. } if grace == claimed_at);
                if self.settings.elects && !claims {
                    actions.push(Action::Advertise(0));
                }
                actions.push(Action::EndConnections);
                actions.push(Action::Release);
                if self.ended {
                    self.state = State::Ended;
                    actions.push(Action::Tell(Told::State(StateName::Ended, Why::Ended)));
                } else {
                    self.back_up(now, Why::Refused, actions);
                    self.wait(now + PROBE_AGAIN * (1 << self.refused.min(MOST_DOUBLINGS)));
                    self.refused += 1;
                }
            }
            State::Down | State::Backup { .. } | State::Ended => {}
        }
    }
}
