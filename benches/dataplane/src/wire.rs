//! The bytes of a connection, bare or inside TLS, without blocking.
//!
//! Bare bytes are cheap on purpose: bulk is sent by `sendfile` from a memfd and received by
//! `recv(MSG_TRUNC)`, which copies nothing. What is measured is the proxy between the two.

mod supply;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, ipproto, recv, send,
    shutdown, socket_with, sockopt,
};

pub(crate) use supply::Supply;
pub(crate) use tls::{Identity, Trust};

use tls::Tls;

/// One connection.
pub(crate) struct Wire {
    socket: OwnedFd,
    // None: bare.
    tls: Option<Box<Tls>>,
}

impl Wire {
    /// Begins to connect; whether it worked is seen by the first send.
    pub(crate) fn connect(to: SocketAddr, trust: Option<&Trust>) -> io::Result<Self> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let tls = trust.map(|trust| Tls::client(trust).map(Box::new)).transpose()?;
        Ok(Self { socket, tls })
    }

    /// Bytes that were accepted.
    pub(crate) fn accepted(socket: OwnedFd) -> Self {
        Self { socket, tls: None }
    }

    /// Makes it TLS, of which `begun` has been received already.
    pub(crate) fn secure(&mut self, identity: &Identity, begun: &[u8]) -> io::Result<()> {
        let tls = self.tls.insert(Box::new(Tls::server(identity)?));
        tls.begin(&self.socket, begun)
    }

    /// Whether it is inside TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Sends small pieces at once.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(&self.socket, true)?)
    }

    /// Sends from `bytes` what is taken.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => again(|| send(&self.socket, bytes, SendFlags::NOSIGNAL)),
            Some(tls) => tls.send(&self.socket, bytes),
        }
    }

    /// Sends from `supply` what is taken, at most `most` bytes.
    pub(crate) fn fill(&mut self, supply: &mut Supply, most: u64) -> io::Result<usize> {
        match &mut self.tls {
            None => supply.send_to(&self.socket, most),
            Some(tls) => tls.send(&self.socket, supply.bytes(most)),
        }
    }

    /// Receives into `scratch`; 0 is the end.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        self.receive_with(scratch, RecvFlags::empty())
    }

    /// Receives as much as `scratch` is long, and may leave `scratch` as it is; 0 is the end.
    pub(crate) fn discard(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        self.receive_with(scratch, RecvFlags::TRUNC)
    }

    fn receive_with(&mut self, scratch: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
        match &mut self.tls {
            None => again(|| recv(&self.socket, &mut *scratch, flags)).map(|(_, all)| all),
            Some(tls) => tls.receive(&self.socket, scratch),
        }
    }

    /// Whether bytes that were taken wait for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_blocked())
    }

    /// Sends what waits for the socket, as far as it goes.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.tls.as_mut().map_or(Ok(()), |tls| tls.flush(&self.socket))
    }

    /// Says that no more is sent.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.finish(&self.socket)?;
        }
        Ok(shutdown(&self.socket, Shutdown::Write)?)
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A call that a signal interrupted is made again.
fn again<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            answer => return Ok(answer?),
        }
    }
}

/// Whether an answer is only "not now".
pub(crate) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}
