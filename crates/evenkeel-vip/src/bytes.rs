//! Bytes of a packet in an array: what is sent ten times a second asks for no memory.

use std::ops::Deref;

/// At most `MOST` bytes, without an allocation.
#[derive(Clone, Debug)]
pub struct Bytes<const MOST: usize> {
    bytes: [u8; MOST],
    length: usize,
}

impl<const MOST: usize> Bytes<MOST> {
    pub(crate) const fn new() -> Self {
        Self { bytes: [0; MOST], length: 0 }
    }

    /// Appends `more`, or nothing where it does not fit. `MOST` is such that all of it does.
    pub(crate) fn push(&mut self, more: &[u8]) {
        let end = self.length.saturating_add(more.len());
        debug_assert!(end <= MOST, "{end} bytes where {MOST} are the most");
        if let Some(free) = self.bytes.get_mut(self.length..end) {
            free.copy_from_slice(more);
            self.length = end;
        }
    }

    /// Writes `value` over the two bytes at `at`, if there are two.
    pub(crate) fn set_u16(&mut self, at: usize, value: u16) {
        if let Some(place) = self.bytes.get_mut(at..at.saturating_add(2)) {
            place.copy_from_slice(&value.to_be_bytes());
        }
    }
}

impl<const MOST: usize> Deref for Bytes<MOST> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
