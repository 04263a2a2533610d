//! The VRRP adverts that a host hears, of IPv4.
//!
//! Of a packet it reads what stands at a fixed place, and shares no code with what it watches.

use std::io;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::Instant;

use crate::host::Host;
use crate::plain::PlainError;

/// One advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// When it was read.
    pub at: Instant,
    /// Who sent it.
    pub source: Ipv4Addr,
    /// Its VRID.
    pub vrid: u8,
    /// Its priority.
    pub priority: u8,
}

/// A thread that listens on a host until this is dropped.
#[derive(Debug)]
pub struct Adverts {
    heard: Arc<Mutex<Vec<Advert>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Adverts {
    /// Listens on a host.
    ///
    /// # Errors
    /// If the host is gone.
    pub fn hear(host: &Host) -> Result<Self, PlainError> {
        let (heard, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (notes, stopped, own) = (Arc::clone(&heard), Arc::clone(&stop), host.ipv4());
        let socket = host.within(|| open(own)).map_err(PlainError::Enter)?;
        let socket = socket.map_err(PlainError::Hear)?;
        let thread = host.enter(move || {
            while !stopped.load(Ordering::Relaxed) {
                if let Some(advert) = read(&socket) {
                    notes.lock().unwrap_or_else(PoisonError::into_inner).push(advert);
                }
            }
        })?;
        Ok(Self { heard, stop, thread: Some(thread) })
    }

    /// All that were heard so far.
    pub fn heard(&self) -> Vec<Advert> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Those that one host has sent since.
    pub fn of(&self, source: &Host, since: Instant) -> Vec<Advert> {
        let mut heard = self.heard();
        heard.retain(|advert| advert.source == source.ipv4() && advert.at >= since);
        heard
    }
}

impl Drop for Adverts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn open(own: Ipv4Addr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(VRRP)))?;
    socket.join_multicast_v4(&GROUP, &own)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// The next one. None: there was none, or it was something else.
fn read(mut socket: &Socket) -> Option<Advert> {
    // A raw socket of IPv4 yields the header too (raw(7)).
    let mut packet = [0; 256];
    let length = io::Read::read(&mut socket, &mut packet).ok()?;
    let packet = packet.get(..length)?;
    let header = usize::from(packet.first()? & 0xf) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    // RFC 9568, 5.1: version and type, VRID, priority.
    let [0x31, vrid, priority] = *packet.get(header..header + 3)? else { return None };
    Some(Advert { at: Instant::now(), source: source.into(), vrid, priority })
}

/// The protocol (RFC 9568, 5.1.1.4) and the group (5.1.1.2).
const VRRP: i32 = 112;
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// How often to see whether it is dropped.
const LOOK: Duration = Duration::from_millis(100);
