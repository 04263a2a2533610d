//! A keepalived: `VRRPv3` as RFC 9568, 6.4 has it, which knows no classes and breaks before it
//! makes.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_vip::class::Moment;
use evenkeel_vip::router::{Action, Event};

const INTERVAL: Duration = Duration::from_millis(100);
/// After how long it announces once more (`vrrp_garp_delay`).
const AGAIN: Duration = Duration::from_secs(5);

pub(crate) struct Keepalived {
    address: IpAddr,
    priority: u8,
    preempts: bool,
    state: State,
    /// When a backup takes over, or a master sends its next advert.
    due: Moment,
    again: Option<Moment>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Down,
    Backup,
    Master,
    Ended,
}

impl Keepalived {
    pub(crate) fn new(address: IpAddr, priority: u8, preempts: bool, now: Moment) -> Self {
        Self { address, priority, preempts, state: State::Down, due: now, again: None }
    }

    pub(crate) fn is_master(&self) -> bool {
        self.state == State::Master
    }

    pub(crate) fn due(&self) -> Option<Moment> {
        match self.state {
            State::Down | State::Ended => None,
            State::Backup => Some(self.due),
            State::Master => Some(self.again.map_or(self.due, |again| again.min(self.due))),
        }
    }

    fn skew(&self) -> Duration {
        INTERVAL * (256 - u32::from(self.priority)) / 256
    }

    fn back_up(&mut self, now: Moment) {
        self.state = State::Backup;
        self.due = now + INTERVAL * 3 + self.skew();
    }

    pub(crate) fn take(&mut self, event: &Event, now: Moment, actions: &mut Vec<Action>) {
        match event {
            Event::LinkUp(_) if self.state == State::Down => self.back_up(now),
            Event::LinkDown(_) if self.state != State::Ended => {
                if self.is_master() {
                    actions.push(Action::Release);
                }
                self.state = State::Down;
            }
            Event::Heard { source, priority, .. } => {
                self.heard(*source, *priority, now, actions);
            }
            Event::End | Event::Close => {
                if self.is_master() {
                    actions.push(Action::Advertise(0));
                    actions.push(Action::Release);
                }
                self.state = State::Ended;
            }
            Event::LinkUp(_)
            | Event::LinkDown(_)
            | Event::Class(_)
            | Event::Claim(_)
            | Event::AddressGone
            | Event::NotHeld
            | Event::Beats(_)
            | Event::Ending(_)
            | Event::Move => {}
        }
    }

    fn heard(&mut self, source: IpAddr, priority: u8, now: Moment, actions: &mut Vec<Action>) {
        match self.state {
            State::Down | State::Ended => {}
            State::Backup if priority == 0 => self.due = now + self.skew(),
            State::Backup => {
                if priority >= self.priority || !self.preempts {
                    self.back_up(now);
                }
            }
            State::Master if priority == 0 => self.due = now,
            State::Master => {
                if priority > self.priority || (priority == self.priority && source > self.address)
                {
                    actions.push(Action::Release);
                    self.back_up(now);
                } else {
                    self.due = now;
                    actions.push(Action::Announce(self.priority));
                }
            }
        }
    }

    pub(crate) fn act(&mut self, now: Moment, actions: &mut Vec<Action>) {
        match self.state {
            State::Down | State::Ended => {}
            State::Backup => {
                if self.due <= now {
                    actions.push(Action::Advertise(self.priority));
                    actions.push(Action::Hold);
                    actions.push(Action::Announce(self.priority));
                    self.state = State::Master;
                    self.due = now + INTERVAL;
                    self.again = Some(now + AGAIN);
                }
            }
            State::Master => {
                if self.due <= now {
                    actions.push(Action::Advertise(self.priority));
                    self.due = now + INTERVAL;
                }
                if self.again.is_some_and(|again| again <= now) {
                    actions.push(Action::Announce(self.priority));
                    self.again = None;
                }
            }
        }
    }
}
