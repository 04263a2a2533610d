//! The options of our sockets, and the way to reset one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::TcpStream;

use crate::config::RelayConfig;

/// Handshakes that may wait for us. The kernel clips it to `net.core.somaxconn`; a herd of clients
/// that reconnects after a failure meets this limit first.
const BACKLOG: i32 = 65_535;

/// A bound socket whose accepted sockets inherit the options of `relay` (Linux copies them from
/// the listener), so that none need be set one by one.
///
/// # Errors
/// What the kernel says of the address.
pub(crate) fn listen(
    address: SocketAddr,
    relay: &RelayConfig,
) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that 0.0.0.0 and [::] can both be listened on, whatever net.ipv6.bindv6only says.
        socket.set_only_v6(true)?;
    }
    keep(&socket, relay)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Sets the options of a leg that did not come from [`listen`].
///
/// # Errors
/// If the kernel refuses an option.
pub(crate) fn keep_stream(stream: &TcpStream, relay: &RelayConfig) -> io::Result<()> {
    keep(&SockRef::from(stream), relay)
}

fn keep(socket: &Socket, relay: &RelayConfig) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(relay.keepalive_idle.into())
        .with_interval(relay.keepalive_interval.into())
        .with_retries(relay.keepalive_count);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(relay.user_timeout.into()))
}

/// Closes the socket with a reset, so that the peer knows at once that this was no orderly end.
/// What was not sent yet is thrown away.
pub(crate) fn reset(stream: TcpStream) {
    // If it fails the socket is already gone, and there is nobody to tell.
    if let Err(error) = SockRef::from(&stream).set_linger(Some(Duration::ZERO)) {
        tracing::debug!(%error, "no reset");
    }
    drop(stream);
}
