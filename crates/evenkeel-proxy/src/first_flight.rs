//! What a client has said before the backend has said anything.
//!
//! While that is no more than a TLS ClientHello without early data, no backend can have acted on
//! it: it only asks for a handshake. So where the backend fails before its first byte, the same
//! bytes may go to another, and the client does not notice. Of anything else nothing is known, and
//! it is never said twice.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The longest ClientHello that is kept. Go's, with a post-quantum key share, has 1.7 kB.
const LONGEST: usize = 16 * 1024;

/// TLS record header (RFC 8446 5.1): type, version, length.
const RECORD_HEADER: usize = 5;
const HANDSHAKE_RECORD: u8 = 22;
/// Handshake header (RFC 8446 4): type, length in three bytes.
const HANDSHAKE_HEADER: usize = 4;
const CLIENT_HELLO: u8 = 1;
/// Extension `early_data` (RFC 8446 4.2.10): what follows the hello is a request, sent blindly.
const EARLY_DATA: u16 = 42;

/// Which first bytes of a client may go to another backend: the key `connect.replay`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Replay {
    /// A TLS ClientHello without early data: no server acts on it.
    #[default]
    ClientHello,
    /// Whatever the client says before the backend does, up to 16 KiB. Only for protocols in which
    /// nothing is done by what a client says first, or doing it twice does no harm.
    Anything,
    /// Nothing.
    Nothing,
}

/// The bytes that a client has sent so far, all of which may be said again.
#[derive(Debug, Default)]
pub(crate) struct FirstFlight {
    replay: Replay,
    bytes: Vec<u8>,
    spent: bool,
    whole: bool,
}

impl FirstFlight {
    /// Nothing said yet.
    pub(crate) fn new(replay: Replay) -> Self {
        Self { replay, ..Self::default() }
    }

    /// Keeps what the client says next if it may be said again with all that was said before. If
    /// not nothing is kept, and nothing ever will be.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> bool {
        // Judged before it is copied: what is no hello costs nothing.
        let begins = match self.replay {
            Replay::ClientHello => !self.bytes.is_empty() || begins_a_record(bytes),
            Replay::Anything => true,
            Replay::Nothing => false,
        };
        if self.spent || !begins || self.bytes.len().saturating_add(bytes.len()) > LONGEST {
            self.spent = true;
            return false;
        }
        let before = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        if self.replay == Replay::Anything {
            return true;
        }
        let said = judge(&self.bytes);
        self.spent = said == Said::Other;
        self.whole = said == Said::Whole;
        if self.spent {
            self.bytes.truncate(before);
        }
        !self.spent
    }

    /// Whether the hello is whole, so that the backend owes an answer.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What was said so far.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    /// The beginning of a ClientHello.
    Begun,
    /// A ClientHello without early data, and nothing behind it.
    Whole,
    /// More, or something else.
    Other,
}

impl Said {
    fn whole(hello: &[u8]) -> Self {
        if asks_for_early_data(hello) { Self::Other } else { Self::Whole }
    }
}

fn judge(bytes: &[u8]) -> Said {
    // The hello may be spread over several records.
    let mut message = Vec::new();
    let mut rest = bytes;
    loop {
        match complete(&message) {
            Some(_) if !rest.is_empty() => return Said::Other,
            Some(hello) => return Said::whole(hello),
            None => {}
        }
        let Some((header, after)) = rest.split_at_checked(RECORD_HEADER) else {
            let begins = begins_a_record(rest) && begins_a_hello(&message);
            return if begins { Said::Begun } else { Said::Other };
        };
        if !begins_a_record(header) {
            return Said::Other;
        }
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (payload, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        let whole = payload.len() == length;
        message.extend_from_slice(payload);
        if !begins_a_hello(&message) {
            return Said::Other;
        }
        if !whole {
            return complete(&message).map_or(Said::Begun, Said::whole);
        }
        if payload.is_empty() {
            // An empty handshake record is forbidden (RFC 8446 5.1).
            return Said::Other;
        }
        rest = after;
    }
}

/// Whether the header, or as much of it as there is, is that of a handshake record of TLS.
fn begins_a_record(header: &[u8]) -> bool {
    header.first().is_none_or(|kind| *kind == HANDSHAKE_RECORD)
        && header.get(1).is_none_or(|major| *major == 3)
}

fn begins_a_hello(message: &[u8]) -> bool {
    message.first().is_none_or(|kind| *kind == CLIENT_HELLO)
}

/// The body of the hello once it is whole, with what stands behind it in the same record.
fn complete(message: &[u8]) -> Option<&[u8]> {
    let (header, body) = message.split_at_checked(HANDSHAKE_HEADER)?;
    let length = u32::from_be_bytes([0, header[1], header[2], header[3]]);
    (body.len() >= usize::try_from(length).unwrap_or(usize::MAX)).then_some(body)
}

/// Whether the hello has the extension `early_data`. What cannot be read counts as having it, and
/// so does a hello with something behind it.
fn asks_for_early_data(hello: &[u8]) -> bool {
    extensions(hello).is_none_or(|extensions| extensions.contains(&EARLY_DATA))
}

/// The kinds of a hello's extensions (RFC 8446 4.1.2); `None` if it is none.
fn extensions(hello: &[u8]) -> Option<Vec<u16>> {
    let mut reader = Reader(hello);
    reader.skip(2 + 32)?;
    let session_id = reader.byte()?;
    reader.skip(session_id.into())?;
    let cipher_suites = reader.short()?;
    reader.skip(cipher_suites.into())?;
    let compressions = reader.byte()?;
    reader.skip(compressions.into())?;
    let mut kinds = Vec::new();
    if reader.0.is_empty() {
        return Some(kinds);
    }
    let total = usize::from(reader.short()?);
    if reader.0.len() != total {
        return None;
    }
    while !reader.0.is_empty() {
        kinds.push(reader.short()?);
        let length = reader.short()?;
        reader.skip(length.into())?;
    }
    Some(kinds)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn skip(&mut self, length: usize) -> Option<()> {
        self.0 = self.0.get(Range { start: length, end: self.0.len() })?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A hello with these extensions, each empty, in records of at most `record` bytes.
    fn hello(extensions: &[u16], record: usize) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.push(32);
        body.extend([9; 32]);
        body.extend([0, 2, 0x13, 1]);
        body.extend([1, 0]);
        body.extend(u16::try_from(extensions.len() * 4).unwrap().to_be_bytes());
        for kind in extensions {
            body.extend(kind.to_be_bytes());
            body.extend([0, 0]);
        }
        let mut message = vec![CLIENT_HELLO, 0];
        message.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
        message.extend(body);
        let mut bytes = Vec::new();
        for piece in message.chunks(record) {
            bytes.extend([HANDSHAKE_RECORD, 3, 1]);
            bytes.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            bytes.extend(piece);
        }
        bytes
    }

    fn spent(bytes: &[u8]) -> bool {
        let mut flight = FirstFlight::new(Replay::ClientHello);
        let kept = flight.keep(bytes);
        assert_eq!(flight.bytes(), if kept { bytes } else { &[] });
        !kept
    }

    #[test]
    fn a_hello_may_be_said_again_at_every_length() {
        for record in [1, 7, 50, 4000] {
            let bytes = hello(&[0, 10, 43], record);
            for length in 0..=bytes.len() {
                assert!(!spent(&bytes[..length]), "{length} of {} ({record})", bytes.len());
                let mut flight = FirstFlight::new(Replay::ClientHello);
                assert_eq!(length > 0 && flight.keep(&bytes[..length]), length > 0);
                assert_eq!(flight.is_whole(), length == bytes.len(), "{length} ({record})");
            }
        }
    }

    #[test]
    fn a_hello_with_early_data_may_not() {
        let bytes = hello(&[0, EARLY_DATA, 43], 4000);
        assert!(spent(&bytes));
        assert!(spent(&hello(&[EARLY_DATA], 16)));
    }

    #[test]
    fn one_byte_behind_the_hello_is_too_much() {
        let mut bytes = hello(&[0], 4000);
        bytes.push(23);
        assert!(spent(&bytes));
    }

    #[test]
    fn a_second_message_in_the_same_record_is_too_much() {
        let mut bytes = hello(&[0], 4000);
        let length = u16::from_be_bytes([bytes[3], bytes[4]]) + 1;
        bytes[3..5].copy_from_slice(&length.to_be_bytes());
        bytes.push(0);
        assert!(spent(&bytes));
    }

    #[test]
    fn what_is_not_tls_may_not() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x", b"\0", &[22, 3, 1, 0, 1, 2], &[22, 2]]
        {
            assert!(spent(bytes), "{bytes:?}");
        }
    }

    #[test]
    fn once_spent_it_stays_spent() {
        let mut flight = FirstFlight::new(Replay::ClientHello);
        assert!(!flight.keep(b"GET"));
        assert!(!flight.keep(&hello(&[], 4000)));
    }

    #[test]
    fn what_is_too_long_to_keep_may_not() {
        let mut bytes = vec![HANDSHAKE_RECORD, 3, 1, 0xff, 0xff, CLIENT_HELLO, 0, 0xff, 0xff];
        bytes.resize(LONGEST, 0);
        assert!(!spent(&bytes));
        bytes.push(0);
        assert!(spent(&bytes));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            spent(&bytes);
            let mut record = vec![HANDSHAKE_RECORD, 3, 1, 0, 200, CLIENT_HELLO, 0, 0];
            record.extend(bytes);
            spent(&record);
        }
    }

    #[test]
    fn what_else_may_be_said_again_is_for_the_config_to_say() {
        let mut anything = FirstFlight::new(Replay::Anything);
        assert!(anything.keep(b"PING\r\n") && anything.keep(&[0; 1000]));
        assert_eq!(anything.bytes().len(), 1006);
        assert!(!anything.keep(&[0; LONGEST]), "but not more than is kept");
        assert!(!anything.keep(b"x"));
        let mut nothing = FirstFlight::new(Replay::Nothing);
        assert!(!nothing.keep(&[22, 3, 1]));
    }
}
