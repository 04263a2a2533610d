//! A client, which believes what it last heard of where the address is.

/// What it believes, and how it fares with that.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// The node that its neighbour cache names.
    pub(crate) entry: Option<usize>,
    /// When it may ask again.
    pub(crate) asks_at: u64,
    /// Since when it does not reach a node that serves.
    pub(crate) out_since: Option<u64>,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { entry: None, asks_at: 0, out_since: Some(0) }
    }

    /// An announcement does not make an entry; it changes one (arp(7), `arp_accept`).
    pub(crate) fn announced(&mut self, by: usize) {
        if self.entry.is_some() {
            self.entry = Some(by);
        }
    }

    pub(crate) fn answered(&mut self, by: usize) {
        if self.entry.is_none() {
            self.entry = Some(by);
        }
    }
}
