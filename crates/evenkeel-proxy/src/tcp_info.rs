//! What the kernel knows of a connection: `TCP_INFO` of tcp(7).
//!
//! One of the two files of the project with `unsafe` in them: no library reads this option.
#![expect(unsafe_code, reason = "getsockopt(2) of an option that no safe library has")]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::time::Duration;

/// What we ask of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TcpInfo {
    /// Segments sent that are not acknowledged.
    pub(crate) unacked: u32,
    /// Times in a row that the retransmission timer ran out.
    pub(crate) retransmits: u8,
    /// How long ago the last acknowledgement came.
    pub(crate) last_ack: Duration,
}

/// Reads it.
///
/// # Errors
/// If the socket is none of TCP.
pub(crate) fn read(socket: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let size = size_of::<libc::tcp_info>();
    let mut length = libc::socklen_t::try_from(size).unwrap_or(0);
    // SAFETY: the descriptor is borrowed and so open; the kernel writes `length` bytes at most to
    // `info`, which is as long, and says in `length` how many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is plain numbers, for which zero is a value, and the kernel has written some.
    let info = unsafe { info.assume_init() };
    Ok(TcpInfo {
        unacked: info.tcpi_unacked,
        retransmits: info.tcpi_retransmits,
        last_ack: Duration::from_millis(info.tcpi_last_ack_recv.into()),
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn what_was_acknowledged_is_not_outstanding() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        stream.write_all(b"x").unwrap();
        peer.read_exact(&mut [0]).unwrap();
        peer.write_all(b"y").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        let info = read(stream.as_fd()).unwrap();
        assert_eq!((info.unacked, info.retransmits), (0, 0));
        assert!(info.last_ack < Duration::from_secs(5), "{info:?}");
    }

    #[test]
    fn what_is_no_tcp_has_none() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(read(socket.as_fd()).is_err());
    }
}
