//! The backends, which the check plays itself.
//!
//! A client of ours says its tag first. A backend accepts whoever comes, and only who said a tag
//! is handed over: so the probes of a proxy, which connect and say nothing, are told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use socket2::SockRef;
use tokio::time::Instant;

/// What a client of ours says first: so its other end is found at the backends.
pub(crate) type Tag = [u8; 8];

/// A tag that nobody has had. It is no TLS, HTTP or anything that a proxy might know.
pub(crate) fn new_tag() -> Tag {
    static NEXT: AtomicU32 = AtomicU32::new(0);

    let mut tag = *b"trap\0\0\0\0";
    tag[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    tag
}

/// Connections that reached a backend, by their tags.
// A lock with a condition: any of many threads waits for one tag of many.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    tagged: Mutex<BTreeMap<Tag, Arrival>>,
    more: Condvar,
}

#[derive(Debug)]
enum Arrival {
    Here(TcpStream),
    /// Nobody wants it: it is closed when it comes.
    Abandoned,
}

impl Arrivals {
    /// The backend's end of the connection with this tag, if it arrives in time.
    pub(crate) fn take(&self, tag: Tag, within: Duration) -> Option<TcpStream> {
        let until = Instant::now() + within;
        let mut tagged = self.lock();
        loop {
            if let Some(Arrival::Here(stream)) = tagged.remove(&tag) {
                return Some(stream);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            tagged = self
                .more
                .wait_timeout(tagged, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(tagged, _)| tagged);
        }
    }

    /// Closes the backend's end of the connection with this tag, now or when it arrives.
    pub(crate) fn abandon(&self, tag: Tag) {
        drop(self.lock().insert(tag, Arrival::Abandoned));
    }

    fn put(&self, tag: Tag, stream: TcpStream) {
        let mut tagged = self.lock();
        if !matches!(tagged.get(&tag), Some(Arrival::Abandoned)) {
            // A tag comes once; if a proxy says it twice, the later end is the living one.
            drop(tagged.insert(tag, Arrival::Here(stream)));
        }
        self.more.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Tag, Arrival>> {
        self.tagged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener whose connections go to [`Arrivals`].
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    // The same socket as the thread's, to make its backlog smaller.
    listener: Option<TcpListener>,
    order: Arc<AtomicU8>,
    wake: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub(crate) fn listen(address: SocketAddr, arrivals: Arc<Arrivals>) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        // More than any herd of ours: what is lost shall be lost at the proxy.
        SockRef::from(&listener).listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        let order = Arc::new(AtomicU8::new(ACCEPT));
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let reception = Reception {
            listener: listener.try_clone()?,
            arrivals,
            order: Arc::clone(&order),
            wake: Arc::clone(&wake),
        };
        let thread = thread::Builder::new()
            .name(format!("backend {address}"))
            .spawn(move || reception.run())?;
        Ok(Self { address, listener: Some(listener), order, wake, thread: Some(thread) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it refuses: its listener is closed.
    pub(crate) fn refuse(&mut self) {
        self.end();
    }

    /// From now on it does not answer to handshakes, as a dead host. What is returned keeps its
    /// queue full.
    pub(crate) fn fall_silent(&self) -> io::Result<Vec<TcpStream>> {
        let Some(listener) = &self.listener else { return Ok(Vec::new()) };
        self.tell(PAUSE)?;
        SockRef::from(listener).listen(0)?;
        let mut queue = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&self.address, FULL) {
            queue.push(stream);
        }
        Ok(queue)
    }

    /// Ends [`Backend::fall_silent`].
    pub(crate) fn hear_again(&self) -> io::Result<()> {
        if let Some(listener) = &self.listener {
            SockRef::from(listener).listen(BACKLOG)?;
        }
        self.tell(ACCEPT)
    }

    fn tell(&self, order: u8) -> io::Result<()> {
        self.order.store(order, Ordering::Relaxed);
        rustix::io::write(&self.wake, &1_u64.to_ne_bytes())?;
        Ok(())
    }

    fn end(&mut self) {
        // Without the wake the thread would not end, so it is left alone then.
        if self.tell(END).is_ok()
            && let Some(thread) = self.thread.take()
        {
            drop(thread.join());
        }
        drop(self.listener.take());
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.end();
    }
}

/// What the thread of a backend has.
struct Reception {
    listener: TcpListener,
    arrivals: Arc<Arrivals>,
    order: Arc<AtomicU8>,
    wake: Arc<OwnedFd>,
}

/// A connection that has not said the whole of its tag.
struct Nameless {
    stream: TcpStream,
    said: Vec<u8>,
}

impl Reception {
    fn run(self) {
        let mut nameless: Vec<Nameless> = Vec::new();
        while let Ok(ready) = self.wait(&nameless) {
            match self.order.load(Ordering::Relaxed) {
                END => return,
                ACCEPT => {
                    while let Ok((stream, _proxy)) = self.listener.accept() {
                        if stream.set_nonblocking(true).is_ok() {
                            nameless.push(Nameless { stream, said: Vec::new() });
                        }
                    }
                }
                // PAUSE
                _ => (),
            }
            let mut index = 0;
            nameless.retain_mut(|nameless| {
                let is_ready = ready.contains(&index);
                index += 1;
                !is_ready || self.hear(nameless)
            });
        }
    }

    /// Waits until something happens; which of the nameless it happened to.
    fn wait(&self, nameless: &[Nameless]) -> io::Result<BTreeSet<usize>> {
        let accepting = self.order.load(Ordering::Relaxed) == ACCEPT;
        let listen = if accepting { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = vec![
            PollFd::new(&self.wake, PollFlags::IN),
            PollFd::from_borrowed_fd(self.listener.as_fd(), listen),
        ];
        fds.extend(nameless.iter().map(|one| PollFd::new(&one.stream, PollFlags::IN)));
        // Whoever owns the backend wakes it to end it.
        poll(&mut fds, None)?;
        let woken = fds[0].revents().contains(PollFlags::IN);
        let ready = fds[2..].iter().enumerate().filter(|(_, fd)| !fd.revents().is_empty());
        let ready = ready.map(|(index, _)| index).collect();
        if woken {
            rustix::io::read(&self.wake, &mut [0; 8])?;
        }
        Ok(ready)
    }

    /// Reads on; false once it is not nameless any more, or gone.
    fn hear(&self, nameless: &mut Nameless) -> bool {
        let mut tag = Tag::default();
        let wanted = tag.len() - nameless.said.len();
        match nameless.stream.read(&mut tag[..wanted]) {
            Ok(0) => return false,
            Ok(read) => nameless.said.extend_from_slice(&tag[..read]),
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        let Ok(tag) = Tag::try_from(&nameless.said[..]) else { return true };
        let stream = nameless.stream.try_clone().and_then(|stream| {
            stream.set_nonblocking(false)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        if let Ok(stream) = stream {
            self.arrivals.put(tag, stream);
        }
        false
    }
}

const ACCEPT: u8 = 0;
const PAUSE: u8 = 1;
const END: u8 = 2;

const BACKLOG: i32 = 4096;

/// A handshake on loopback that takes longer is not answered.
const FULL: Duration = Duration::from_millis(150);
