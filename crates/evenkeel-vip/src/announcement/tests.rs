use proptest::prelude::*;

use super::*;

const MAC: Mac = [0x02, 0, 0, 0, 0, 0x0a];
const VIP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, 0x64);
const RANK: Rank =
    Rank { vrid: 77, priority: 232, source: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 11)) };
const RANK6: Rank =
    Rank { source: IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 0x0a)), ..RANK };

const REQUEST: &str = "ffffffffffff 02000000000a 0806
    0001 0800 06 04 0001 02000000000a 0a000064 ffffffffffff 0a000064
    45564b4c 01 4d e8 00 0a00000b 000000000000";
const REPLY: &str = "ffffffffffff 02000000000a 0806
    0001 0800 06 04 0002 02000000000a 0a000064 02000000000a 0a000064
    45564b4c 01 4d e8 00 0a00000b 000000000000";
const PROBE: &str = "ffffffffffff 02000000000a 0806
    0001 0800 06 04 0001 02000000000a 00000000 000000000000 0a000064
    00000000 00 00 00 00 00000000 000000000000";
const ADVERTISEMENT_FRAME: &str = "333300000001 02000000000a 86dd
    60000000 0040 3a ff fd000000000000000000000000010064 ff020000000000000000000000000001
    88 00 e529 20000000 fd000000000000000000000000010064
    02 01 02000000000a
    fd 04 45564b4c 01 4d e8 00000000000000 fe80000000000000000000fffe00000a";
const SOLICITATION_FRAME: &str = "3333ff010064 02000000000a 86dd
    60000000 0020 3a ff fe80000000000000000000fffe00000a ff0200000000000000000001ff010064
    87 00 7c3f 00000000 fd000000000000000000000000010064
    01 01 02000000000a";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().filter_map(|digit| char::from(digit).to_digit(16)?.try_into().ok()).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

/// The `ICMPv6` message of a frame.
fn message(frame: &[u8]) -> &[u8] {
    &frame[54..]
}

fn read_na(message: &[u8]) -> Option<Heard> {
    Heard::read_neighbour_advertisement(message, 255)
}

#[test]
fn the_frames_are_these() {
    assert_eq!(arp_request(MAC, VIP, RANK).to_vec(), bytes(REQUEST));
    assert_eq!(arp_reply(MAC, VIP, RANK).to_vec(), bytes(REPLY));
    assert_eq!(arp_probe(MAC, VIP).to_vec(), bytes(PROBE));
    let frame = neighbour_advertisement(MAC, VIP6, RANK6).to_vec();
    assert_eq!(frame, bytes(ADVERTISEMENT_FRAME), "{frame:02x?}");
    let frame = probe(MAC, RANK6.source, VIP6.into()).unwrap().to_vec();
    assert_eq!(frame, bytes(SOLICITATION_FRAME), "{frame:02x?}");
}

#[test]
fn an_address_is_announced_and_probed_in_all_its_forms() {
    let announced = |address: IpAddr, rank| {
        announcements(MAC, address, rank).map(|frame| frame.to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(announced(VIP.into(), RANK), [bytes(REQUEST), bytes(REPLY)]);
    assert_eq!(announced(VIP6.into(), RANK6), [bytes(ADVERTISEMENT_FRAME)]);
    assert_eq!(probe(MAC, RANK.source, VIP.into()).map(|frame| frame.to_vec()), Some(bytes(PROBE)));
    assert_eq!(probe(MAC, RANK.source, VIP6.into()).map(|frame| frame.to_vec()), None);
}

#[test]
fn an_announcement_is_heard_with_the_rank_of_who_sent_it() {
    let heard = Heard { kind: Kind::Announced, address: VIP.into(), mac: MAC, rank: Some(RANK) };
    assert_eq!(Heard::read_arp(&bytes(REQUEST)), Some(heard));
    assert_eq!(Heard::read_arp(&bytes(REPLY)), Some(heard));
    let heard = Heard { address: VIP6.into(), rank: Some(RANK6), ..heard };
    assert_eq!(read_na(message(&bytes(ADVERTISEMENT_FRAME))), Some(heard));
}

#[test]
fn a_rank_of_the_other_family_is_left_out() {
    for frame in [arp_request(MAC, VIP, RANK6), arp_reply(MAC, VIP, RANK6)] {
        assert_eq!(frame.len(), 60);
        assert_eq!(Heard::read_arp(&frame).unwrap().rank, None);
    }
    let frame = neighbour_advertisement(MAC, VIP6, RANK);
    assert_eq!(frame.len(), 86, "as keepalived's");
    assert_eq!(read_na(message(&frame)).unwrap().rank, None);
}

#[test]
fn a_probe_claims_nothing() {
    assert_eq!(Heard::read_arp(&bytes(PROBE)), None);
    assert_eq!(read_na(message(&bytes(SOLICITATION_FRAME))), None);
}

#[test]
fn arp_of_others_is_heard_without_a_rank() {
    // As a kernel sends it: 42 bytes; and padded by the network card.
    let frame = |operation, target: [u8; 4]| {
        let mut frame = bytes(REQUEST);
        frame.truncate(42);
        frame[21] = operation;
        frame[38..42].copy_from_slice(&target);
        frame
    };
    let other = [10, 0, 0, 9];
    let cases = [
        (1, VIP.octets(), Kind::Announced),
        (2, VIP.octets(), Kind::Announced),
        (1, other, Kind::Asked),
        (2, other, Kind::Answered),
        (2, [0; 4], Kind::Answered),
    ];
    for (operation, target, kind) in cases {
        let heard = Heard { kind, address: VIP.into(), mac: MAC, rank: None };
        let mut frame = frame(operation, target);
        assert_eq!(Heard::read_arp(&frame), Some(heard));
        frame.resize(60, 0);
        assert_eq!(Heard::read_arp(&frame), Some(heard));
    }
}

#[test]
fn what_is_no_arp_of_ipv4_over_ethernet_is_not_heard() {
    let whole = bytes(REQUEST);
    for length in 0..42 {
        assert_eq!(Heard::read_arp(&whole[..length]), None, "{length} bytes");
    }
    for at in 12..22 {
        let mut frame = whole.clone();
        frame[at] ^= 0x40;
        assert_eq!(Heard::read_arp(&frame), None, "byte {at}");
    }
}

#[test]
fn a_trailer_that_is_not_ours_is_no_rank() {
    for at in [42, 43, 44, 45, 46] {
        let mut frame = bytes(REQUEST);
        frame[at] ^= 1;
        assert_eq!(Heard::read_arp(&frame).unwrap().rank, None, "byte {at}");
    }
    let mut of_no_router = bytes(REQUEST);
    of_no_router[47] = 0;
    assert_eq!(Heard::read_arp(&of_no_router).unwrap().rank, None);
    for length in 42..54 {
        let heard = Heard::read_arp(&bytes(REQUEST)[..length]);
        assert_eq!(heard.unwrap().rank, None, "{length} bytes");
    }
}

#[test]
fn a_neighbour_advertisement_needs_its_hop_limit_and_a_network_card() {
    let whole = message(&bytes(ADVERTISEMENT_FRAME)).to_vec();
    assert_eq!(Heard::read_neighbour_advertisement(&whole, 254), None);
    assert_eq!(read_na(&whole[..24]), None, "no option names a network card");
    for length in (0..64).filter(|length| ![24, 32].contains(length)) {
        assert_eq!(read_na(&whole[..length]), None, "{length} bytes");
    }
    let without_rank = read_na(&whole[..32]).unwrap();
    assert_eq!((without_rank.mac, without_rank.rank), (MAC, None));
    for (at, value) in [(0, 135), (1, 1), (8, 0xff), (25, 0), (33, 0), (33, 3), (33, 5)] {
        let mut message = whole.clone();
        message[at] = value;
        assert_eq!(read_na(&message), None, "{value} at byte {at}");
    }
    let mut long_address = whole;
    long_address[25] = 5;
    assert_eq!(read_na(&long_address), None, "the card is of another kind of network");
}

#[test]
fn a_solicited_advertisement_is_an_answer() {
    let mut message = message(&bytes(ADVERTISEMENT_FRAME)).to_vec();
    message[4] = 0xe0;
    assert_eq!(read_na(&message).unwrap().kind, Kind::Answered);
}

#[test]
fn unknown_options_are_skipped() {
    let whole = message(&bytes(ADVERTISEMENT_FRAME)).to_vec();
    let nonce = bytes("0e01 010203040506");
    let other_experiment = bytes("fd01 000000000000");
    let mixed = [&whole[..24], &nonce[..], &other_experiment, &whole[24..], &nonce].concat();
    assert_eq!(read_na(&mixed), read_na(&whole));
}

fn any_rank(source: impl Strategy<Value = IpAddr>) -> impl Strategy<Value = Rank> {
    (1..=255_u8, any::<u8>(), source).prop_map(|(vrid, priority, source)| Rank {
        vrid,
        priority,
        source,
    })
}

proptest! {
    #[test]
    fn what_is_announced_by_arp_is_heard(
        mac: Mac,
        address in any::<Ipv4Addr>().prop_filter("no address", |a| !a.is_unspecified()),
        rank in any_rank(any::<Ipv4Addr>().prop_map(IpAddr::V4)),
    ) {
        let heard = Heard { kind: Kind::Announced, address: address.into(), mac, rank: Some(rank) };
        for frame in announcements(mac, address.into(), rank) {
            prop_assert_eq!(frame.len(), 60);
            prop_assert_eq!(Heard::read_arp(&frame), Some(heard));
        }
    }

    #[test]
    fn what_is_announced_in_ipv6_is_heard(
        mac: Mac,
        address in any::<Ipv6Addr>().prop_filter("a group", |a| !a.is_multicast()),
        rank in any_rank(any::<Ipv6Addr>().prop_map(IpAddr::V6)),
    ) {
        let heard = Heard { kind: Kind::Announced, address: address.into(), mac, rank: Some(rank) };
        for frame in announcements(mac, address.into(), rank) {
            prop_assert_eq!(frame.len(), 118);
            prop_assert_eq!(read_na(message(&frame)), Some(heard));
            let sum = Sum::default().pseudo_header(address.into(), ALL_NODES.into(), ICMP, 64);
            prop_assert!(sum.bytes(message(&frame)).is_right());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _heard = Heard::read_arp(&bytes);
        let _heard = read_na(&bytes);
        let mut likely = bytes.clone();
        if let Some(head) = likely.first_chunk_mut::<2>() {
            *head = [136, 0];
            let _heard = read_na(&likely);
        }
        let mut likely = bytes;
        if let Some(head) = likely.get_mut(12..22) {
            head.copy_from_slice(&Operation::Reply.head());
            let _heard = Heard::read_arp(&likely);
        }
    }
}
