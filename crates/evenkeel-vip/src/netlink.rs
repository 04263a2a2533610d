//! A conversation with the kernel over netlink(7): requests, their answers, and the bytes of both.
//!
//! The kernel works on a request while it is being sent, and its answer lies in the socket when
//! `send` returns; a dump goes on with each read. So nothing here waits: where an answer is missing,
//! none will come. What does take time is the kernel itself, where others hold its locks (`rtnl`,
//! the one of nftables); no timeout of ours reaches there.
//!
//! By hand and not with a library: the buffers are allocated once, and a kernel that says more than
//! a library has learnt to read is no error.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect,
    getsockname, recvfrom, send, socket_with,
};

/// Room for one datagram: the kernel fills 32 KiB of it in a dump, one message needs less.
const DATAGRAM: usize = 64 * 1024;

/// Datagrams that the answer to one request has at most: about a million routes.
const MOST_DATAGRAMS: usize = 4096;

/// How often a dump begins anew that was interrupted by a change.
const MOST_DUMPS: usize = 5;

/// A socket with the kernel at its other end.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    request: Builder,
    received: Vec<u8>,
}

/// One message of the kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) kind: u16,
    flags: u16,
    sequence: u32,
    /// What follows its header: that of its kind, and attributes.
    pub(crate) body: &'a [u8],
}

impl Netlink {
    /// Opens a socket that hears the kernel alone: it refuses what other processes send.
    pub(crate) fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = open(protocol, 0)?;
        connect(&socket, &KERNEL)?;
        Ok(Self {
            socket,
            sequence: 0,
            request: Builder { bytes: Vec::with_capacity(4096) },
            received: vec![0; DATAGRAM],
        })
    }

    /// The number the kernel knows this socket by.
    pub(crate) fn port(&self) -> io::Result<u32> {
        Ok(SocketAddrNetlink::try_from(getsockname(&self.socket)?)?.pid())
    }

    /// Sends one request and waits for its end; what the kernel answers before goes to `each`.
    pub(crate) fn request(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Builder),
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.transact(|builder| builder.message(kind, flags | ACK, header, fill), &mut each)
    }

    /// Sends several messages at once; each that wants an acknowledgement must get a good one.
    pub(crate) fn transact(
        &mut self,
        fill: impl FnOnce(&mut Builder),
        mut each: impl FnMut(&Message<'_>),
    ) -> io::Result<()> {
        self.begin(fill);
        let mut missing = messages(&self.request.bytes).filter(|m| m.flags & ACK != 0).count();
        self.send()?;
        if missing == 0 {
            return Ok(());
        }
        // An error does not end it: the kernel goes on with the rest of a batch, to say all that is
        // wrong with it, and those answers must not be taken for those of the next request.
        let mut error = None;
        let read = self.read(|message| {
            match message.outcome() {
                None => each(message),
                Some(Ok(())) => missing = missing.saturating_sub(1),
                Some(Err(errno)) => {
                    missing = missing.saturating_sub(1);
                    error.get_or_insert(errno);
                }
            }
            Ok(missing == 0)
        });
        match (error, read) {
            (Some(errno), _) => Err(errno.into()),
            (None, read) => read,
        }
    }

    /// Everything of a kind, as `parse` reads it.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        header: &[u8],
        fill: impl Fn(&mut Builder),
        mut parse: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let dump = libc_flags(libc::NLM_F_DUMP);
        for _attempt in 0..MOST_DUMPS {
            self.begin(|builder| builder.message(kind, dump, header, &fill));
            self.send()?;
            let mut found = Vec::new();
            let mut interrupted = false;
            self.read(|message| {
                interrupted |= message.flags & libc_flags(libc::NLM_F_DUMP_INTR) != 0;
                match message.outcome() {
                    None => found.extend(parse(message)),
                    Some(outcome) => outcome?,
                }
                Ok(message.kind == DONE || message.kind == ERROR)
            })?;
            if !interrupted {
                return Ok(found);
            }
        }
        Err(io::Error::other("it changes too fast to be read"))
    }

    /// Fills the buffer with messages that are numbered on.
    fn begin(&mut self, fill: impl FnOnce(&mut Builder)) {
        self.request.bytes.clear();
        fill(&mut self.request);
        self.sequence = self.sequence.wrapping_add(1);
        self.request.number(self.sequence);
    }

    fn send(&mut self) -> io::Result<()> {
        let sent = rustix::io::retry_on_intr(|| {
            send(&self.socket, &self.request.bytes, SendFlags::empty())
        })?;
        if sent == self.request.bytes.len() { Ok(()) } else { Err(Errno::MSGSIZE.into()) }
    }

    /// Reads the answers to the last request until `each` says that it was the last one.
    fn read(
        &mut self,
        mut each: impl FnMut(&Message<'_>) -> Result<bool, Errno>,
    ) -> io::Result<()> {
        for _datagram in 0..MOST_DATAGRAMS {
            let datagram = match receive(self.socket.as_fd(), &mut self.received) {
                Ok(datagram) => datagram,
                Err(Errno::AGAIN) => return Err(io::Error::other("the kernel did not answer")),
                Err(error) => return Err(error.into()),
            };
            for message in messages(datagram) {
                if message.sequence == self.sequence && each(&message)? {
                    return Ok(());
                }
            }
        }
        Err(io::Error::other("the kernel does not stop answering"))
    }
}

impl Message<'_> {
    /// How the request went, if this message says so.
    fn outcome(&self) -> Option<Result<(), Errno>> {
        match self.kind {
            ERROR | DONE => {
                // Zero, or an error number below it; some kernels end a dump without either.
                let code = self.body.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                Some(match code {
                    0.. => Ok(()),
                    LEAST_ERROR.. => Err(Errno::from_raw_os_error(-code)),
                    // No error number, for which rustix panics.
                    _ => Err(Errno::IO),
                })
            }
            _ => None,
        }
    }
}

/// Opens a socket that does not block and has joined `groups`, a bit for each.
pub(crate) fn open(protocol: Option<Protocol>, groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

/// Receives one datagram of the kernel; what others send is read and dropped.
pub(crate) fn receive<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let mut foreign = 0;
    let length = loop {
        let received = rustix::io::retry_on_intr(|| {
            recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT | RecvFlags::TRUNC)
        });
        let (_, length, from) = received?;
        let from = from.and_then(|from| SocketAddrNetlink::try_from(from).ok());
        if from.is_some_and(|from| from.pid() == 0) {
            break length;
        }
        foreign += 1;
        if foreign == MOST_DATAGRAMS {
            return Err(Errno::AGAIN);
        }
    };
    buffer.get(..length).ok_or(Errno::MSGSIZE)
}

/// The messages of a datagram.
pub(crate) fn messages(mut datagram: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let (header, _) = datagram.split_first_chunk::<HEADER>()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, ..] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let body = datagram.get(HEADER..length)?;
        datagram = datagram.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some(Message {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            body,
        })
    })
}

/// The attributes of a message or of another attribute: kind and value.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (&[l0, l1, k0, k1], _) = bytes.split_first_chunk::<ATTRIBUTE>()?;
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(ATTRIBUTE..length)?;
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & KIND, value))
    })
}

/// Writes messages.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
}

impl Builder {
    /// A message: the header of its kind, then what `fill` adds.
    pub(crate) fn message(
        &mut self,
        kind: u16,
        flags: u16,
        header: &[u8],
        fill: impl FnOnce(&mut Self),
    ) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | libc_flags(libc::NLM_F_REQUEST)).to_ne_bytes());
        // The sequence number, and the port: zero is ours.
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(header);
        self.pad();
        fill(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.overwrite(start, &length.to_ne_bytes());
    }

    /// An attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.attribute_of(kind, |builder| builder.bytes.extend_from_slice(value));
    }

    /// An attribute that is text, with the zero that the kernel wants at its end.
    pub(crate) fn text(&mut self, kind: u16, text: &str) {
        self.attribute_of(kind, |builder| {
            builder.bytes.extend_from_slice(text.as_bytes());
            builder.bytes.push(0);
        });
    }

    /// An attribute that is attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        self.attribute_of(kind | NESTED, fill);
    }

    fn attribute_of(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        fill(self);
        // The kernel refuses what is longer than can be said.
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.overwrite(start, &length.to_ne_bytes());
        self.pad();
    }

    /// Gives all messages the number of the request.
    fn number(&mut self, sequence: u32) {
        let mut start = 0;
        while let Some(length) = self.bytes.get(start..).and_then(<[u8]>::first_chunk) {
            let length = u32::from_ne_bytes(*length);
            self.overwrite(start + SEQUENCE, &sequence.to_ne_bytes());
            start += usize::try_from(length).unwrap_or(usize::MAX).next_multiple_of(ALIGNMENT);
        }
    }

    fn overwrite(&mut self, start: usize, with: &[u8]) {
        if let Some(place) = self.bytes.get_mut(start..start + with.len()) {
            place.copy_from_slice(with);
        }
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
}

/// Flags and kinds are C integers in libc, and 16 bits on the wire.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "16 bits on the wire")]
pub(crate) const fn libc_flags(flags: libc::c_int) -> u16 {
    flags as u16
}

/// `NETLINK_ROUTE` is zero, the default of the family.
pub(crate) const ROUTE: Option<Protocol> = None;

/// Where every netlink socket of the kernel is.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// Bytes of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Where the sequence number is in it.
const SEQUENCE: usize = 8;

/// Bytes of `struct nlattr`.
const ATTRIBUTE: usize = 4;

/// Messages and attributes begin at multiples of it.
const ALIGNMENT: usize = 4;

pub(crate) const ACK: u16 = libc_flags(libc::NLM_F_ACK);
const ERROR: u16 = libc_flags(libc::NLMSG_ERROR);
const DONE: u16 = libc_flags(libc::NLMSG_DONE);
const NESTED: u16 = libc_flags(libc::NLA_F_NESTED);

/// The greatest error number is 4095 (`MAX_ERRNO`).
const LEAST_ERROR: i32 = -4095;

/// The kind of an attribute without the flags that are in the same number.
const KIND: u16 = libc_flags(libc::NLA_TYPE_MASK);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_reads_the_same() {
        let mut builder = Builder { bytes: Vec::new() };
        for kind in [7, 8] {
            builder.message(kind, ACK, b"head", |builder| {
                builder.attribute(1, b"odd");
                builder.nest(2, |builder| builder.text(3, "text"));
            });
        }
        builder.number(0x0102_0304);
        let read: Vec<_> = messages(&builder.bytes).collect();
        assert_eq!(read.iter().map(|m| m.kind).collect::<Vec<_>>(), [7, 8]);
        for message in read {
            assert_eq!((message.sequence, message.flags), (0x0102_0304, ACK | 1));
            let (head, rest) = message.body.split_at(4);
            assert_eq!(head, b"head");
            let read: Vec<_> = attributes(rest).collect();
            assert_eq!(read[0], (1, &b"odd"[..]));
            assert_eq!(attributes(read[1].1).collect::<Vec<_>>(), [(3, &b"text\0"[..])]);
            assert_eq!((read[1].0, read.len()), (2, 2));
        }
    }

    #[test]
    fn what_is_cut_short_is_not_read() {
        let mut builder = Builder { bytes: Vec::new() };
        builder.message(7, 0, b"head", |builder| builder.attribute(1, b"value"));
        let whole = builder.bytes;
        for length in 0..whole.len() {
            assert_eq!(messages(&whole[..length]).count(), 0, "{length}");
        }
        // Lengths that say less than their own header end it, and do not loop.
        assert_eq!(messages(&[0; 64]).count(), 0);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }
}
