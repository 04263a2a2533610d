//! More clients than local ports for connections to the backend.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;

use crate::namespace;
use crate::pair::{End, LIMIT, reset};
use crate::rig::Rig;
use crate::stage::{Knock, Outcome, Setup, Stage, pause};
use crate::verdict::{Failure, met};

pub(super) fn check(rig: &Rig) -> Result<String, Failure> {
    namespace::set("ipv4/ip_local_port_range", RANGE)?;
    let stage = Stage::start(rig, Setup::default())?;
    stage.process()?;
    let mut herd = Vec::new();
    let mut told = 0;
    for index in 0..CLIENTS {
        match knock_from(&stage, FIRST + index) {
            Ok(knock) => herd.push(knock),
            // Ended before it has said anything.
            Err(error) if is_end(&error) => told += 1,
            Err(error) => return Err(met("a client could not connect")(error)),
        }
    }
    let give_up = Instant::now() + LIMIT;
    let (mut served, mut longest) = (Vec::new(), Duration::ZERO);
    let begun = Instant::now();
    for knock in herd {
        match stage.outcome(knock, give_up.saturating_duration_since(Instant::now())) {
            Outcome::Served(pair) => served.push(pair),
            Outcome::Ended(End::Silence) => {
                let served = served.len();
                return Err(format!("{served} served, and one that hears nothing").into());
            }
            Outcome::Ended(End::Fin | End::Reset | End::Error(_)) => {
                told += 1;
                longest = longest.max(begun.elapsed());
            }
        }
    }
    let count = served.len();
    if count < USED {
        return Err(format!("only {count} served by 100 ports").into());
    }

    // With a reset by the backend a port is free at once.
    for pair in served.drain(..count / 2) {
        reset(pair.backend)?;
    }
    let begun = Instant::now();
    let mut next = FIRST + CLIENTS;
    while begun.elapsed() < LIMIT {
        let outcome = match knock_from(&stage, next) {
            Ok(knock) => stage.outcome(knock, LIMIT),
            Err(error) if is_end(&error) => Outcome::Ended(End::Reset),
            Err(error) => return Err(met("a client could not connect")(error)),
        };
        if let Outcome::Served(pair) = outcome {
            pair.ping()?;
            return Ok(format!(
                "{count} served by 100 ports, {told} told within {longest:.1?}; the next one \
                 served {:.1?} after there was a port",
                begun.elapsed(),
            ));
        }
        pause(AGAIN);
        next += 1;
    }
    Err("nobody is served although there are ports again".to_owned().into())
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// Connects from a port of its own, out of the range.
fn knock_from(stage: &Stage, port: u16) -> io::Result<Knock> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.connect_timeout(&stage.listen().into(), LIMIT)?;
    Knock::say(socket.into(), &[])
}

const RANGE: &str = "20000 20099";

const FIRST: u16 = 30_000;

const CLIENTS: u16 = 120;

const AGAIN: Duration = Duration::from_millis(5);

/// A few are in use or have not been released yet.
const USED: usize = 80;
