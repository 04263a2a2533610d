//! Frames and neighbour advertisements from anybody: nothing panics, and who is heard with a rank is
//! heard alike when it says so again.
#![no_main]

use evenkeel_vip::announcement::{Heard, Kind, announcements};
use libfuzzer_sys::fuzz_target;

/// What comes before the message of a neighbour advertisement: Ethernet and IPv6.
const BEFORE_ICMP: usize = 14 + 40;

fuzz_target!(|bytes: &[u8]| {
    if let Some(heard) = Heard::read_arp(bytes) {
        assert!(heard.address.is_ipv4());
        check(heard);
    }
    if let Some(heard) = Heard::read_neighbour_advertisement(bytes, 255) {
        assert!(heard.address.is_ipv6());
        assert_eq!(Heard::read_neighbour_advertisement(bytes, 254), None);
        check(heard);
    }
});

fn check(heard: Heard) {
    let Some(rank) = heard.rank else { return };
    for frame in announcements(heard.mac, heard.address, rank) {
        let again = if heard.address.is_ipv4() {
            Heard::read_arp(&frame)
        } else {
            Heard::read_neighbour_advertisement(&frame[BEFORE_ICMP..], 255)
        };
        assert_eq!(again, Some(Heard { kind: Kind::Announced, ..heard }));
    }
}
