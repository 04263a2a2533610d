//! Adverts from anybody: nothing panics, and what is read is what was written.
#![no_main]

use std::net::IpAddr;

use evenkeel_vip::packet::{AddressList, Advert, Checksum, LONGEST_INTERVAL, TTL};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let routes: [(IpAddr, IpAddr); 4] = [
        ([10, 0, 0, 11].into(), [224, 0, 0, 18].into()),
        ([10, 0, 0, 11].into(), [10, 0, 0, 12].into()),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 1].into(), [0xff02, 0, 0, 0, 0, 0, 0, 0x12].into()),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 1].into(), [0xfe80, 0, 0, 0, 0, 0, 0, 2].into()),
    ];
    for (source, destination) in routes {
        check(bytes, source, destination);
        check(&with_checksum(bytes), source, destination);
        check(&with_checksum_of_ipv6(bytes, source, destination), source, destination);
    }
});

fn check(bytes: &[u8], source: IpAddr, destination: IpAddr) {
    let Ok((advert, _)) = Advert::read(bytes, source, destination, TTL) else { return };
    assert_eq!(AddressList::new(&advert.addresses), Ok(advert.addresses));
    assert!(!advert.interval.is_zero() && advert.interval <= LONGEST_INTERVAL);
    for checksum in [Checksum::Keepalived, Checksum::Rfc9568] {
        let wire = advert.write(source, destination, checksum);
        assert_eq!(wire.len(), bytes.len());
        let (read, _) = Advert::read(&wire, source, destination, TTL).expect("it is ours");
        assert_eq!(read, advert);
    }
}

/// The bytes with the checksum of RFC 9568 for IPv4, lest nothing ever gets past that check.
fn with_checksum(bytes: &[u8]) -> Vec<u8> {
    set(bytes, 0)
}

/// The bytes with the checksum over the pseudo-header of IPv6.
fn with_checksum_of_ipv6(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    set(bytes, sum(&octets(source)) + sum(&octets(destination)) + 112 + bytes.len())
}

fn set(bytes: &[u8], mut total: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 8 {
        bytes[6..8].fill(0);
        total += sum(&bytes);
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        bytes[6..8].copy_from_slice(&(!u16::try_from(total).expect("it is folded")).to_be_bytes());
    }
    bytes
}

fn sum(bytes: &[u8]) -> usize {
    let word = |pair: &[u8]| usize::from(pair[0]) * 256 + usize::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}
