//! Where measuring takes place: a namespace, a backend, the proxies, and a generator a sample.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::args::Args;
use crate::child::{self, Child, Speech};
use crate::cpu::{Used, Watched};
use crate::load::Load;
use crate::memory::Holding;
use crate::namespace::{Namespace, Packets};
use crate::noise;
use crate::order::{Order, READY, Seen, Span, Work};
use crate::pause::pause;
use crate::proxy::{Place, Proxy, Running};
use crate::syscalls::Trace;
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::{count, float};

/// All that is there to measure with. What was started ends with it.
#[derive(Debug)]
pub(crate) struct Stage {
    proxies: BTreeMap<Proxy, Running>,
    backend: Child,
    // Kept open: a backend that cannot speak any more ends.
    _speech: Speech,
    certificate: Vec<u8>,
    place: Place,
    // Last, so that nothing runs in it any more.
    namespace: Namespace,
}

/// What a backend says first.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Hello {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The certificate that it shows.
    pub(crate) certificate: Vec<u8>,
}

/// What one load takes in memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Idle {
    /// Connections that were held.
    pub(crate) connections: u64,
    /// User memory of one, in bytes.
    pub(crate) bytes: f64,
    /// Descriptors of one.
    pub(crate) descriptors: f64,
}

/// The system calls of a proxy, and what they were made for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Calls {
    /// Requests, connections or bytes.
    pub(crate) count: u64,
    /// How often each was made.
    pub(crate) calls: BTreeMap<String, u64>,
}

impl Stage {
    /// Sets the stage and starts the proxies; those that all loads share run on beside each other.
    pub(crate) fn set(namespace: Namespace, args: &Args) -> Result<Self, Failed> {
        let directory = namespace.directory();
        let mut command = child::own()?;
        command.arg("backend").arg(SocketAddr::from((LOOPBACK, BACKEND)).to_string());
        let (mut backend, mut speech) = Child::converse("backend", command, &directory)?;
        let line = speech.line()?.ok_or_else(|| backend.ended("it said nothing"))?;
        backend.check()?;
        let hello: Hello = serde_json::from_str(&line).doing(|| "understand the backend")?;
        let mut place = Place {
            directory,
            backend: hello.address,
            threads: args.threads,
            evenkeel: args.evenkeel.clone(),
            again: args.again.clone(),
            environment: args.environment.clone(),
            knows_data_plane: false,
            envoy: args.envoy.clone(),
        };
        let ours = [Proxy::Evenkeel, Proxy::EvenkeelAgain];
        if args.proxies.iter().any(|proxy| ours.contains(proxy)) {
            place.ask_evenkeel()?;
        }
        let mut stage = Self {
            proxies: BTreeMap::new(),
            backend,
            _speech: speech,
            certificate: hello.certificate,
            place,
            namespace,
        };
        for proxy in &args.proxies {
            if let Some(running) = proxy.start(port_of(*proxy), &stage.place)? {
                stage.proxies.insert(*proxy, running);
            }
        }
        Ok(stage)
    }

    /// Whether evenkeel was told its number of threads.
    pub(crate) fn knows_data_plane(&self) -> bool {
        self.place.knows_data_plane
    }

    /// Puts a load on a proxy once.
    pub(crate) fn sample(
        &mut self,
        load: &Load,
        proxy: Proxy,
        seconds: f64,
    ) -> Result<Seen, Failed> {
        let span = match load.work {
            Work::Hold { .. } => Span::Counted(0),
            Work::Down { .. }
            | Work::Up
            | Work::Ping { .. }
            | Work::Open { .. }
            | Work::Connect { .. } => Span::Timed { warm_up: WARM_UP, seconds },
        };
        let mut order = self.order(proxy, load.work, load.connections, span)?;
        order.certificate = load.secure.then(|| self.certificate.clone());
        if load.small_packets {
            self.namespace.set_packets(Packets::Small)?;
        }
        let seen = self.generate(&order, || Ok(()), |()| Ok(()));
        if load.small_packets {
            self.namespace.set_packets(Packets::Large)?;
        }
        let (seen, ()) = seen?;
        // What was closed is to be gone before the next.
        pause(SETTLE);
        if let Some(running) = self.proxies.get_mut(&proxy) {
            running.check()?;
        }
        Ok(seen)
    }

    /// Waits until others leave the machine alone, but not for ever.
    pub(crate) fn wait_for_quiet(&self, longest: Duration) -> Result<(), Failed> {
        let mut watched = Watched { runner: vec![std::process::id()], ..Watched::default() };
        watched.proxy = self.proxies.values().flat_map(Running::pids).collect();
        let end = Instant::now() + longest;
        while Instant::now() < end {
            let before = Used::now(&watched)?;
            pause(noise::PAUSE);
            if Used::now(&watched)?.since(&before).foreign_cores() <= noise::QUIET {
                break;
            }
        }
        Ok(())
    }

    /// Counts the system calls of a proxy during a load.
    pub(crate) fn calls(&mut self, work: Work, proxy: Proxy, each: u64) -> Result<Calls, Failed> {
        let order = self.order(proxy, work, TRACED, Span::Counted(each))?;
        let pids = order.watched.proxy.clone();
        let directory = self.namespace.directory();
        let (seen, calls) =
            self.generate(&order, || Trace::attach(&pids, &directory), Trace::detach)?;
        Ok(Calls { count: seen.count, calls: calls.into_iter().collect() })
    }

    /// What idle connections take of a proxy that has just been started.
    pub(crate) fn idle(
        &mut self,
        proxy: Proxy,
        connections: usize,
    ) -> Result<Option<Idle>, Failed> {
        if proxy == Proxy::Direct {
            return Ok(None);
        }
        // The one that runs has seen all the loads.
        drop(self.proxies.remove(&proxy));
        let Some(running) = proxy.start(port_of(proxy), &self.place)? else { return Ok(None) };
        self.proxies.insert(proxy, running);
        let exchange = (128, 128);
        let (request, answer) = exchange;
        // What it takes once it takes before.
        let once = Work::Connect { request, answer };
        let order = self.order(proxy, once, 4, Span::Counted(200))?;
        self.generate(&order, || Ok(()), |()| Ok(()))?;
        pause(LONG_SETTLE);

        let total = connections.min(proxy.capacity());
        let hold = Work::Hold { request, answer, total };
        let order = self.order(proxy, hold, 64, Span::Counted(0))?;
        let pids = order.watched.proxy.clone();
        let (seen, (before, with)) = self.generate(
            &order,
            || Holding::of(&pids),
            |before| {
                pause(LONG_SETTLE);
                Ok((before, Holding::of(&pids)?))
            },
        )?;
        let each = |with: u64, before: u64| float(with.saturating_sub(before)) / float(seen.count);
        Ok(Some(Idle {
            connections: count(total) - seen.failed,
            bytes: each(with.bytes, before.bytes),
            descriptors: each(with.descriptors, before.descriptors),
        }))
    }

    fn order(
        &self,
        proxy: Proxy,
        work: Work,
        connections: usize,
        span: Span,
    ) -> Result<Order, Failed> {
        let running = self.proxies.get(&proxy);
        if running.is_none() && proxy != Proxy::Direct {
            return Err(Failed::because("measure", format!("{} does not run", proxy.name())));
        }
        Ok(Order {
            to: running.map_or(self.place.backend, Running::address),
            work,
            connections,
            span,
            certificate: None,
            paced: true,
            watched: Watched {
                proxy: running.map(Running::pids).unwrap_or_default(),
                backend: vec![self.backend.id()],
                generator: Vec::new(),
                runner: vec![std::process::id()],
            },
        })
    }

    /// Has a generator do what is ordered: `ready` is called when its connections stand, `held` when
    /// it is done and holds them still.
    fn generate<T, U>(
        &self,
        order: &Order,
        ready: impl FnOnce() -> Result<T, Failed>,
        held: impl FnOnce(T) -> Result<U, Failed>,
    ) -> Result<(Seen, U), Failed> {
        let mut command = child::own()?;
        let text = serde_json::to_string(order).doing(|| "write an order")?;
        command.arg("generate").arg(text);
        let (mut generator, mut speech) =
            Child::converse("generator", command, &self.namespace.directory())?;
        let first = speech.line()?;
        if first.as_deref() != Some(READY) {
            generator.wait()?;
            return Err(generator.ended("it was never ready"));
        }
        let during = ready()?;
        speech.go_on()?;
        let Some(line) = speech.line()? else {
            generator.wait()?;
            return Err(generator.ended("it saw nothing"));
        };
        let seen: Seen = serde_json::from_str(&line).doing(|| "understand the generator")?;
        let after = held(during)?;
        speech.go_on()?;
        generator.wait()?;
        Ok((seen, after))
    }
}

/// Below the ports that connections are given.
fn port_of(proxy: Proxy) -> SocketAddr {
    let offset = Proxy::ALL.iter().position(|other| *other == proxy).unwrap_or_default();
    (LOOPBACK, PROXIES.saturating_add(u16::try_from(offset).unwrap_or_default())).into()
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];
const BACKEND: u16 = 9000;
const PROXIES: u16 = 9100;
const WARM_UP: f64 = 0.3;
const SETTLE: Duration = Duration::from_millis(50);
const LONG_SETTLE: Duration = Duration::from_millis(300);

/// Connections while system calls are counted.
const TRACED: usize = 16;
