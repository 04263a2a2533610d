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

#[cfg(test)]
mod tests {
    use evenkeel_core::units::Span;
    use tokio::net::TcpListener;

    use super::*;

    /// Both legs: what the kernel says is in force, not what was asked for.
    #[tokio::test]
    async fn both_legs_have_the_options_of_the_config() {
        let relay = RelayConfig {
            keepalive_idle: Span::from_secs(21),
            keepalive_interval: Span::from_secs(7),
            keepalive_count: 4,
            user_timeout: Span::from_secs(33),
            ..RelayConfig::default()
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = listen(address.parse().unwrap(), &relay).unwrap();
            let address = listener.local_addr().unwrap();
            let listener = TcpListener::from_std(listener).unwrap();
            let (near, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (near, accepted) = (near.unwrap(), accepted.unwrap().0);
            keep_stream(&near, &relay).unwrap();
            for leg in [&near, &accepted] {
                let leg = SockRef::from(leg);
                assert!(leg.tcp_nodelay().unwrap() && leg.keepalive().unwrap());
                assert_eq!(leg.tcp_keepalive_time().unwrap(), Duration::from_secs(21));
                assert_eq!(leg.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
                assert_eq!(leg.tcp_keepalive_retries().unwrap(), 4);
                assert_eq!(leg.tcp_user_timeout().unwrap(), Some(Duration::from_secs(33)));
            }
        }
    }

    #[tokio::test]
    async fn every_ipv4_and_every_ipv6_address_are_two_listeners() {
        let relay = RelayConfig::default();
        let four = listen("0.0.0.0:0".parse().unwrap(), &relay).unwrap();
        let port = four.local_addr().unwrap().port();
        listen(SocketAddr::from(([0; 8], port)), &relay).unwrap();
    }
}
