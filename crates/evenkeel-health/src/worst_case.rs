//! How long it takes at most until an endpoint that fails is avoided and its connections are reset.
//! Computed from what the [`Judge`](crate::Judge) does, with the numbers that it uses.

use std::time::Duration;

use crate::config::HealthConfig;
use crate::judge::{
    CONNECT_PATIENCE, FIRST_PATIENCE, LEAST_PAUSE, QUICK_CONNECT, QUICK_TLS, TICK, TLS_PATIENCE,
};
use crate::probe::Probe;

/// How an endpoint fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Its process has gone: the kernel refuses connects and has reset what was open.
    Refused,
    /// Its host has gone, and nobody says so.
    Silent,
    /// Its process accepts, by its kernel, and does nothing.
    Hung,
}

impl Failure {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Silent, Self::Hung];

    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Hung => "hung",
        }
    }
}

/// The longest time from a failure on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorstCase {
    /// Until it gets no new connection. Clients do not feel it: who is given it meanwhile is given
    /// another.
    pub avoid: Duration,
    /// Until its open connections are reset; `None` if that is not ours to do.
    pub reset: Option<Duration>,
}

impl WorstCase {
    /// With nothing but probes: no client says anything. `None` where such a probe cannot notice
    /// the failure: a connect says nothing about a process.
    pub fn without_traffic(config: &HealthConfig, failure: Failure) -> Option<Self> {
        let interval = config.interval.duration();
        let timeout = match failure {
            Failure::Refused => return Some(Self { avoid: interval, reset: None }),
            Failure::Hung if matches!(config.probe, Probe::Tcp(_)) => return None,
            Failure::Silent => config.connect_timeout.duration(),
            Failure::Hung => config.tls_timeout.duration(),
        };
        let patience = FIRST_PATIENCE.min(timeout);
        // It fails just after a look.
        let between = Self {
            avoid: interval + patience,
            reset: Some(interval + dead(config.fall, patience, timeout)),
        };
        if matches!(config.probe, Probe::Tcp(_) | Probe::Tls(_)) {
            return Some(between);
        }
        // It fails just before it would have answered: only what is asked beside the answer tells.
        let beside = interval.min(config.tls_timeout.duration()) + timeout;
        let rest = in_a_row(config.fall.saturating_sub(1), patience, timeout);
        let within = Self { avoid: beside, reset: Some(beside + LEAST_PAUSE + rest) };
        Some(Self {
            avoid: between.avoid.max(within.avoid),
            reset: between.reset.max(within.reset),
        })
    }

    /// Where clients are owed an answer, `owed` after which it is looked at, and where the last
    /// probes took much less than the patience with them.
    pub fn with_traffic(config: &HealthConfig, failure: Failure, owed: Duration) -> Option<Self> {
        let slow = Self::without_traffic(config, failure)?;
        let quick = |patience: Duration, timeout: Duration, quick: Duration| {
            let patience = patience.min(timeout);
            let reset = if patience + quick < timeout {
                // The second look begins at a tick, and so ends.
                owed + patience + TICK + quick + TICK
            } else {
                // The first has run out by the time that the second counts.
                owed + dead(config.fall, patience, timeout)
            };
            Self {
                avoid: slow.avoid.min(owed + patience + TICK),
                reset: slow.reset.map(|slow| slow.min(reset)),
            }
        };
        Some(match failure {
            Failure::Refused => Self { avoid: Duration::ZERO, reset: None },
            Failure::Silent => {
                quick(CONNECT_PATIENCE, config.connect_timeout.duration(), QUICK_CONNECT)
            }
            Failure::Hung => quick(TLS_PATIENCE, config.tls_timeout.duration(), QUICK_TLS),
        })
    }
}

/// How long it takes that so many looks run out and two have been silent, which a reset rests on.
fn dead(fall: u32, patience: Duration, timeout: Duration) -> Duration {
    in_a_row(fall, patience, timeout).max(next_after(patience, timeout) + patience + TICK)
}

/// How long after a silent look the next one begins: beside it once it is suspicious, and where it
/// runs out as it becomes so, after it.
fn next_after(patience: Duration, timeout: Duration) -> Duration {
    if patience < timeout { patience } else { timeout + LEAST_PAUSE }
}

/// How long so many silent looks take. Three are in flight at once: each begins when the
/// one before is suspicious, and a further one when one of them has ended.
fn in_a_row(looks: u32, patience: Duration, timeout: Duration) -> Duration {
    let mut begun = vec![Duration::ZERO];
    for _ in 1..looks.max(1) {
        let after_last = begun.last().copied().unwrap_or_default() + next_after(patience, timeout);
        let place_free = begun.len().checked_sub(3).and_then(|place| begun.get(place));
        let free = place_free.map_or(Duration::ZERO, |began| *began + timeout + LEAST_PAUSE);
        begun.push(after_last.max(free));
    }
    begun.last().copied().unwrap_or_default() + timeout + TICK
}

#[cfg(test)]
mod tests {
    use evenkeel_core::units::Span;

    use super::*;
    use crate::probe::KubeApiserverProbe;

    fn kube() -> HealthConfig {
        let probe = Probe::KubeApiserver(KubeApiserverProbe::default());
        HealthConfig { probe, ..HealthConfig::default() }
    }

    fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_defaults_are_well_within_what_clients_bear() {
        let of = |failure| WorstCase::without_traffic(&kube(), failure).unwrap();
        assert_eq!(of(Failure::Refused), WorstCase { avoid: ms(500), reset: None });
        assert_eq!(of(Failure::Silent), WorstCase { avoid: ms(1700), reset: Some(ms(3000)) });
        assert_eq!(of(Failure::Hung), WorstCase { avoid: ms(1500), reset: Some(ms(2600)) });
        let of = |failure| WorstCase::with_traffic(&kube(), failure, ms(100)).unwrap();
        assert_eq!(of(Failure::Silent), WorstCase { avoid: ms(250), reset: Some(ms(500)) });
        assert_eq!(of(Failure::Hung), WorstCase { avoid: ms(300), reset: Some(ms(850)) });
    }

    #[test]
    fn a_connect_cannot_tell_that_a_process_hangs() {
        let tcp = HealthConfig::default();
        assert_eq!(WorstCase::without_traffic(&tcp, Failure::Hung), None);
    }

    #[test]
    fn looks_that_run_out_as_they_become_suspicious_follow_each_other() {
        let short = HealthConfig { connect_timeout: Span::from_millis(300), fall: 3, ..kube() };
        let worst = WorstCase::without_traffic(&short, Failure::Silent).unwrap();
        // It fails just before it would have answered.
        let last_two = 300 + 50 + 300 + 50;
        assert_eq!(worst.reset, Some(ms(500 + 300 + 50 + last_two)));
    }

    #[test]
    fn a_reset_rests_on_two_silent_looks_whatever_fall_says() {
        let hasty = HealthConfig { connect_timeout: Span::from_millis(300), fall: 1, ..kube() };
        let worst = WorstCase::without_traffic(&hasty, Failure::Silent).unwrap();
        assert_eq!(worst.reset, Some(ms(500 + 300 + 50 + 300 + 50)));
    }

    #[test]
    fn looks_that_run_out_before_they_count_as_silent_count_by_their_number() {
        let short = HealthConfig { connect_timeout: Span::from_millis(100), fall: 3, ..kube() };
        let worst = WorstCase::with_traffic(&short, Failure::Silent, ms(100)).unwrap();
        assert_eq!(worst.reset, Some(ms(100 + 3 * 100 + 2 * 50 + 50)));
    }

    #[test]
    fn more_patience_takes_longer() {
        let patient = HealthConfig {
            interval: Span::from_secs(2),
            connect_timeout: Span::from_secs(3),
            fall: 3,
            ..kube()
        };
        let worst = WorstCase::without_traffic(&patient, Failure::Silent).unwrap();
        assert_eq!(worst.avoid, ms(1000 + 3000));
        assert_eq!(worst.reset, Some(ms(1000 + 3000 + 50 + 500 + 3000 + 50)));
    }
}
