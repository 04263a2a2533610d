//! How fast connections are reset: as fast as the config says while the survivors bear it.
//!
//! Whoever is cut off comes back at once, to servers that have just got more to do. Their probes
//! tell how they take it.

use std::time::Duration;

use tokio::time::Instant;

/// How long after resets began the survivors are watched.
const WATCHED: Duration = Duration::from_secs(30);

/// A survivor that answers so much slower than usual has enough to do.
const SLOWER: u32 = 4;

/// Below this nobody is slow.
const QUICK: Duration = Duration::from_millis(100);

/// The share of the pace that is left then.
const SLOWLY: u32 = 8;

/// Sets the pace of resets by how long the survivors' probes take.
#[derive(Debug)]
pub(super) struct Pacing {
    full: u32,
    now: u32,
    /// What a probe usually takes.
    usual: Option<Duration>,
    began: Option<Instant>,
}

impl Pacing {
    /// `full` is how many may be reset a second.
    pub(super) fn new(full: u32) -> Self {
        Self { full, now: 0, usual: None, began: None }
    }

    /// Connections are being reset from now on.
    pub(super) fn resets_begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// A backend that is ready has answered its probe. The pace, where it changes.
    pub(super) fn answered(&mut self, took: Duration) -> Option<u32> {
        let watched = self.began.is_some_and(|began| began.elapsed() < WATCHED);
        let usual = *self.usual.get_or_insert(took);
        if !watched {
            // An average that forgets half in about five probes.
            self.usual = Some((usual * 7 + took) / 8);
        }
        let is_slow = watched && took > (usual * SLOWER).max(QUICK);
        let pace = if is_slow { (self.full / SLOWLY).max(1) } else { self.full };
        let changed = pace != self.now;
        self.now = pace;
        changed.then_some(pace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn slow_survivors_slow_the_resets() {
        let mut pacing = Pacing::new(800);
        assert_eq!(pacing.answered(ms(10)), Some(800));
        assert_eq!(pacing.answered(ms(300)), None, "nothing is being reset");
        pacing.answered(ms(10));
        pacing.resets_begin();
        assert_eq!(pacing.answered(ms(20)), None);
        assert_eq!(pacing.answered(ms(900)), Some(100));
        assert_eq!(pacing.answered(ms(30)), Some(800));
    }
}
