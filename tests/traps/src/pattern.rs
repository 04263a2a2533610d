//! Bytes that tell whose they are and where they belong.

/// An endless row of bytes that no other pattern has. Repeats after a prime number of bytes, so
/// that a lost, doubled or moved piece of any buffer's size shows.
#[derive(Debug)]
pub(crate) struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new(seed: u64) -> Self {
        // xorshift64; the multiplication spreads neighbouring seeds.
        let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut block = Vec::with_capacity(PERIOD + 8);
        while block.len() < PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            block.extend_from_slice(&state.to_le_bytes());
        }
        block.truncate(PERIOD);
        Self { block }
    }

    /// The bytes from `offset` on, at least one and at most `most`.
    pub(crate) fn from(&self, offset: usize, most: usize) -> &[u8] {
        let rest = &self.block[offset % PERIOD..];
        &rest[..most.min(rest.len())]
    }

    /// Where `bytes`, which arrived at `offset`, first differ.
    pub(crate) fn first_difference(&self, offset: usize, bytes: &[u8]) -> Option<usize> {
        let mut checked = 0;
        while checked < bytes.len() {
            let expected = self.from(offset + checked, bytes.len() - checked);
            let arrived = &bytes[checked..checked + expected.len()];
            if arrived != expected {
                let differs = expected.iter().zip(arrived).position(|(a, b)| a != b);
                return Some(offset + checked + differs.unwrap_or_default());
            }
            checked += expected.len();
        }
        None
    }
}

/// Longer than what a proxy takes for bulk in one read, and a prime.
const PERIOD: usize = 524_287;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(pattern: &Pattern, offset: usize, count: usize) -> Vec<u8> {
        (offset..offset + count).map(|at| pattern.from(at, 1)[0]).collect()
    }

    #[test]
    fn what_arrives_in_its_place_does_not_differ() {
        let pattern = Pattern::new(7);
        let whole = bytes(&pattern, 1000, PERIOD + 5000);
        assert_eq!(pattern.first_difference(1000, &whole), None);
    }

    #[test]
    fn a_lost_piece_of_a_buffers_size_shows_where_it_is_missing() {
        let pattern = Pattern::new(7);
        let mut arrived = bytes(&pattern, 0, 300_000);
        arrived.drain(10_000..10_000 + 65_536);
        let differs = pattern.first_difference(0, &arrived).unwrap();
        assert!((10_000..10_010).contains(&differs), "{differs}");
    }

    #[test]
    fn the_bytes_of_another_connection_show() {
        let foreign = bytes(&Pattern::new(8), 100, 64);
        assert!(Pattern::new(7).first_difference(100, &foreign).is_some());
    }
}
