//! What is due when: one entry a connection that waits for something, and none for one that does
//! not.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::poller::ConnectionId;

/// The timers of a thread. An entry that is not wanted any more stays until it is due, and is then
/// found to be of no use: cheaper than to look for it.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, ConnectionId)>>,
    /// What times are rounded from: the first that was.
    epoch: Option<Instant>,
}

/// Timers are rung together, this often at most: else a thousand handshakes a second, each of which
/// leaves one behind, would wake the thread a thousand times for nothing.
const GRAIN: Duration = Duration::from_millis(8);

impl Timers {
    /// The next time at which timers are rung.
    fn rounded(&mut self, due: Instant) -> Instant {
        let epoch = *self.epoch.get_or_insert(due);
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let grain = nanos(GRAIN);
        if let Some(before) = epoch.checked_duration_since(due) {
            epoch - Duration::from_nanos(nanos(before) / grain * grain)
        } else {
            let after = nanos(due - epoch).div_ceil(grain).saturating_mul(grain);
            epoch + Duration::from_nanos(after)
        }
    }

    pub(super) fn add(&mut self, due: Instant, id: ConnectionId) {
        self.heap.push(Reverse((due, id)));
    }

    /// How long until the first is due; zero if it is.
    pub(super) fn next(&self, now: Instant) -> Option<Duration> {
        self.heap.peek().map(|Reverse((due, _))| due.saturating_duration_since(now))
    }

    /// The first that is due, with the time that it was added for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<(Instant, ConnectionId)> {
        let Reverse((due, _)) = self.heap.peek()?;
        if *due > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

impl Timers {
    /// Throws away the entries that stand for nothing, where they are many: a connection that ends
    /// long before its timer leaves one behind.
    pub(super) fn prune(
        &mut self,
        connections: usize,
        stands: impl Fn(ConnectionId, Instant) -> bool,
    ) {
        if self.heap.len() > connections.saturating_mul(2).saturating_add(SOME) {
            self.heap.retain(|Reverse((due, id))| stands(*id, *due));
            self.heap.shrink_to(connections.saturating_add(SOME));
        }
    }
}

/// Entries that are not worth the search.
const SOME: usize = 4096;

/// When a connection wants to be looked at, and the entry that stands for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alarm {
    due: Option<Instant>,
    entry: Option<Instant>,
}

impl Alarm {
    /// Wants to be looked at then, or not at all. An entry is only added where none comes as early.
    pub(super) fn set(&mut self, due: Option<Instant>, id: ConnectionId, timers: &mut Timers) {
        let due = due.map(|due| timers.rounded(due));
        self.due = due;
        if let Some(due) = due
            && self.entry.is_none_or(|entry| due < entry)
        {
            timers.add(due, id);
            self.entry = Some(due);
        }
    }

    /// Whether an entry with this time is the one that counts.
    pub(super) fn stands_for(&self, due: Instant) -> bool {
        self.entry == Some(due)
    }

    /// An entry has come up. True if the connection is to be looked at.
    pub(super) fn rings(
        &mut self,
        entry: Instant,
        now: Instant,
        id: ConnectionId,
        timers: &mut Timers,
    ) -> bool {
        if self.entry != Some(entry) {
            return false;
        }
        self.entry = None;
        match self.due {
            Some(due) if due <= now => {
                self.due = None;
                true
            }
            later => {
                self.set(later, id, timers);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ConnectionId = ConnectionId { place: 1, serial: 1 };

    /// The times at which a connection rings that always wants to be looked at after `pause`.
    #[test]
    fn an_alarm_that_is_put_off_rings_once_at_its_last_time() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        alarm.set(Some(after(10)), ID, &mut timers);
        alarm.set(Some(after(50)), ID, &mut timers);
        alarm.set(Some(after(30)), ID, &mut timers);
        let mut rung = Vec::new();
        for ms in 0..100 {
            while let Some((entry, id)) = timers.pop(after(ms)) {
                if alarm.rings(entry, after(ms), id, &mut timers) {
                    rung.push(ms);
                }
            }
        }
        let [rung] = rung.as_slice() else { panic!("{rung:?}") };
        assert!((30..39).contains(rung), "{rung}");
        assert_eq!(timers.next(start), None);
    }

    #[test]
    fn an_alarm_that_is_brought_forward_rings_at_the_earlier_time() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        alarm.set(Some(after(50)), ID, &mut timers);
        alarm.set(Some(after(20)), ID, &mut timers);
        let next = timers.next(start).unwrap();
        assert!((Duration::from_millis(20)..Duration::from_millis(29)).contains(&next), "{next:?}");
        let (entry, id) = timers.pop(after(29)).unwrap();
        assert!(alarm.rings(entry, after(29), id, &mut timers));
        let (entry, id) = timers.pop(after(60)).unwrap();
        assert!(!alarm.rings(entry, after(60), id, &mut timers), "the old entry is of no use");
    }

    #[test]
    fn alarms_of_the_same_moment_ring_together() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for serial in 0..1000u32 {
            let due = start + Duration::from_micros(u64::from(serial) * 100);
            let id = ConnectionId { place: serial, serial };
            Alarm::default().set(Some(due), id, &mut timers);
        }
        let mut times: Vec<Instant> = timers.heap.iter().map(|Reverse((due, _))| *due).collect();
        times.sort_unstable();
        times.dedup();
        assert!(times.len() <= 14, "{} wake-ups within 100 ms", times.len());
    }

    #[test]
    fn entries_that_stand_for_nothing_do_not_pile_up() {
        let start = Instant::now();
        let mut timers = Timers::default();
        for serial in 0..3 * SOME {
            let serial = u32::try_from(serial).unwrap();
            timers.add(start, ConnectionId { place: 1, serial });
        }
        timers.prune(1, |id, _| id.serial == 7);
        assert_eq!(timers.heap.len(), 1);
    }

    #[test]
    fn an_alarm_that_is_called_off_never_rings() {
        let start = Instant::now();
        let (mut timers, mut alarm) = (Timers::default(), Alarm::default());
        alarm.set(Some(start), ID, &mut timers);
        alarm.set(None, ID, &mut timers);
        let (entry, id) = timers.pop(start).unwrap();
        assert!(!alarm.rings(entry, start, id, &mut timers));
    }
}
