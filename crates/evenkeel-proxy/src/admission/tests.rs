//! The limits as clients feel them, against models without any cleverness, and from many threads.

use std::sync::Barrier;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn limits() -> ListenConfig {
    ListenConfig::on(Vec::new())
}

fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

#[test]
fn one_over_the_limit_waits_for_nobody_and_a_dropped_permit_is_free_again() {
    let admission = Admission::new(&ListenConfig { max_connections: 2, ..limits() });
    let now = Instant::now();
    let admit = || admission.admit(address(1), now);
    let first = admit().unwrap();
    let _second = admit().unwrap();
    assert_eq!(admit().unwrap_err(), Refused::Limit);
    assert_eq!(admission.open(), 2);
    drop(first);
    assert_eq!(admission.open(), 1);
    assert!(admit().is_ok());
}

#[test]
fn one_client_cannot_take_what_the_others_have() {
    let admission = Admission::new(&ListenConfig {
        max_connections: 3,
        max_connections_per_client: Some(2),
        ..limits()
    });
    let now = Instant::now();
    let admit = |number| admission.admit(address(number), now);
    let mine = [admit(1).unwrap(), admit(1).unwrap()];
    assert_eq!(admit(1).unwrap_err(), Refused::ClientLimit);
    let _other = admit(2).unwrap();
    assert_eq!(admit(2).unwrap_err(), Refused::Limit);
    assert_eq!(admit(1).unwrap_err(), Refused::ClientLimit, "the client's own fault is said first");
    drop(mine);
    assert!(admit(1).is_ok());
}

#[test]
fn a_client_that_comes_too_fast_is_refused_and_the_others_are_not() {
    let admission = Admission::new(&ListenConfig { accept_rate_per_client: Some(2), ..limits() });
    let start = Instant::now();
    let admit = |number, after| admission.admit(address(number), start + after).map(drop);
    assert_eq!([1, 1, 1].map(|me| admit(me, SECOND)), [Ok(()), Ok(()), Err(Refused::ClientRate)]);
    assert_eq!(admit(2, SECOND), Ok(()));
    assert_eq!(admit(1, SECOND * 3 / 2), Ok(()));
    assert_eq!(admit(1, SECOND * 3 / 2), Err(Refused::ClientRate));
}

#[test]
fn a_herd_is_paced_and_who_is_refused_does_not_use_up_the_pace() {
    let admission = Admission::new(&ListenConfig { accept_rate: Some(2), ..limits() });
    let start = Instant::now() + SECOND;
    assert_eq!(admission.pace(start), None);
    assert_eq!(admission.pace(start), None);
    let wait = admission.pace(start).unwrap();
    assert_eq!(wait, SECOND / 2);
    assert_eq!(admission.pace(start), Some(wait), "who waits takes nothing");
    admission.give_back();
    assert_eq!(admission.pace(start), None);
    assert_eq!(admission.pace(start + wait), None);
    let unlimited = Admission::new(&limits());
    unlimited.give_back();
    assert!((0..100_000).all(|_| unlimited.pace(start).is_none()));
}

#[test]
fn a_time_before_the_first_is_the_first() {
    let admission = Admission::new(&ListenConfig {
        accept_rate: Some(1),
        accept_rate_per_client: Some(1),
        ..limits()
    });
    let early = Instant::now().checked_sub(SECOND).unwrap();
    assert_eq!(admission.pace(early), None);
    assert_eq!(admission.pace(early), Some(SECOND));
    assert!(admission.admit(address(1), early).is_ok());
    assert_eq!(admission.admit(address(1), early).unwrap_err(), Refused::ClientRate);
}

#[test]
fn a_permit_is_small() {
    assert!(size_of::<Permit>() <= 32, "{}", size_of::<Permit>());
    assert!(size_of::<Option<Permit>>() <= 32, "{}", size_of::<Option<Permit>>());
}

#[test]
fn a_connection_that_panics_gives_its_permit_back() {
    let config = ListenConfig { max_connections_per_client: Some(1), ..limits() };
    let admission = Admission::new(&config);
    let now = Instant::now();
    let panics = std::panic::AssertUnwindSafe(|| {
        let _permit = admission.admit(address(1), now).unwrap();
        panic!("on purpose");
    });
    assert!(std::panic::catch_unwind(panics).is_err());
    assert_eq!(admission.open(), 0);
    assert!(admission.admit(address(1), now).is_ok());
}

/// What the limits promise, told by lists that only grow or are searched.
#[derive(Default)]
struct Naive {
    open: Vec<u8>,
    /// When each client was admitted, in thirds of an interval.
    admitted: Vec<(u8, u64)>,
}

impl Naive {
    fn admit(&self, config: &ListenConfig, client: u8, now: u64) -> Result<(), Refused> {
        let mine = self.open.iter().copied().filter(|open| *open == client).count();
        if config.max_connections_per_client.is_some_and(|most| mine >= most as usize) {
            return Err(Refused::ClientLimit);
        }
        if let Some(rate) = config.accept_rate_per_client {
            // Since none of its accepts were there more than a second's worth and one an interval.
            let times = self.admitted.iter().rev().filter(|(by, _)| *by == client);
            let within = |(with_this, (_, since)): (u64, &(u8, u64))| {
                with_this <= u64::from(rate) + (now - since) / 3
            };
            if !(2..).zip(times).all(within) {
                return Err(Refused::ClientRate);
            }
        }
        if self.open.len() >= config.max_connections as usize {
            return Err(Refused::Limit);
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Admit { client: u8, host: u16, pause: u64 },
    Leave { which: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8, any::<u16>(), 0..3u64)
            .prop_map(|(client, host, pause)| Step::Admit { client, host, pause }),
        2 => any::<usize>().prop_map(|which| Step::Leave { which }),
    ]
}

/// Two clients of IPv4, in either form, and two of IPv6, each with many addresses.
fn spelt(client: u8, host: u16) -> IpAddr {
    match client {
        0 | 1 if host.is_multiple_of(2) => address(client),
        0 | 1 => format!("::ffff:10.0.0.{client}").parse().unwrap(),
        _ => IpAddr::from([0x2001, 0xdb8, 0, u16::from(client), host, 0, host, 1]),
    }
}

proptest! {
    #[test]
    fn permits_are_what_the_naive_model_says(
        limit in 1..8u32,
        per_client in proptest::option::of(1..4u32),
        rate in proptest::option::of(proptest::sample::select(vec![1u32, 2, 4, 5])),
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let config = ListenConfig {
            max_connections: limit,
            max_connections_per_client: per_client,
            accept_rate_per_client: rate,
            ..limits()
        };
        let admission = Admission::new(&config);
        // A third of an interval, rounded up, so that the third one is not early.
        let ticks_a_second = u64::from(rate.unwrap_or(1)) * 3;
        let tick = Duration::from_nanos(1_000_000_000u64.div_ceil(ticks_a_second));
        let start = Instant::now();
        let (mut naive, mut permits, mut now) = (Naive::default(), Vec::new(), 0);
        for step in steps {
            match step {
                Step::Admit { client, host, pause } => {
                    now += pause;
                    let at = start + tick * u32::try_from(now).unwrap();
                    let expected = naive.admit(&config, client, now);
                    let permit = admission.admit(spelt(client, host), at);
                    prop_assert_eq!(permit.as_ref().map(|_| ()).map_err(|why| *why), expected);
                    if let Ok(permit) = permit {
                        naive.open.push(client);
                        naive.admitted.push((client, now));
                        permits.push(permit);
                    }
                }
                Step::Leave { which } if !permits.is_empty() => {
                    let which = which % permits.len();
                    naive.open.swap_remove(which);
                    drop(permits.swap_remove(which));
                }
                Step::Leave { .. } => {}
            }
            prop_assert_eq!(admission.open() as usize, permits.len());
        }
        drop(permits);
        prop_assert_eq!(admission.open(), 0);
        prop_assert_eq!(admission.rates_forgotten(), 0);
    }
}

/// How many hold a permit, and the most that ever did at once.
#[derive(Default)]
struct Holders {
    now: AtomicU32,
    most: AtomicU32,
}

impl Holders {
    fn came(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn goes(&self) {
        self.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Many threads come and go as fast as they can. Tells the most that were in at once, of all and of
/// each client, and how often one was refused.
fn storm(config: &ListenConfig) -> (Arc<Admission>, u32, [u32; 4], usize) {
    const THREADS: usize = 8;
    const ROUNDS: usize = 5000;
    let admission = Admission::new(config);
    let start = Instant::now();
    let (all, each) = (Holders::default(), <[Holders; 4]>::default());
    let barrier = Barrier::new(THREADS);
    let refused: usize = std::thread::scope(|scope| {
        let thread = |number: usize| {
            let (admission, all, each, barrier) = (&admission, &all, &each, &barrier);
            scope.spawn(move || {
                barrier.wait();
                let (mut held, mut refused) = (Vec::new(), 0);
                for round in 0..ROUNDS {
                    let client = (number + round) % each.len();
                    match admission.admit(address(u8::try_from(client).unwrap()), start) {
                        Ok(permit) => {
                            all.came();
                            each[client].came();
                            held.push((client, permit));
                        }
                        Err(_) => refused += 1,
                    }
                    std::thread::yield_now();
                    // Each holds up to three, and then wants one more.
                    while held.len() > round % 4 {
                        let (client, permit) = held.remove(0);
                        all.goes();
                        each[client].goes();
                        drop(permit);
                    }
                }
                for (client, permit) in held {
                    all.goes();
                    each[client].goes();
                    drop(permit);
                }
                refused
            })
        };
        let threads: Vec<_> = (0..THREADS).map(thread).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let most = |holders: &Holders| holders.most.load(Ordering::SeqCst);
    (admission, most(&all), each.each_ref().map(most), refused)
}

#[test]
fn threads_never_exceed_a_limit_together_and_leak_nothing() {
    for per_client in [None, Some(1)] {
        let config =
            ListenConfig { max_connections: 3, max_connections_per_client: per_client, ..limits() };
        let (admission, most, each, refused) = storm(&config);
        assert!(most <= 3, "{most} at once");
        assert!(refused > 0, "nothing was put to the test");
        for most in each {
            assert!(most <= per_client.unwrap_or(3), "{most} of one client at once");
        }
        assert_eq!(admission.open(), 0);
        // All of it is free again.
        let now = Instant::now();
        let again: Vec<_> = (0..3).map(|n| admission.admit(address(n), now).unwrap()).collect();
        assert_eq!(admission.open() as usize, again.len());
    }
}

#[test]
fn where_a_limit_is_not_reached_no_thread_is_refused() {
    // Eight threads hold up to four each.
    let config = ListenConfig {
        max_connections: 32,
        max_connections_per_client: Some(32),
        accept_rate_per_client: Some(1_000_000),
        ..limits()
    };
    let (admission, _, _, refused) = storm(&config);
    assert_eq!(refused, 0);
    assert_eq!(admission.open(), 0);
}

#[test]
fn threads_are_paced_together() {
    let admission = Admission::new(&ListenConfig { accept_rate: Some(1000), ..limits() });
    let now = Instant::now() + SECOND;
    let count = || {
        let mut count = 0;
        for turn in 0.. {
            if admission.pace(now).is_some() {
                break;
            }
            if turn % 10 == 0 {
                admission.give_back();
            } else {
                count += 1;
            }
        }
        count
    };
    let accepted: u32 = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(accepted, 1000);
}
