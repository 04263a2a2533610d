//! What is known of each client: how many connections it has open, and how fast it comes.
//!
//! ```text
//! unknown --admit--> open --its last connection ends--> idle --its credit is whole--> unknown
//!                     ^----------------admit-------------'     (or there is no room for it)
//! ```
//!
//! What clients send does not make it grow: those with open connections are no more than
//! `maxConnections`, those that are idle no more than [`MOST_IDLE`], and who is refused leaves no
//! trace. Beyond that the rate fails open, and only the rate: a client is forgotten though its
//! credit is not whole again, which is counted. Its open connections are never forgotten.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Refused;
use super::rate::Rate;

/// Clients without open connections that are remembered for the sake of their rate, in 4 MiB. After
/// a second its credit is whole again whatever it did, and it may make room for another.
const MOST_IDLE: usize = 65_536;

/// Locks, over which the clients are spread: so threads seldom meet, and a sweep has a few thousand
/// clients to look at while it holds one, not all of them.
const SHARDS: usize = 16;

/// Nanoseconds from one sweep of a shard to the next: else each new client of a flood would cause
/// one that finds next to nothing.
const SWEEP_INTERVAL: u64 = 100_000_000;

/// Who counts as one: an IPv4 address, or an IPv6 address's /64, of which a host may choose any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    V4(u32),
    V6([u16; 4]),
}

impl Client {
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// All clients of a service, where one client has limits of its own.
#[derive(Debug)]
pub(super) struct Clients {
    limit: Option<u32>,
    rate: Option<Rate>,
    /// Keyed at random, like the maps: nobody can choose addresses that fall together.
    hasher: RandomState,
    // Locks, since addresses come and go, and two numbers of one are decided on together: an atomic
    // holds neither, a `watch` or `ArcSwap` would copy the map at each accept, and a queue could
    // not answer. Taken at accept and at the end of a connection; what is done meanwhile is short,
    // cannot panic, and awaits nothing.
    shards: [Mutex<Shard>; SHARDS],
    most_idle: usize,
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Shard {
    clients: HashMap<Client, Entry>,
    /// How many of them have no open connection.
    idle: usize,
    /// The latest time that any of them was admitted at: who leaves brings no time along.
    latest: u64,
    swept: u64,
}

/// One client; the default is all that is known of an unknown one.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    open: u32,
    /// What [`Rate::accept`] said last, or 0 without a rate.
    due: u64,
}

impl Clients {
    /// `None` where neither is limited.
    pub(super) fn new(limit: Option<u32>, rate: Option<Rate>) -> Option<Self> {
        (limit.is_some() || rate.is_some()).then(|| Self {
            limit,
            rate,
            hasher: RandomState::new(),
            shards: Default::default(),
            most_idle: MOST_IDLE / SHARDS,
            forgotten: AtomicU64::new(0),
        })
    }

    /// Counts one more connection of the client if its limits and `take_permit` agree, and if not
    /// leaves everything as it was.
    ///
    /// # Errors
    /// Who disagreed first.
    pub(super) fn admit<P>(
        &self,
        client: Client,
        now: u64,
        take_permit: impl FnOnce() -> Result<P, Refused>,
    ) -> Result<P, Refused> {
        let mut shard = self.shard(client);
        let known = shard.clients.get(&client).copied();
        let Entry { open, due } = known.unwrap_or_default();
        if self.limit.is_some_and(|limit| open >= limit) {
            return Err(Refused::ClientLimit);
        }
        let due = match self.rate.map(|rate| rate.accept(due, now)) {
            None => 0,
            Some(Ok(due)) => due,
            Some(Err(_wait)) => return Err(Refused::ClientRate),
        };
        // Last, so that it need not be given back: for that moment it would be missing elsewhere.
        let permit = take_permit()?;
        shard.clients.insert(client, Entry { open: open.saturating_add(1), due });
        if known.is_some() && open == 0 {
            shard.idle = shard.idle.saturating_sub(1);
        }
        shard.latest = shard.latest.max(now);
        Ok(permit)
    }

    /// Counts one connection less of a client that was admitted.
    pub(super) fn leave(&self, client: Client) {
        let mut shard = self.shard(client);
        let latest = shard.latest;
        let Some(entry) = shard.clients.get_mut(&client) else { return };
        entry.open = entry.open.saturating_sub(1);
        if entry.open > 0 {
            return;
        }
        if entry.due <= latest {
            shard.clients.remove(&client);
            return;
        }
        shard.idle = shard.idle.saturating_add(1);
        if shard.idle > self.most_idle {
            shard.sweep();
        }
        if shard.idle > self.most_idle {
            shard.clients.remove(&client);
            shard.idle = shard.idle.saturating_sub(1);
            self.forgotten.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(self.hasher.hash_one(client) % SHARDS as u64).unwrap_or(0);
        // Nothing in here panics; and if it did, counts that are off by one beat a dead service.
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets the idle whose credit is whole again, unless that was done just now.
    fn sweep(&mut self) {
        let latest = self.latest;
        if latest < self.swept.saturating_add(SWEEP_INTERVAL) {
            return;
        }
        self.swept = latest;
        self.clients.retain(|_, entry| entry.open > 0 || entry.due > latest);
        self.idle = self.clients.values().filter(|entry| entry.open == 0).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: u32) -> Client {
        Client::V4(number)
    }

    /// How many clients are known; and the idle are counted right.
    fn known(clients: &Clients) -> usize {
        let known = |shard: &Mutex<Shard>| {
            let shard = shard.lock().unwrap();
            let idle = shard.clients.values().filter(|entry| entry.open == 0).count();
            assert_eq!(shard.idle, idle);
            shard.clients.len()
        };
        clients.shards.iter().map(known).sum()
    }

    fn admit(clients: &Clients, number: u32, now: u64) -> Result<(), Refused> {
        clients.admit(client(number), now, || Ok(()))
    }

    /// One second is a second's worth of `rate`.
    const SECOND: u64 = 1_000_000_000;

    fn rated(most_idle: usize) -> Clients {
        Clients { most_idle, ..Clients::new(None, Some(Rate::per_second(1))).unwrap() }
    }

    #[test]
    fn an_ipv6_client_is_its_64_and_ipv4_in_ipv6_form_is_ipv4() {
        let of = |text: &str| Client::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_ne!(of("::1"), of("0.0.0.0"));
    }

    #[test]
    fn who_has_left_and_could_come_as_if_for_the_first_time_is_forgotten() {
        let clients = Clients::new(Some(1), None).unwrap();
        for number in 0..100 {
            admit(&clients, number, 0).unwrap();
        }
        assert_eq!(known(&clients), 100);
        for number in 0..100 {
            clients.leave(client(number));
        }
        assert_eq!(known(&clients), 0, "without a rate there is nothing to remember");

        let clients = rated(1);
        admit(&clients, 1, 0).unwrap();
        // So that the time of every shard goes on.
        for number in 2..1000 {
            admit(&clients, number, SECOND).unwrap();
        }
        let before = known(&clients);
        clients.leave(client(1));
        assert_eq!(known(&clients), before - 1, "after a second its credit is whole");
    }

    #[test]
    fn who_comes_back_is_still_one() {
        let clients =
            Clients { most_idle: 1, ..Clients::new(None, Some(Rate::per_second(9))).unwrap() };
        for _ in 0..4 {
            admit(&clients, 1, 0).unwrap();
            admit(&clients, 1, 0).unwrap();
            assert_eq!(known(&clients), 1);
            clients.leave(client(1));
            clients.leave(client(1));
            assert_eq!(known(&clients), 1);
        }
        assert_eq!(clients.forgotten(), 0);
    }

    #[test]
    fn who_is_refused_leaves_no_trace() {
        let clients = Clients::new(Some(1), Some(Rate::per_second(1))).unwrap();
        for number in 0..100 {
            let full = clients.admit(client(number), 0, || Err::<(), _>(Refused::Limit));
            assert_eq!(full, Err(Refused::Limit));
        }
        assert_eq!(known(&clients), 0);
        admit(&clients, 1, 0).unwrap();
        assert_eq!(admit(&clients, 1, SECOND), Err(Refused::ClientLimit));
        clients.leave(client(1));
        assert_eq!(admit(&clients, 1, SECOND / 2), Err(Refused::ClientRate));
        assert_eq!(admit(&clients, 1, SECOND), Ok(()), "what was refused took nothing");
    }

    #[test]
    fn a_flood_of_addresses_fills_a_bounded_room_and_then_fails_open() {
        const MOST: usize = 8;
        let clients = rated(MOST);
        let room = MOST * SHARDS;
        for number in 0..10_000 {
            admit(&clients, number, u64::from(number)).unwrap();
            clients.leave(client(number));
            assert!(known(&clients) <= room, "{} after {number}", known(&clients));
        }
        assert_eq!(known(&clients), room);
        let forgotten = clients.forgotten();
        assert_eq!(forgotten, 10_000 - u64::try_from(room).unwrap());
        assert_eq!(admit(&clients, 9_999, 10_000), Ok(()), "no room to remember it: admitted");
        clients.leave(client(9_999));
        // Those that it is remembered of are held to it all the same.
        let held = (0..10_000).filter(|number| admit(&clients, *number, 10_001).is_err()).count();
        assert_eq!(held, room);
    }

    #[test]
    fn what_is_open_is_never_forgotten_whatever_comes() {
        let clients =
            Clients { most_idle: 1, ..Clients::new(Some(1), Some(Rate::per_second(9))).unwrap() };
        for number in 0..500 {
            admit(&clients, number, 0).unwrap();
        }
        for number in 500..2000 {
            admit(&clients, number, 1).unwrap();
            clients.leave(client(number));
        }
        for number in 0..500 {
            assert_eq!(admit(&clients, number, 60 * SECOND), Err(Refused::ClientLimit));
        }
    }

    #[test]
    fn once_a_flood_is_over_there_is_room_again() {
        let clients = rated(8);
        for number in 0..10_000 {
            admit(&clients, number, 0).unwrap();
            clients.leave(client(number));
        }
        let before = clients.forgotten();
        // Two seconds on, one client after the other, two a second.
        for number in 10_000..11_000 {
            let now = 2 * SECOND + u64::from(number) * SECOND / 2;
            admit(&clients, number, now).unwrap();
            clients.leave(client(number));
            assert_eq!(admit(&clients, number, now + 1), Err(Refused::ClientRate));
        }
        assert_eq!(clients.forgotten(), before);
    }

    #[test]
    fn a_panic_while_it_holds_the_lock_costs_nobody_else_anything() {
        let clients = Clients::new(Some(1), None).unwrap();
        let panics = std::panic::AssertUnwindSafe(|| {
            clients.admit(client(1), 0, || -> Result<(), Refused> { panic!("on purpose") })
        });
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(admit(&clients, 1, 0), Ok(()));
        assert_eq!(admit(&clients, 1, 0), Err(Refused::ClientLimit));
    }
}
