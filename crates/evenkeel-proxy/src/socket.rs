//! The options of our sockets, and how they are made.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use evenkeel_core::units::Span;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{set_socket_linger, set_tcp_nodelay, set_tcp_quickack};
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, getsockname, socket_with};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::config::RelayConfig;
use crate::relay::Readiness;

/// Handshakes that may wait for us. The kernel clips it to `net.core.somaxconn`; a herd of clients
/// that reconnects after a failure meets this limit first.
const BACKLOG: i32 = 65_535;

/// Bytes that may wait in the kernel to be sent for the first time: what a slow reader costs there.
/// More would only be megabytes of buffer before the same link, less would be more calls for bulk.
const UNSENT: u32 = 256 * 1024;

/// Age from which a connection is one that stays: then its backend's side is given the options that
/// only matter to such.
pub(crate) const STAYS: Duration = Duration::from_secs(2);

/// `count` sockets bound to one address, among which the kernel shares clients out
/// (`SO_REUSEPORT`, socket(7)). Accepted sockets inherit the options of `relay`: Linux copies them
/// from the listener, so that none need be set one by one.
///
/// With `freebind` the host need not have the address (`IP_FREEBIND`, ip(7)).
///
/// # Errors
/// What the kernel says of the address.
pub(crate) fn listen(
    address: SocketAddr,
    freebind: bool,
    relay: &RelayConfig,
    count: usize,
) -> io::Result<Vec<OwnedFd>> {
    let first = unbound(address, freebind, relay)?;
    // Bound alone: with SO_REUSEPORT, a second evenkeel would quietly take half of our clients.
    first.bind(&address.into())?;
    let chosen = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        for socket in &sockets {
            socket.set_reuse_port(true)?;
        }
        let further = unbound(address, freebind, relay)?;
        further.set_reuse_port(true)?;
        further.bind(&chosen)?;
        sockets.push(further);
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(OwnedFd::from).collect())
}

fn unbound(address: SocketAddr, freebind: bool, relay: &RelayConfig) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can both be listened on, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    if freebind && address.is_ipv6() {
        socket.set_freebind_v6(true)?;
    } else if freebind {
        socket.set_freebind_v4(true)?;
    }
    socket.set_tcp_nodelay(true)?;
    keep(&socket, relay, relay.client_user_timeout())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The local address of a socket, IPv4 in IPv6 form as plain IPv4; `None` if the kernel does not
/// say.
pub(crate) fn local_ip(socket: &OwnedFd) -> Option<IpAddr> {
    let address = SocketAddr::try_from(getsockname(socket).ok()?).ok()?;
    Some(address.ip().to_canonical())
}

/// Begins to connect. What becomes of it, its readiness tells.
///
/// The kernel acknowledges the handshake with the first bytes that are said, or after 200 ms
/// (`tcp_rcv_synsent_state_process` of Linux): a packet less for a client that has spoken by then.
/// For one that has not, [`acknowledge`] does it.
///
/// # Errors
/// What the kernel says at once.
pub(crate) fn begin_connect(address: SocketAddr) -> Result<OwnedFd, ConnectStart> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket =
        socket_with(family, SocketType::STREAM, flags, None).map_err(ConnectStart::NoSocket)?;
    set_tcp_nodelay(&socket, true).map_err(ConnectStart::NoSocket)?;
    if let Err(error) = set_tcp_quickack(&socket, false) {
        // It is acknowledged at once, as by default.
        tracing::debug!(%error, "acknowledged at once");
    }
    match connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(ConnectStart::Refused(error)),
    }
}

/// Acknowledges the handshake of [`begin_connect`] now: whoever speaks first on the other side is
/// not kept waiting.
pub(crate) fn acknowledge(socket: &OwnedFd) {
    // The kernel does it by itself later.
    if let Err(error) = set_tcp_quickack(socket, true) {
        tracing::debug!(%error, "not acknowledged");
    }
}

/// What a socket that is being connected is ready for, without waiting.
///
/// # Errors
/// What poll(2) says.
pub(crate) fn readiness(socket: &OwnedFd) -> Result<Readiness, Errno> {
    let mut asked = [PollFd::new(socket, PollFlags::OUT | PollFlags::RDHUP)];
    poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))?;
    let [answer] = asked;
    let is = |flags| answer.revents().intersects(flags);
    Ok(Readiness {
        // What it has to say was not told to anybody else: a read will tell.
        readable: true,
        writable: is(PollFlags::OUT),
        ending: is(PollFlags::RDHUP | PollFlags::HUP),
        failed: is(PollFlags::ERR),
    })
}

/// Why a connect did not even begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectStart {
    /// We have no descriptor or memory for it: not the backend's fault.
    NoSocket(Errno),
    /// The address cannot be connected to.
    Refused(Errno),
}

/// Sets the options of a leg that did not come from [`listen`]. They cost five calls, and matter
/// only to a connection that lives for a while: so they are set once it has.
///
/// # Errors
/// If the kernel refuses an option.
pub(crate) fn keep_backend(leg: &OwnedFd, relay: &RelayConfig) -> io::Result<()> {
    keep(&SockRef::from(leg), relay, relay.backend_user_timeout())
}

fn keep(socket: &Socket, relay: &RelayConfig, user_timeout: Span) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(relay.keepalive_idle.into())
        .with_interval(relay.keepalive_interval.into())
        .with_retries(relay.keepalive_count);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_notsent_lowat(UNSENT)?;
    socket.set_tcp_user_timeout(Some(user_timeout.into()))
}

/// Has the socket close with a reset, so that the peer knows at once that this was no orderly end.
/// What was not sent yet is thrown away.
pub(crate) fn close_with_reset(socket: &OwnedFd) {
    // If it fails the socket is already gone, and there is nobody to tell.
    if let Err(error) = set_socket_linger(socket, Some(Duration::ZERO)) {
        tracing::debug!(%error, "no reset");
    }
}

/// Closes the socket with a reset.
pub(crate) fn reset(socket: OwnedFd) {
    close_with_reset(&socket);
    drop(socket);
}

/// Makes the socket writable only once every byte was sent.
///
/// # Errors
/// If the kernel refuses the option.
pub(crate) fn writable_when_all_is_sent(socket: &OwnedFd) -> io::Result<()> {
    SockRef::from(socket).set_tcp_notsent_lowat(1)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// Both legs: what the kernel says is in force, not what was asked for.
    #[test]
    fn both_legs_have_the_options_of_the_config() {
        let relay = RelayConfig {
            keepalive_idle: Span::from_secs(21),
            keepalive_interval: Span::from_secs(7),
            keepalive_count: 4,
            client_user_timeout: Some(Span::from_secs(33)),
            backend_user_timeout: Some(Span::from_secs(44)),
            ..RelayConfig::default()
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen(address.parse().unwrap(), false, &relay, 1).unwrap().remove(0);
            let listener = TcpListener::from(listener);
            listener.set_nonblocking(false).unwrap();
            let address = listener.local_addr().unwrap();
            let near = begin_connect(address).unwrap();
            let accepted = OwnedFd::from(listener.accept().unwrap().0);
            keep_backend(&near, &relay).unwrap();
            for (leg, user_timeout) in [(&near, 44), (&accepted, 33)] {
                let leg = SockRef::from(leg);
                assert!(leg.tcp_nodelay().unwrap() && leg.keepalive().unwrap());
                assert_eq!(leg.tcp_keepalive_time().unwrap(), Duration::from_secs(21));
                assert_eq!(leg.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
                assert_eq!(leg.tcp_keepalive_retries().unwrap(), 4);
                assert_eq!(leg.tcp_notsent_lowat().unwrap(), UNSENT);
                let user_timeout = Duration::from_secs(user_timeout);
                assert_eq!(leg.tcp_user_timeout().unwrap(), Some(user_timeout));
            }
        }
    }

    #[test]
    fn a_handshake_is_acknowledged_with_the_first_bytes_or_when_asked_to() {
        let relay = RelayConfig::default();
        let listener = listen("127.0.0.1:0".parse().unwrap(), false, &relay, 1).unwrap().remove(0);
        let listener = TcpListener::from(listener);
        let address = listener.local_addr().unwrap();
        let connected = || {
            let near = begin_connect(address).unwrap();
            let mut asked = [PollFd::new(&near, PollFlags::OUT)];
            poll(&mut asked, None).unwrap();
            near
        };
        // On loopback what is sent has arrived by the end of the call.
        let speaks = connected();
        rustix::io::write(&speaks, b"first").unwrap();
        listener.accept().unwrap();
        // The machine may keep some waiting for as long as the kernel would, but not all.
        let is_held_back = (0..5).any(|_| {
            let silent = connected();
            let first = listener.accept();
            acknowledge(&silent);
            first.is_err() && listener.accept().is_ok()
        });
        assert!(is_held_back);
    }

    #[test]
    fn every_ipv4_and_every_ipv6_address_are_two_listeners() {
        let relay = RelayConfig::default();
        let four = listen("0.0.0.0:0".parse().unwrap(), false, &relay, 2).unwrap();
        let port = TcpListener::from(four[0].try_clone().unwrap()).local_addr().unwrap().port();
        listen(SocketAddr::from(([0; 8], port)), false, &relay, 2).unwrap();
    }

    #[test]
    fn several_sockets_share_an_address_and_nobody_else_does() {
        let relay = RelayConfig::default();
        let sockets = listen("127.0.0.1:0".parse().unwrap(), false, &relay, 3).unwrap();
        let listeners: Vec<TcpListener> = sockets.into_iter().map(TcpListener::from).collect();
        let address = listeners[0].local_addr().unwrap();
        let clients: Vec<TcpStream> =
            (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
        let accepted: Vec<usize> = listeners
            .iter()
            .map(|listener| std::iter::from_fn(|| listener.accept().ok()).count())
            .collect();
        assert_eq!(accepted.iter().sum::<usize>(), clients.len());
        assert!(accepted.iter().all(|&count| count > 0), "{accepted:?}");
        let other = listen(address, false, &relay, 3).unwrap_err();
        assert_eq!(other.kind(), io::ErrorKind::AddrInUse);
    }
}
