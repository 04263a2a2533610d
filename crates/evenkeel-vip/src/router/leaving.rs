//! How an owner leaves: it says so, keeps the address until a successor is heard, ends the connections
//! that cannot follow, and lets go.

use std::time::Duration;

use super::{Action, ENDING, LEAVING, Leaving, PROBE_AGAIN, Router, State, StateName, Told, Why};
use crate::class::{Class, Moment};

/// What a successor gets beside one interval, which is the longest skew.
const MARGIN: Duration = Duration::from_millis(200);
const FAULT_MARGIN: Duration = Duration::from_millis(50);

/// How long clients still come in after a route is withdrawn, until every router has heard of it.
const WITHDRAWN: Duration = Duration::from_millis(500);

impl Router {
    pub(super) fn leave(&mut self, why: Leaving, now: Moment, actions: &mut Vec<Action>) {
        let renew_at = match self.state {
            State::Owner { renew_at, .. } => renew_at,
            State::Down | State::Backup { .. } | State::Yielding { .. } | State::Ended => now,
        };
        self.state = if self.settings.elects {
            actions.push(Action::Advertise(0));
            // Whoever must not have it waits for those that serve, and for nobody else.
            let margin = if why == Leaving::Fault { FAULT_MARGIN } else { MARGIN };
            State::Yielding {
                why,
                until: Some(now + self.settings.interval + margin),
                said: 0,
                say_at: Some(now + LEAVING[0]),
                renew_at,
                end_at: None,
                let_go_at: None,
            }
        } else {
            actions.push(Action::Withdraw);
            State::Yielding {
                why,
                until: None,
                said: LEAVING.len(),
                say_at: None,
                renew_at,
                end_at: Some(now + WITHDRAWN),
                let_go_at: Some(now + WITHDRAWN + ENDING),
            }
        };
        let why = match why {
            Leaving::Move => Why::Asked,
            Leaving::End => Why::Ended,
            Leaving::Fault if self.wedged_since.is_some() => Why::Wedged,
            Leaving::Fault | Leaving::Rival => Why::Class(self.class(now)),
        };
        actions.push(Action::Tell(Told::State(StateName::Yielding, why)));
    }

    /// Somebody else has it: ends connections at `end_at`, and lets go a moment later.
    pub(super) fn give_way(
        &mut self,
        leaving: Leaving,
        why: Why,
        end_at: Moment,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Tell(Told::State(StateName::Yielding, why)));
        self.state = State::Yielding {
            why: if self.ended { Leaving::End } else { leaving },
            until: None,
            said: LEAVING.len(),
            say_at: None,
            renew_at: now + self.renewal(),
            end_at: Some(end_at),
            let_go_at: Some(end_at + ENDING),
        };
    }

    /// The successor has it.
    pub(super) fn let_go(&mut self, why: Leaving, now: Moment, actions: &mut Vec<Action>) {
        // Again, where they were ended when the successor was heard: clients still come in until
        // they hear of it too.
        actions.push(Action::EndConnections);
        actions.push(Action::Release);
        let successor = self.peer.map(|(peer, _)| peer.source);
        match why {
            Leaving::End => {
                self.state = State::Ended;
                let why = successor.map_or(Why::Ended, Why::HandedOver);
                actions.push(Action::Tell(Told::State(StateName::Ended, why)));
            }
            Leaving::Move | Leaving::Fault => {
                let why = successor.map_or_else(|| Why::Class(self.class(now)), Why::HandedOver);
                self.back_up(now, why, actions);
            }
            Leaving::Rival => {
                self.back_up(now, Why::GaveWay, actions);
                self.wait(now + PROBE_AGAIN);
            }
        }
    }

    pub(super) fn nobody_took_over(
        &mut self,
        why: Leaving,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        actions.push(Action::Tell(Told::NobodyTookOver));
        let is_fault = self.class(now) == Class::Fault || self.wedged_since.is_some();
        match why {
            // It goes on until the process is over: without a successor nothing is won by an end.
            Leaving::End => {
                if let State::Yielding { until, say_at, .. } = &mut self.state {
                    (*until, *say_at) = (None, Some(now));
                }
            }
            // What it wanted to leave for may be over, or have come meanwhile.
            Leaving::Move | Leaving::Fault if !is_fault => {
                self.own(Why::NobodyTookOver, now, actions);
            }
            Leaving::Move | Leaving::Fault | Leaving::Rival => {
                if let State::Yielding { until, say_at, end_at, let_go_at, .. } = &mut self.state {
                    (*until, *say_at) = (None, None);
                    *end_at = None;
                    *let_go_at = Some(now + ENDING);
                }
                actions.push(Action::EndConnections);
            }
        }
    }

    pub(super) fn end_spared(&mut self, actions: &mut Vec<Action>) {
        if self.spared_until.take().is_some() {
            actions.push(Action::EndConnections);
        }
    }

    pub(super) fn end(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.ended = true;
        match &mut self.state {
            State::Owner { .. } => self.leave(Leaving::End, now, actions),
            // A move that nobody took goes on as the end, and the end waits.
            State::Yielding { why, .. } => *why = Leaving::End,
            State::Down | State::Backup { .. } => {
                self.end_spared(actions);
                self.state = State::Ended;
                actions.push(Action::Tell(Told::State(StateName::Ended, Why::Ended)));
            }
            State::Ended => {}
        }
    }

    /// The process is over: ends connections, and lets go a moment later.
    pub(super) fn close(&mut self, now: Moment, actions: &mut Vec<Action>) {
        self.ended = true;
        match self.state {
            State::Owner { .. } | State::Yielding { .. } => {
                if self.settings.elects {
                    actions.push(Action::Advertise(0));
                }
                self.give_way(Leaving::End, Why::Ended, now, now, actions);
            }
            State::Down | State::Backup { .. } => self.end(now, actions),
            State::Ended => {}
        }
    }
}
