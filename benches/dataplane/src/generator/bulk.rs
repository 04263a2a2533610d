//! Bytes as fast as they go, one way.

use std::io;

use tokio::time::Instant;

use super::meter::{Meter, Phase};
use super::{GLANCE, Load, Pace, SCRATCH, blocking};
use crate::header::Header;
use crate::order::{Order, Seen, Span};
use crate::reactor::{EventFlags, Reactor};
use crate::wire::{Supply, Wire, would_block};
use evenkeel_bench::failed::{Doing, Failed};
use evenkeel_bench::number::count;

/// The backend sends.
pub(super) fn down(load: &Load, from_memory: bool, pace: &mut dyn Pace) -> Result<Seen, Failed> {
    let total = total(&load.order);
    let mut reactor = Reactor::new()?;
    let mut scratch = vec![0; SCRATCH];
    let mut connections = (0..load.order.connections).map(|_| connect(load));
    let mut connections = connections.try_fold(Vec::new(), |mut all, new| {
        all.push(Receiver { wire: new?, got: 0 });
        Ok(all)
    })?;
    pace.ready()?;

    let mut meter = Meter::new(&load.order)?;
    let header = Header::Down { total, from_memory }.encode();
    for (index, receiver) in connections.iter_mut().enumerate() {
        blocking::send(&mut receiver.wire, &header).doing(|| "send a header")?;
        reactor.add(&receiver.wire, index, EventFlags::IN)?;
    }
    let mut running = connections.len();
    while running > 0 && meter.phase(Instant::now())? != Phase::Over {
        reactor.wait(GLANCE, |reactor, index, _flags| {
            let Some(receiver) = connections.get_mut(index) else { return Ok(()) };
            loop {
                let received = match receiver.wire.discard(&mut scratch) {
                    Err(error) if would_block(&error) => return Ok(()),
                    received => received.doing(|| "receive")?,
                };
                if received == 0 {
                    return Err(Failed::because("receive", "the connection ended early"));
                }
                receiver.got += count(received);
                meter.did(count(received), Instant::now());
                if receiver.got == total {
                    running -= 1;
                    // Its end is looked for later; until then it would be told again and again.
                    let mut interest = EventFlags::IN;
                    let nothing = EventFlags::empty();
                    return reactor.change(&receiver.wire, index, &mut interest, nothing);
                }
                if !receiver.wire.is_secure() {
                    return Ok(());
                }
            }
        })?;
    }
    let seen = meter.seen()?;
    pace.seen(&seen)?;
    if running == 0 {
        // All bytes came; then nothing more may come but the end.
        for receiver in &mut connections {
            if blocking::receive(&mut receiver.wire, &mut scratch).doing(|| "see the end")? != 0 {
                return Err(Failed::because("receive", "more bytes than were sent"));
            }
        }
    }
    Ok(seen)
}

struct Receiver {
    wire: Wire,
    got: u64,
}

/// The client sends. What the sink counted must be what was sent.
pub(super) fn up(load: &Load, pace: &mut dyn Pace) -> Result<Seen, Failed> {
    let total = total(&load.order);
    let supply = Supply::new().doing(|| "make a memfd")?;
    let mut reactor = Reactor::new()?;
    let mut connections = (0..load.order.connections).map(|_| connect(load));
    let mut connections = connections.try_fold(Vec::new(), |mut all, new| {
        all.push(Sender { wire: new?, supply: supply.another(false), left: total });
        Ok(all)
    })?;
    pace.ready()?;

    let mut meter = Meter::new(&load.order)?;
    for (index, sender) in connections.iter_mut().enumerate() {
        blocking::send(&mut sender.wire, &Header::Up.encode()).doing(|| "send a header")?;
        let interest = if sender.wire.is_secure() {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::OUT
        };
        reactor.add(&sender.wire, index, interest)?;
    }
    let mut running = connections.len();
    while running > 0 && meter.phase(Instant::now())? != Phase::Over {
        reactor.wait(GLANCE, |_reactor, index, flags| {
            let Some(sender) = connections.get_mut(index) else { return Ok(()) };
            if sender.left == 0 {
                return Ok(());
            }
            if flags.contains(EventFlags::IN) && sender.wire.is_secure() {
                sender.take_handshake()?;
            }
            let sent = match sender.wire.fill(&mut sender.supply, sender.left) {
                Err(error) if would_block(&error) => return Ok(()),
                sent => sent.doing(|| "send")?,
            };
            sender.left -= count(sent);
            meter.did(count(sent), Instant::now());
            if sender.left == 0 {
                running -= 1;
                blocking::finish(&mut sender.wire).doing(|| "half-close")?;
            }
            Ok(())
        })?;
    }
    let seen = meter.seen()?;
    pace.seen(&seen)?;
    for sender in &mut connections {
        if sender.left > 0 {
            blocking::finish(&mut sender.wire).doing(|| "half-close")?;
        }
    }
    for sender in &mut connections {
        let counted = sender.counted().doing(|| "get the sink's count")?;
        let sent = total - sender.left;
        if counted != sent {
            let told = format!("{counted} bytes came of {sent}");
            return Err(Failed::because("send all bytes", told));
        }
    }
    Ok(seen)
}

struct Sender {
    wire: Wire,
    supply: Supply,
    left: u64,
}

impl Sender {
    /// Lets TLS have what is its own.
    fn take_handshake(&mut self) -> Result<(), Failed> {
        match self.wire.receive(&mut [0; 8]) {
            Err(error) if would_block(&error) => Ok(()),
            Err(error) => Err(error).doing(|| "shake hands"),
            Ok(_) => Err(Failed::because("send", "the sink answered before the end")),
        }
    }

    fn counted(&mut self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let mut got = 0;
        while got < bytes.len() {
            let room = bytes.get_mut(got..).unwrap_or_default();
            match blocking::receive(&mut self.wire, room)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                received => got += received,
            }
        }
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Connections that stand, without a header yet: a proxy opens its backend side at once.
fn connect(load: &Load) -> Result<Wire, Failed> {
    let to = load.order.to;
    let wire = Wire::connect(to, load.trust.as_ref());
    wire.doing(|| format!("connect to {to}"))
}

/// Bytes of each connection: without end, if it goes by the clock.
fn total(order: &Order) -> u64 {
    match order.span {
        Span::Timed { .. } => u64::MAX,
        Span::Counted(each) => each,
    }
}
