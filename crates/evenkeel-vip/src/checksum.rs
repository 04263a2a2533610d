//! The Internet checksum (RFC 1071), alone and with the pseudo-headers of IPv4 and IPv6.

use std::net::IpAddr;

/// The sum of 16-bit words so far, not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds the pseudo-header of a packet of `length` bytes: of IPv4 (RFC 9293 3.1) source,
    /// destination, protocol and length, of IPv6 (RFC 8200 8.1) the same in more bytes.
    pub(crate) fn pseudo_header(
        self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        length: usize,
    ) -> Self {
        // A word of zeros adds nothing, so the two forms differ only in the addresses.
        self.address(source).address(destination).word(protocol.into()).word(length as u64)
    }

    /// Adds `bytes`; an odd last one counts as if a zero followed.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let (words, odd) = bytes.as_chunks::<2>();
        let sum = words.iter().fold(self, |sum, word| sum.word(u16::from_be_bytes(*word).into()));
        odd.iter().fold(sum, |sum, byte| sum.word(u16::from_be_bytes([*byte, 0]).into()))
    }

    /// The checksum: what makes the whole sum to zero.
    pub(crate) fn checksum(self) -> u16 {
        !self.folded()
    }

    /// Whether what was added, its checksum included, is as it was sent.
    pub(crate) fn is_right(self) -> bool {
        self.folded() == u16::MAX
    }

    fn address(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }

    fn word(self, word: u64) -> Self {
        Self(self.0.wrapping_add(word))
    }

    fn folded(self) -> u16 {
        // 64 bits hold the sum of more bytes than memory; four folds are enough for them.
        let fold = |sum: u64| (sum & 0xffff).wrapping_add(sum >> 16);
        let folded = fold(fold(fold(fold(self.0))));
        let [high, low] = [(folded >> 8) & 0xff, folded & 0xff];
        u16::from_be_bytes([u8::try_from(high).unwrap_or(0), u8::try_from(low).unwrap_or(0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_rfc_1071() {
        // The example of section 3.
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::default().bytes(&bytes).checksum(), !0xddf2);
    }

    #[test]
    fn an_odd_byte_counts_as_if_a_zero_followed() {
        let odd = Sum::default().bytes(&[1, 2, 3]);
        assert_eq!(odd.checksum(), Sum::default().bytes(&[1, 2, 3, 0]).checksum());
    }

    #[test]
    fn a_sum_that_overflows_is_carried_round() {
        let sum = Sum(u64::MAX);
        assert_eq!(sum.folded(), 0xffff);
        assert!(sum.is_right());
    }
}
