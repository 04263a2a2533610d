//! What the reconciler knows of one member, and what follows from that alone.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::decision::Case;
use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::{Evidence, Health, Outcome};
use evenkeel_core::signs::Signs;
use evenkeel_core::treatment::Treatment;
use evenkeel_health::probe::Version;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A member and its prober.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) evidence: Evidence,
    /// Since when its health is that.
    pub(super) since: Instant,
    /// Since when its class is that.
    pub(super) class_since: Instant,
    /// When the silence began that makes it a suspect or dead.
    pub(super) silent_since: Option<Instant>,
    /// When the last but one probe began to which it was silent: two, since one may be lost.
    pub(super) silent_look: Option<Instant>,
    /// When a probe last proved that it is alive.
    pub(super) alive_at: Option<Instant>,
    /// Since when it has been drained, if it is.
    pub(super) drained_since: Option<Instant>,
    /// Since when it gets no new connections, for what is known of it.
    pub(super) away_since: Option<Instant>,
    pub(super) last: Option<(Outcome, Instant)>,
    pub(super) leaving_since: Option<Instant>,
    /// It is on this host.
    pub(super) is_local: bool,
    pub(super) version: Option<Version>,
    pub(super) version_asked: Option<Instant>,
    pub(super) signs: Arc<Signs>,
    pub(super) stop: CancellationToken,
}

/// Who was away for less than this has lost nothing: a suspicion that was cleared.
const AWAY: Duration = Duration::from_secs(2);

impl Member {
    /// Takes note of how it is treated from now on. True if it is served again after it was away.
    pub(super) fn comes_back(&mut self, treatment: Treatment, now: Instant) -> bool {
        if treatment != Treatment::Serve {
            // At the start nothing is known of any, and none of them is cold beside the others.
            let known = self.evidence.health != Health::Unknown;
            self.away_since = self.away_since.or_else(|| known.then_some(now));
            return false;
        }
        self.away_since.take().is_some_and(|since| now - since >= AWAY)
    }

    /// What a decision about it rests on.
    pub(super) fn case(&self, endpoint: Endpoint) -> Case {
        let testimony = self.signs.testimony();
        Case {
            endpoint,
            evidence: self.evidence,
            since: self.class_since,
            silent_since: self.silent_since,
            silent_look: self.silent_look,
            alive_at: self.alive_at.max(testimony.heard_at),
            drained_since: self.drained_since,
            leaving_since: self.leaving_since,
        }
    }
}
