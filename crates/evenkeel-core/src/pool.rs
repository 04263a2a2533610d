//! The backends of a service: an immutable snapshot that one writer replaces in one swap.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::backend::Backend;
use crate::endpoint::Endpoint;
use crate::health::Evidence;
use crate::signs::Signs;
use crate::treatment::Treatment;

/// A backend as a snapshot has it.
#[derive(Clone, Debug)]
pub struct Member {
    /// The live part, the same in every snapshot.
    pub backend: Arc<Backend>,
    /// What the evidence says.
    pub evidence: Evidence,
    /// What is done about it.
    pub treatment: Treatment,
    /// No source names it any more: it only lives on for its open connections.
    pub leaving: bool,
}

/// What the writer says of an endpoint.
#[derive(Clone, Debug)]
pub struct Placement {
    /// The endpoint.
    pub endpoint: Endpoint,
    /// What the evidence says.
    pub evidence: Evidence,
    /// What is done about it.
    pub treatment: Treatment,
    /// No source names it any more.
    pub leaving: bool,
    /// It is picked before all others as long as it is served.
    pub preferred: bool,
    /// It has been away, and gets its full share only after so long.
    pub slow_start: Option<Duration>,
    /// Where its traffic tells of it.
    pub signs: Arc<Signs>,
}

/// The state of a pool at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    members: Vec<Member>,
    serving: Vec<Arc<Backend>>,
    preferred: Option<Arc<Backend>>,
    reserve: Vec<Arc<Backend>>,
}

impl Snapshot {
    /// Every backend, in the order of the endpoints. A pool has 1 to 9: a scan is right.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The backends that get new connections.
    pub fn serving(&self) -> &[Arc<Backend>] {
        &self.serving
    }

    /// The one of them that is picked before all others, if one is.
    pub fn preferred(&self) -> Option<&Arc<Backend>> {
        self.preferred.as_ref()
    }

    /// The drained backends that answered when last asked: tried only once every serving one has
    /// failed a client, since the evidence may be a moment old and they beat a reset.
    pub fn reserve(&self) -> &[Arc<Backend>] {
        &self.reserve
    }
}

/// Reads the current snapshot. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pool {
    current: Arc<ArcSwap<Snapshot>>,
    changed: watch::Receiver<()>,
}

impl Pool {
    /// An empty pool with its one writer.
    pub fn new() -> (PoolWriter, Self) {
        let (tell, changed) = watch::channel(());
        let pool = Self { current: Arc::new(ArcSwap::from_pointee(Snapshot::default())), changed };
        (PoolWriter { pool: pool.clone(), tell }, pool)
    }

    /// The state now; held no longer than the pick.
    pub fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Waits until a snapshot is published that this clone has not waited for yet, and its
    /// treatments are carried out. Returns `false` once there is no writer any more.
    ///
    /// # Cancel safety
    /// May be dropped and called again: no change is missed.
    pub async fn changed(&mut self) -> bool {
        self.changed.changed().await.is_ok()
    }
}

/// The one writer of a pool.
#[derive(Debug)]
pub struct PoolWriter {
    pool: Pool,
    tell: watch::Sender<()>,
}

impl PoolWriter {
    /// Makes `placements` the state of the pool. An endpoint that stays keeps its backend and its
    /// connections. Then carries the treatments out: what is to be reset is reset.
    pub fn publish(&mut self, placements: &[Placement], now: Instant) {
        let old = self.pool.current.load_full();
        let members: Vec<Member> = placements
            .iter()
            .map(|placement| {
                let &Placement { endpoint, evidence, treatment, leaving, .. } = placement;
                let known = old.members.iter().find(|m| m.backend.endpoint() == endpoint);
                let backend = known.map_or_else(
                    || Arc::new(Backend::with_signs(endpoint, placement.signs.clone())),
                    |m| m.backend.clone(),
                );
                if let Some(takes) = placement.slow_start {
                    backend.start_slowly(now, takes);
                }
                Member { backend, evidence, treatment, leaving }
            })
            .collect();
        for member in &members {
            match member.treatment {
                Treatment::Serve | Treatment::Drain => member.backend.allow(),
                Treatment::Reset => {}
            }
        }
        let of = |wanted: &dyn Fn(&Member) -> bool| -> Vec<Arc<Backend>> {
            members.iter().filter(|m| wanted(m)).map(|m| m.backend.clone()).collect()
        };
        let serving = of(&|m| m.treatment == Treatment::Serve);
        let reserve =
            of(&|m| m.treatment == Treatment::Drain && !m.leaving && m.evidence.may_fail_open());
        let reset = of(&|m| m.treatment == Treatment::Reset);
        let preferred = placements.iter().find(|p| p.preferred && p.treatment == Treatment::Serve);
        let preferred =
            preferred.and_then(|p| serving.iter().find(|b| b.endpoint() == p.endpoint)).cloned();
        self.pool.current.store(Arc::new(Snapshot { members, serving, preferred, reserve }));
        // After the swap: nobody picks them any more, and who just did finds the slot reset.
        for backend in reset {
            backend.reset();
        }
        self.tell.send_replace(());
    }

    /// Has whoever holds connections look at them, though nothing is published.
    pub fn sweep(&self) {
        self.tell.send_replace(());
    }

    /// The state that was last published.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.pool.current.load_full()
    }

    /// How many connections the endpoint has; none if the pool does not know it.
    pub fn active(&self, endpoint: Endpoint) -> usize {
        let snapshot = self.pool.current.load();
        let member = snapshot.members.iter().find(|m| m.backend.endpoint() == endpoint);
        member.map_or(0, |m| m.backend.active())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::Class;

    fn place(last: u8, class: Class, treatment: Treatment) -> Placement {
        let evidence = Evidence { health: class.health(), class };
        Placement {
            endpoint: endpoint(last),
            evidence,
            treatment,
            leaving: false,
            preferred: false,
            slow_start: None,
            signs: Arc::default(),
        }
    }

    fn endpoint(last: u8) -> Endpoint {
        format!("10.0.0.{last}:6443").parse().unwrap()
    }

    #[test]
    fn an_endpoint_that_stays_keeps_its_connections() {
        let (mut writer, pool) = Pool::new();
        writer.publish(&[place(1, Class::Ready, Treatment::Serve)], Instant::now());
        let slot = pool.snapshot().serving()[0].take_slot();
        writer.publish(
            &[
                place(1, Class::ShuttingDown, Treatment::Drain),
                place(2, Class::Ready, Treatment::Serve),
            ],
            Instant::now(),
        );
        assert_eq!(writer.active(endpoint(1)), 1);
        assert!(!slot.is_reset());
        assert_eq!(pool.snapshot().serving().len(), 1);
        assert_eq!(pool.snapshot().serving()[0].endpoint(), endpoint(2));
    }

    #[test]
    fn what_is_treated_reset_loses_its_connections_and_may_come_back() {
        let (mut writer, pool) = Pool::new();
        writer.publish(&[place(1, Class::Ready, Treatment::Serve)], Instant::now());
        let slot = pool.snapshot().serving()[0].take_slot();
        writer.publish(&[place(1, Class::TlsTimeout, Treatment::Reset)], Instant::now());
        assert!(slot.is_reset());
        assert!(pool.snapshot().serving().is_empty());
        writer.publish(&[place(1, Class::Ready, Treatment::Serve)], Instant::now());
        assert!(!pool.snapshot().serving()[0].take_slot().is_reset());
    }

    #[test]
    fn who_has_been_away_starts_slowly() {
        let (mut writer, pool) = Pool::new();
        let now = Instant::now();
        let slow_start = Some(Duration::from_secs(30));
        let back = Placement { slow_start, ..place(2, Class::Ready, Treatment::Serve) };
        writer.publish(&[place(1, Class::Ready, Treatment::Serve), back], now);
        let shares = |at| -> Vec<u32> {
            pool.snapshot().serving().iter().map(|backend| backend.share(at)).collect()
        };
        assert_eq!(shares(now), [1024, 102]);
        assert_eq!(shares(now + Duration::from_secs(30)), [1024, 1024]);
    }

    #[test]
    fn the_preferred_one_is_so_only_while_it_is_served() {
        let (mut writer, pool) = Pool::new();
        let preferred =
            |class, treatment| Placement { preferred: true, ..place(1, class, treatment) };
        let other = place(2, Class::Ready, Treatment::Serve);
        writer.publish(&[preferred(Class::Ready, Treatment::Serve), other.clone()], Instant::now());
        assert_eq!(pool.snapshot().preferred().unwrap().endpoint(), endpoint(1));
        writer.publish(&[preferred(Class::Broken, Treatment::Drain), other], Instant::now());
        assert!(pool.snapshot().preferred().is_none());
    }

    #[test]
    fn the_reserve_is_what_answers_and_stays() {
        let (mut writer, pool) = Pool::new();
        let leaving = Placement { leaving: true, ..place(4, Class::Starting, Treatment::Drain) };
        writer.publish(
            &[
                place(1, Class::Ready, Treatment::Serve),
                place(2, Class::ShuttingDown, Treatment::Drain),
                place(3, Class::Refused, Treatment::Drain),
                leaving,
            ],
            Instant::now(),
        );
        let snapshot = pool.snapshot();
        let reserve: Vec<_> = snapshot.reserve().iter().map(|b| b.endpoint()).collect();
        assert_eq!(reserve, [endpoint(2)]);
    }
}
