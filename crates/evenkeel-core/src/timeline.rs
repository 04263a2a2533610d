//! What changed, when and why: a bounded ring that people read.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// How many changes a timeline keeps.
pub const CAPACITY: usize = 512;

/// One change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Grows by one from event to event, from 1.
    pub sequence: u64,
    /// When it happened, by the wall clock.
    pub at: SystemTime,
    /// The service it concerns.
    pub service: String,
    /// The backend it concerns, if one.
    pub backend: Option<String>,
    /// What changed, and why, in one line.
    pub what: String,
}

/// The last [`CAPACITY`] changes of state, shared by all who write or read them.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    // A mutex, since it is written a few times a minute and read by people.
    ring: Arc<Mutex<Ring>>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    events: VecDeque<Event>,
}

impl Timeline {
    /// An empty timeline.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a change; the oldest makes room.
    pub fn push(&self, at: SystemTime, service: &str, backend: Option<String>, what: String) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let event = Event { sequence: ring.last, at, service: service.to_owned(), backend, what };
        if ring.events.len() == CAPACITY {
            ring.events.pop_front();
        }
        ring.events.push_back(event);
    }

    /// The events after sequence number `after`, oldest first.
    pub fn since(&self, after: u64) -> Vec<Event> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.iter().filter(|event| event.sequence > after).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_makes_room_and_numbers_go_on() {
        let timeline = Timeline::new();
        for i in 0..CAPACITY + 3 {
            timeline.push(SystemTime::UNIX_EPOCH, "api", None, i.to_string());
        }
        let events = timeline.since(0);
        assert_eq!(events.len(), CAPACITY);
        assert_eq!(events[0].sequence, 4);
        assert_eq!(timeline.since(CAPACITY as u64 + 2).len(), 1);
    }
}
