//! What a connection opens with: an operation and its two lengths.
//!
//! ```text
//!  0      4           8                16               24
//!  | "ekb1" | operation |  first length  |  second length |     little-endian
//! ```
//!
//! | operation | first | second | what follows |
//! |---|---|---|---|
//! | echo | request | answer | request bytes in, answer bytes out, again and again |
//! | down | bytes in all | 1: from memory | the backend sends them and closes |
//! | up | - | - | the client sends and half-closes; the backend answers how many came, in 8 bytes |

/// How a connection is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Header {
    /// So many bytes in, so many out.
    Echo { request: u64, answer: u64 },
    /// The backend sends.
    Down { total: u64, from_memory: bool },
    /// The client sends.
    Up,
}

impl Header {
    /// How many bytes it takes.
    pub(crate) const LENGTH: usize = 24;

    /// The header as it is sent.
    pub(crate) fn encode(self) -> [u8; Self::LENGTH] {
        let (operation, first, second) = match self {
            Self::Echo { request, answer } => (ECHO, request, answer),
            Self::Down { total, from_memory } => (DOWN, total, u64::from(from_memory)),
            Self::Up => (UP, 0, 0),
        };
        let mut bytes = [0; Self::LENGTH];
        let words = [MAGIC, operation].map(u32::to_le_bytes);
        let lengths = [first, second].map(u64::to_le_bytes);
        let all = words.iter().flatten().chain(lengths.iter().flatten());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
        bytes
    }

    /// The header that was sent. None: those bytes are none.
    pub(crate) fn decode(bytes: &[u8; Self::LENGTH]) -> Option<Self> {
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (operation, rest) = rest.split_first_chunk::<4>()?;
        let (first, rest) = rest.split_first_chunk::<8>()?;
        let (second, _) = rest.split_first_chunk::<8>()?;
        if u32::from_le_bytes(*magic) != MAGIC {
            return None;
        }
        let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
        match (u32::from_le_bytes(*operation), second) {
            // Nothing in would be an answer without end.
            (ECHO, _) if first > 0 => Some(Self::Echo { request: first, answer: second }),
            (DOWN, 0 | 1) => Some(Self::Down { total: first, from_memory: second == 1 }),
            (UP, 0) => Some(Self::Up),
            _ => None,
        }
    }
}

const MAGIC: u32 = u32::from_le_bytes(*b"ekb1");
const ECHO: u32 = 1;
const DOWN: u32 = 2;
const UP: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_what_arrives() {
        for header in [
            Header::Echo { request: 128, answer: 16_384 },
            Header::Echo { request: 1, answer: 0 },
            Header::Down { total: u64::MAX, from_memory: false },
            Header::Down { total: 7, from_memory: true },
            Header::Up,
        ] {
            assert_eq!(Header::decode(&header.encode()), Some(header));
        }
    }

    #[test]
    fn what_is_no_header_is_refused() {
        let good = Header::Echo { request: 1, answer: 1 }.encode();
        let wrong = |at: usize, byte: u8| {
            let mut bytes = good;
            bytes[at] = byte;
            Header::decode(&bytes)
        };
        assert_eq!(wrong(0, 0x16), None, "a TLS record");
        assert_eq!(wrong(4, 9), None, "an operation that is none");
        assert_eq!(wrong(8, 0), None, "a request of no bytes");
    }
}
