//! The TCP connection of a probe.

use std::io;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use evenkeel_core::units::Span;
use tokio::net::TcpStream;
use tokio::time;

use super::failure;
use crate::attempt::Seen;

/// Connects within the given time.
pub(super) async fn connect(endpoint: Endpoint, within: Span) -> Result<TcpStream, Seen> {
    let connecting = TcpStream::connect(endpoint.address());
    match time::timeout(within.duration(), connecting).await {
        Err(_elapsed) => Err(no_connection_within(within)),
        Ok(Err(error)) => Err(failure::connect(&error)),
        Ok(Ok(stream)) => prepare(stream).map_err(|error| failure::connect(&error)),
    }
}

/// The words for a connection.
pub(super) fn tell(stream: &TcpStream) -> String {
    match stream.local_addr() {
        Ok(address) => format!("connected from {address}"),
        Err(_unknown) => "connected".to_owned(),
    }
}

fn prepare(stream: TcpStream) -> io::Result<TcpStream> {
    // A port of this host on which nobody listens may be the very port that our own side was
    // given, and TCP then connects a socket with itself.
    if stream.local_addr()? == stream.peer_addr()? {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn no_connection_within(within: Span) -> Seen {
    Seen::new(Class::ConnectTimeout, format!("no connection within {within}"))
}
