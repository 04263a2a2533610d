//! Small messages beside bulk, on a proxy of one thread.
//!
//! Bulk that is moved as long as there is some keeps everyone else of the thread waiting. What
//! the machine itself costs is measured in the same moments, over a connection without a proxy.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::setpriority_process;

use crate::pair::{Direction, End, Pair, is_timeout, read};
use crate::pattern::Pattern;
use crate::rig::Rig;
use crate::stage::{Setup, Stage};
use crate::trap::latency::percentile;
use crate::verdict::{Failure, held, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    let stage = Stage::start(rig, Setup { threads: Some(1), ..Setup::default() })?;
    let proxied = stage.pair()?;
    let direct = without_proxy().map_err(met("no connection without a proxy"))?;
    let bulk = (0..BULK).map(|_| stage.pair()).collect::<Result<Vec<_>, Failure>>()?;
    let over = AtomicBool::new(false);
    let quietest = thread::scope(|scope| {
        for (index, pair) in bulk.iter().enumerate() {
            let (from, to) = pair.ends(Direction::BOTH[index % 2]);
            scope.spawn(|| pour(from, &over));
            scope.spawn(|| drain(to, &over));
        }
        let pinged = quietest(rig, &proxied, &direct);
        over.store(true, Ordering::Relaxed);
        pinged
    })?;
    let Pinged { through, beside } = quietest;
    held(
        quietest.is_soon(rig),
        format!("p99 {through:.1?} beside {BULK} bulk connections, without the proxy {beside:.1?}"),
    )
}

/// The 99th percentiles through the proxy, and without it.
#[derive(Clone, Copy)]
struct Pinged {
    through: Duration,
    beside: Duration,
}

impl Pinged {
    fn is_soon(self, rig: &Rig) -> bool {
        self.through < rig.effort.limit(LIMIT).max(self.beside * 4)
    }
}

/// The best of a few tries: what else the machine does only adds to them.
fn quietest(rig: &Rig, proxied: &Pair, direct: &Pair) -> Result<Pinged, Failure> {
    let mut best = ping(rig, proxied, direct)?;
    for _ in 1..TRIES {
        if best.is_soon(rig) {
            break;
        }
        let again = ping(rig, proxied, direct)?;
        if again.through < best.through {
            best = again;
        }
    }
    Ok(best)
}

fn ping(rig: &Rig, proxied: &Pair, direct: &Pair) -> Result<Pinged, Failure> {
    let (rounds, limit) = (rig.effort.rounds(300, 1500), rig.effort.limit(LATE));
    let (mut through, mut beside, mut late) = (Vec::new(), Vec::new(), 0);
    while through.len() < rounds && late <= rounds / 100 {
        let took = proxied.ping()?;
        late += usize::from(took >= limit);
        through.push(took);
        beside.push(direct.ping()?);
    }
    Ok(Pinged { through: percentile(&mut through, 99), beside: percentile(&mut beside, 99) })
}

fn without_proxy() -> std::io::Result<Pair> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (backend, _client) = listener.accept()?;
    client.set_nodelay(true)?;
    backend.set_nodelay(true)?;
    Ok(Pair { client, backend })
}

/// Sends until it is over, or the proxy ends it: that the pings say.
fn pour(mut to: &TcpStream, over: &AtomicBool) {
    step_back();
    let pattern = Pattern::new(4);
    let mut sent = 0;
    let mut go_on = to.set_write_timeout(Some(LOOK)).is_ok();
    while go_on && !over.load(Ordering::Relaxed) {
        match to.write(pattern.from(sent, usize::MAX)) {
            Ok(written) => sent += written,
            // A look whether it is over.
            Err(error) => go_on = is_timeout(&error),
        }
    }
}

fn drain(from: &TcpStream, over: &AtomicBool) {
    step_back();
    let mut buffer = vec![0; 256 * 1024];
    while !over.load(Ordering::Relaxed) {
        match read(from, &mut buffer, LOOK) {
            Ok(_) | Err(End::Silence) => (),
            Err(End::Fin | End::Reset | End::Error(_)) => return,
        }
    }
}

/// Bulk takes only the CPU that the proxy does not want: else the pings would wait for it.
fn step_back() {
    // A thread of its own, so none else's. Refused, it is only less quiet.
    setpriority_process(None, 19).unwrap_or_default();
}

const BULK: usize = 4;

const LIMIT: Duration = Duration::from_millis(5);

const TRIES: usize = 4;

/// With more than one in a hundred this late no more are needed.
const LATE: Duration = Duration::from_millis(20);

const LOOK: Duration = Duration::from_millis(200);
