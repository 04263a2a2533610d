//! Opens the backend side of a connection up to the point from which only that backend will do:
//! its first byte, or a first byte of the client that must not be said twice.
//!
//! ```text
//!          connect::connect ──> Connected ──> await_first_byte ──┬─> Opened
//!                  ^                                             │
//!                  └── the same bytes to the next backend ── Lost┘
//! ```
//!
//! A connect alone proves little: the kernel of a frozen process accepts for it. So a backend that
//! fails before its first byte costs the client a moment, and no connection.

use std::time::Duration;

use evenkeel_core::backend::Slot;
use evenkeel_core::endpoint::Endpoint;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::connect::{self, ConnectError, Connected};
use crate::connection::Balancer;
use crate::first_flight::FirstFlight;

/// Silence after which the prober of the backend is asked to look, and then how often its verdict
/// is read.
const SILENCE: Duration = Duration::from_millis(250);

/// A connection whose backend is settled.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) stream: TcpStream,
    pub(crate) slot: Slot,
    /// Bytes of the client that the backend has already been sent.
    pub(crate) said: u64,
}

/// What became of a backend before its first byte.
enum Heard {
    /// It spoke, or the client said what cannot be said twice: from here on only it will do.
    Settled,
    /// It closed, was reset, or is held for dead or suspected.
    Lost,
    /// The client reset its connection.
    ClientGone,
    /// The process is being aborted.
    Aborted,
}

/// Opens the backend side for `client`.
pub(crate) async fn open(
    balancer: &Balancer,
    client: &mut TcpStream,
) -> Result<Opened, ConnectError> {
    let mut flight = FirstFlight::new();
    let mut tried = Vec::new();
    loop {
        let Connected { mut stream, slot } = connect::connect(balancer, &mut tried).await?;
        let heard = await_first_byte(balancer, client, &mut stream, &slot, &mut flight).await;
        let endpoint = slot.backend().endpoint();
        match heard {
            Heard::Settled => {
                balancer.metrics.backend(endpoint).connected();
                let said = u64::try_from(flight.bytes().len()).unwrap_or(u64::MAX);
                return Ok(Opened { stream, slot, said });
            }
            Heard::Lost => {
                tracing::debug!(
                    service = %balancer.name,
                    backend = %endpoint,
                    said = flight.bytes().len(),
                    "backend lost before its first byte: the next one is asked"
                );
                balancer.metrics.backend(endpoint).lost_before_first_byte();
                balancer.suspect(endpoint);
                tried.push(endpoint);
            }
            Heard::ClientGone => return Err(ConnectError::ClientGone),
            Heard::Aborted => return Err(ConnectError::Aborted),
        }
    }
}

/// Says to the backend what the client says, until the backend answers.
async fn await_first_byte(
    balancer: &Balancer,
    client: &mut TcpStream,
    backend: &mut TcpStream,
    slot: &Slot,
    flight: &mut FirstFlight,
) -> Heard {
    let mut silent_at = Instant::now() + SILENCE;
    let mut asked = false;
    // What the client had said to a backend before this one.
    if backend.write_all(flight.bytes()).await.is_err() {
        return Heard::Lost;
    }
    let mut first = [0];
    loop {
        tokio::select! {
            biased;
            () = balancer.shutdown.abort.cancelled() => return Heard::Aborted,
            () = slot.reset().cancelled() => return Heard::Lost,
            peeked = backend.peek(&mut first) => return match peeked {
                Ok(1..) => Heard::Settled,
                // An orderly end before anybody has said anything is an answer too.
                Ok(0) if flight.bytes().is_empty() => Heard::Settled,
                Ok(0) | Err(_) => Heard::Lost,
            },
            readable = client.readable() => {
                let mut piece = [0; 4096];
                let read = readable.and_then(|()| client.try_read(&mut piece));
                match read {
                    // It has no more to say; the relay passes that on.
                    Ok(0) => return Heard::Settled,
                    Ok(length) => {
                        let piece = piece.get(..length).unwrap_or_default();
                        flight.push(piece);
                        // Judged before it is said: from here on a failure is the client's to see.
                        let written = backend.write_all(piece).await;
                        if flight.is_spent() {
                            return Heard::Settled;
                        }
                        if written.is_err() {
                            return Heard::Lost;
                        }
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_reset) => return Heard::ClientGone,
                }
            }
            () = sleep_until(silent_at), if !flight.bytes().is_empty() => {
                if !is_served(balancer, slot.backend().endpoint()) && asked {
                    return Heard::Lost;
                }
                if !asked {
                    balancer.suspect(slot.backend().endpoint());
                    asked = true;
                }
                silent_at = Instant::now() + SILENCE;
            }
        }
    }
}

/// Whether the backend would be picked now: if not, its prober has found it wanting since.
fn is_served(balancer: &Balancer, endpoint: Endpoint) -> bool {
    balancer.pool.snapshot().serving().iter().any(|backend| backend.endpoint() == endpoint)
}
