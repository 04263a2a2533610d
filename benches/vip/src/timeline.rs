//! Who had the address when; pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::owners::Change;

/// The changes of owners until an end.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    changes: Vec<Change>,
    until: Instant,
}

/// A host that heard no other, for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apart {
    /// Its place.
    pub(crate) host: usize,
    /// From when on.
    pub(crate) from: Instant,
    /// Until when. None: it never heard one again.
    pub(crate) to: Option<Instant>,
}

/// A time in which nothing changed.
struct Segment {
    from: Instant,
    to: Instant,
    owners: Vec<usize>,
}

impl Timeline {
    /// Changes in their order.
    pub(crate) fn new(changes: Vec<Change>, until: Instant) -> Self {
        Self { changes, until }
    }

    /// How long, from an instant on, a number of owners was one that is meant.
    pub(crate) fn how_long(&self, from: Instant, meant: impl Fn(usize) -> bool) -> Duration {
        let segments = self.segments(from, self.until, &[]);
        segments.iter().filter(|s| meant(s.owners.len())).map(|s| s.to - s.from).sum()
    }

    /// The longest that two owners heard each other, from an instant on.
    pub(crate) fn longest_conflict(&self, from: Instant, apart: &[Apart]) -> Duration {
        let (mut longest, mut now) = (Duration::ZERO, Duration::ZERO);
        for segment in self.segments(from, self.until, apart) {
            let deaf = |host: &&usize| {
                !apart.iter().any(|apart| {
                    apart.host == **host
                        && apart.from <= segment.from
                        && apart.to.is_none_or(|to| to > segment.from)
                })
            };
            let hearing = segment.owners.iter().filter(deaf).count();
            now = if hearing > 1 { now + (segment.to - segment.from) } else { Duration::ZERO };
            longest = longest.max(now);
        }
        longest
    }

    /// How long after an instant a host had the address for the last time before `to`. None: it
    /// still had it then.
    pub(crate) fn gave_up(&self, host: usize, from: Instant, to: Instant) -> Option<Duration> {
        self.last(from, to, |owners| owners.contains(&host))
    }

    /// How long after an instant there was for the last time before `to` another number of owners
    /// than one. None: there was then.
    pub(crate) fn settled(&self, from: Instant, to: Instant) -> Option<Duration> {
        self.last(from, to, |owners| owners.len() != 1)
    }

    /// What changed from an instant on.
    pub(crate) fn changes_after(&self, from: Instant) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(move |change| change.at >= from)
    }

    /// How often, from an instant on, a host came to have it that had it not.
    pub(crate) fn claims(&self, from: Instant) -> usize {
        self.changes_after(from).filter(|change| change.has).count()
    }

    /// Whether a host came to have it after an instant, or has it in the end.
    pub(crate) fn has_or_takes(&self, host: usize, from: Instant) -> bool {
        let own = || self.changes.iter().filter(|change| change.host == host);
        own().any(|change| change.at >= from && change.has)
            || own().next_back().is_some_and(|change| change.has)
    }

    fn last(
        &self,
        from: Instant,
        to: Instant,
        is_meant: impl Fn(&[usize]) -> bool,
    ) -> Option<Duration> {
        let segments = self.segments(from, to, &[]);
        let last = segments.iter().rev().find(|segment| is_meant(&segment.owners));
        let ended = last.map_or(from, |segment| segment.to);
        (last.is_none() || ended < to).then(|| ended - from)
    }

    /// The time from one instant to another, cut where something changed.
    fn segments(&self, from: Instant, to: Instant, apart: &[Apart]) -> Vec<Segment> {
        let seams = apart.iter().flat_map(|apart| [Some(apart.from), apart.to]).flatten();
        let mut cuts: Vec<Instant> = self.changes.iter().map(|change| change.at).collect();
        cuts.extend(seams);
        cuts.retain(|cut| *cut > from && *cut < to);
        cuts.sort();
        let ends = cuts.iter().copied().chain([to]);
        let begins = std::iter::once(from).chain(cuts.iter().copied());
        let segment = |(from, to)| Segment { from, to, owners: self.owners_at(from) };
        begins.zip(ends).map(segment).collect()
    }

    fn owners_at(&self, instant: Instant) -> Vec<usize> {
        let mut owners = Vec::new();
        for change in self.changes.iter().filter(|change| change.at <= instant) {
            owners.retain(|host| *host != change.host);
            if change.has {
                owners.push(change.host);
            }
        }
        owners
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Host 0 has it from 0 to 5 and again from 8 on, host 1 from 3 to 9.
    fn timeline(begun: Instant) -> Timeline {
        let change = |at, host, has| Change { at: begun + SECOND * at, host, has };
        let changes = vec![
            change(0, 0, true),
            change(3, 1, true),
            change(5, 0, false),
            change(8, 0, true),
            change(9, 1, false),
        ];
        Timeline::new(changes, begun + SECOND * 10)
    }

    #[test]
    fn two_owners_are_counted_and_so_is_none() {
        let begun = Instant::now();
        let timeline = timeline(begun);
        assert_eq!(timeline.how_long(begun, |owners| owners > 1), 3 * SECOND);
        assert_eq!(timeline.how_long(begun + 4 * SECOND, |owners| owners > 1), 2 * SECOND);
        assert_eq!(timeline.how_long(begun, |owners| owners == 0), Duration::ZERO);
    }

    #[test]
    fn who_hears_nobody_is_in_no_conflict() {
        let begun = Instant::now();
        let timeline = timeline(begun);
        let at = |seconds| begun + SECOND * seconds;
        assert_eq!(timeline.longest_conflict(begun, &[]), 2 * SECOND);
        let apart = [Apart { host: 1, from: at(2), to: Some(at(4)) }];
        assert_eq!(timeline.longest_conflict(begun, &apart), SECOND);
        let apart = [Apart { host: 0, from: at(1), to: None }];
        assert_eq!(timeline.longest_conflict(begun, &apart), Duration::ZERO);
    }

    #[test]
    fn an_address_is_given_up_when_it_is_had_for_the_last_time() {
        let begun = Instant::now();
        let timeline = timeline(begun);
        let at = |seconds| begun + SECOND * seconds;
        assert_eq!(timeline.gave_up(0, at(1), at(7)), Some(4 * SECOND));
        assert_eq!(timeline.gave_up(0, at(1), at(4)), None);
        assert_eq!(timeline.gave_up(1, at(1), at(2)), Some(Duration::ZERO));
        assert_eq!(timeline.gave_up(0, at(6), at(10)), None, "it took it back");
        assert!(timeline.has_or_takes(0, at(9)) && !timeline.has_or_takes(1, at(6)));
        assert!(timeline.has_or_takes(1, at(2)), "it did not keep it");
        assert_eq!(timeline.settled(at(2), at(7)), Some(3 * SECOND));
        assert_eq!(timeline.settled(at(2), at(4)), None);
        assert_eq!((timeline.claims(at(1)), timeline.claims(at(9))), (2, 0));
    }
}
