//! Bytes to send: one mebibyte, over and over, from a memfd or from memory.

use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create, sendfile};
use rustix::net::{SendFlags, send};

use super::again;
use evenkeel_bench::number::{count, length};

/// Where one connection is in the bytes that it sends.
#[derive(Clone)]
pub(crate) struct Supply {
    store: std::rc::Rc<Store>,
    from_memory: bool,
    offset: u64,
}

struct Store {
    file: OwnedFd,
    bytes: Vec<u8>,
}

impl Supply {
    /// Makes the bytes; clones share them.
    pub(crate) fn new() -> io::Result<Self> {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length(LENGTH)).collect();
        let mut file = std::fs::File::from(memfd_create("bytes", MemfdFlags::CLOEXEC)?);
        file.write_all(&bytes)?;
        let store = std::rc::Rc::new(Store { file: file.into(), bytes });
        Ok(Self { store, from_memory: false, offset: 0 })
    }

    /// The same bytes for another connection, from their beginning.
    pub(crate) fn another(&self, from_memory: bool) -> Self {
        Self { store: std::rc::Rc::clone(&self.store), from_memory, offset: 0 }
    }

    /// The bytes that are next, for who cannot use a file.
    pub(super) fn bytes(&self, most: u64) -> &[u8] {
        self.store.bytes.get(..length(most.min(PIECE))).unwrap_or(&self.store.bytes)
    }

    /// Sends what is taken.
    pub(super) fn send_to(&mut self, socket: &OwnedFd, most: u64) -> io::Result<usize> {
        let most = length((LENGTH - self.offset).min(most));
        let sent = if self.from_memory {
            let from = length(self.offset);
            let bytes = self.store.bytes.get(from..from + most).unwrap_or_default();
            again(|| send(socket, bytes, SendFlags::NOSIGNAL))?
        } else {
            let mut offset = self.offset;
            again(|| sendfile(socket, &self.store.file, Some(&mut offset), most))?
        };
        self.offset = (self.offset + count(sent)) % LENGTH;
        Ok(sent)
    }
}

const LENGTH: u64 = 1 << 20;

/// What is encrypted at a time.
const PIECE: u64 = 256 << 10;
