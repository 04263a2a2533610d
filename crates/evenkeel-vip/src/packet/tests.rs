use proptest::prelude::*;

use super::*;

const OWNER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 98, 0, 1));
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 98, 0, 2));
const GROUP: IpAddr = IpAddr::V4(GROUP_V4);
const GROUP6: IpAddr = IpAddr::V6(GROUP_V6);

/// What keepalived 2.2.7 sends, captured.
const KEEPALIVED: &str = "314d6401 00647495 0a620064";
const KEEPALIVED_PRIORITY_0: &str = "314d0001 0064d895 0a620064";
const KEEPALIVED_VERSION_2: &str = "214d6401 00016fea 0a620064 00000000 00000000";
const KEEPALIVED_IPV6: &str =
    "314d6402 000a6f94 fe800000000000000000000000010064 fd980000000000000000000000000064";
/// The first, with the checksum of RFC 9568.
const RFC9568: &str = "314d6401 00645f87 0a620064";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().filter_map(|digit| char::from(digit).to_digit(16)?.try_into().ok()).collect();
    digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect()
}

fn owner6() -> IpAddr {
    "fe80::ff:fe00:101".parse().unwrap()
}

fn advert(priority: u8) -> Advert {
    Advert {
        vrid: 77,
        priority,
        interval: Duration::from_secs(1),
        addresses: AddressList::new(&[Ipv4Addr::new(10, 98, 0, 100).into()]).unwrap(),
    }
}

fn advert6() -> Advert {
    let addresses = ["fe80::1:64", "fd98::64"].map(|address| address.parse().unwrap());
    Advert {
        vrid: 77,
        priority: 100,
        interval: Duration::from_millis(100),
        addresses: AddressList::new(&addresses).unwrap(),
    }
}

fn read(bytes: &[u8]) -> Result<(Advert, Checksum), Rejected> {
    Advert::read(bytes, OWNER, GROUP, 255)
}

#[test]
fn we_write_what_keepalived_does() {
    let wire = |advert: Advert, form| advert.write(OWNER, GROUP, form).to_vec();
    assert_eq!(wire(advert(100), Checksum::Keepalived), bytes(KEEPALIVED));
    assert_eq!(wire(advert(0), Checksum::Keepalived), bytes(KEEPALIVED_PRIORITY_0));
    assert_eq!(wire(advert(100), Checksum::Rfc9568), bytes(RFC9568));
    for form in [Checksum::Keepalived, Checksum::Rfc9568] {
        assert_eq!(advert6().write(owner6(), GROUP6, form).to_vec(), bytes(KEEPALIVED_IPV6));
    }
}

#[test]
fn we_read_what_keepalived_writes() {
    assert_eq!(read(&bytes(KEEPALIVED)), Ok((advert(100), Checksum::Keepalived)));
    assert_eq!(read(&bytes(KEEPALIVED_PRIORITY_0)), Ok((advert(0), Checksum::Keepalived)));
    assert_eq!(read(&bytes(RFC9568)), Ok((advert(100), Checksum::Rfc9568)));
    let read = Advert::read(&bytes(KEEPALIVED_IPV6), owner6(), GROUP6, 255);
    assert_eq!(read, Ok((advert6(), Checksum::Keepalived)));
}

#[test]
fn unicast_may_have_the_pseudo_header_of_either_destination() {
    for destination in [PEER, GROUP] {
        let wire = advert(100).write(OWNER, destination, Checksum::Keepalived);
        let read = Advert::read(&wire, OWNER, PEER, 255);
        assert_eq!(read, Ok((advert(100), Checksum::Keepalived)), "to {destination}");
    }
    let wire = advert(100).write(OWNER, PEER, Checksum::Keepalived);
    assert_eq!(read(&wire), Err(Rejected::Checksum), "multicast has only one");
    let wire = advert6().write(owner6(), GROUP6, Checksum::Keepalived);
    let read = Advert::read(&wire, owner6(), "fe80::2".parse().unwrap(), 255);
    assert_eq!(read, Err(Rejected::Checksum), "and so has IPv6");
}

#[test]
fn keepalived_sends_unicast_of_ipv6_with_any_hop_limit() {
    let read = |source: IpAddr, destination: &str| {
        let destination = destination.parse().unwrap();
        let wire = advert6().write(source, destination, Checksum::Keepalived);
        Advert::read(&wire, source, destination, 64).map(|(advert, _)| advert)
    };
    assert_eq!(read(owner6(), "fe80::2"), Ok(advert6()));
    assert_eq!(read(owner6(), "ff02::12"), Err(Rejected::Ttl), "but not multicast");
    assert_eq!(read(owner6(), "fd00::2"), Err(Rejected::Ttl), "nor what a router may forward");
    assert_eq!(read("fd00::1".parse().unwrap(), "fe80::2"), Err(Rejected::Ttl));
}

/// The advert with one byte set, and its checksum right again.
fn with(at: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes(KEEPALIVED);
    bytes[at] = value;
    right_again(bytes, OWNER, GROUP)
}

fn right_again(mut bytes: Vec<u8>, source: IpAddr, destination: IpAddr) -> Vec<u8> {
    bytes[6..8].fill(0);
    let header = Sum::default().pseudo_header(source, destination, PROTOCOL, bytes.len());
    let checksum = header.bytes(&bytes).checksum().to_be_bytes();
    bytes[6..8].copy_from_slice(&checksum);
    bytes
}

#[test]
fn each_check_rejects() {
    for ttl in [0, 1, 254] {
        let read = Advert::read(&bytes(KEEPALIVED), OWNER, GROUP, ttl);
        assert_eq!(read, Err(Rejected::Ttl));
    }
    assert_eq!(read(&bytes(KEEPALIVED_VERSION_2)), Err(Rejected::OldVersion));
    for first in [0x11, 0x20, 0x22, 0x41, 0x00, 0xff] {
        assert_eq!(read(&with(0, first)), Err(Rejected::Version), "{first:#x}");
    }
    for first in [0x30, 0x32, 0x3f] {
        assert_eq!(read(&with(0, first)), Err(Rejected::Type), "{first:#x}");
    }
    for length in 0..12 {
        let whole = bytes(KEEPALIVED);
        assert_eq!(read(&whole[..length]), Err(Rejected::Length), "{length}");
    }
    let longer = right_again([bytes(KEEPALIVED), vec![0; 4]].concat(), OWNER, GROUP);
    assert_eq!(read(&longer), Err(Rejected::Length));
    assert_eq!(read(&with(3, 0)), Err(Rejected::NoAddresses));
    assert_eq!(read(&with(3, 2)), Err(Rejected::Length));
    assert_eq!(read(&with(3, 21)), Err(Rejected::TooManyAddresses));
    assert_eq!(read(&with(3, 255)), Err(Rejected::TooManyAddresses));
    for at in [1, 2, 5, 6, 7, 8, 11] {
        let mut wrong = bytes(KEEPALIVED);
        wrong[at] ^= 0x10;
        assert_eq!(read(&wrong), Err(Rejected::Checksum), "byte {at}");
    }
    assert_eq!(read(&with(5, 0)), Err(Rejected::Interval));
    let mut global_first = bytes(KEEPALIVED_IPV6);
    global_first.drain(8..24);
    global_first[3] = 1;
    let global_first = right_again(global_first, owner6(), GROUP6);
    let read = Advert::read(&global_first, owner6(), GROUP6, 255);
    assert_eq!(read, Err(Rejected::FirstNotLinkLocal));
}

#[test]
fn reserved_bits_are_ignored() {
    assert_eq!(read(&with(4, 0xf0)), Ok((advert(100), Checksum::Keepalived)));
}

#[test]
fn every_rejection_has_a_label_of_its_own() {
    let labels: std::collections::BTreeSet<_> =
        Rejected::ALL.iter().map(|rejected| rejected.as_str()).collect();
    assert_eq!(labels.len(), Rejected::ALL.len());
}

#[test]
fn an_interval_that_the_field_cannot_say_becomes_the_nearest() {
    let written = |interval| {
        let wire = Advert { interval, ..advert(100) }.write(OWNER, GROUP, Checksum::Keepalived);
        read(&wire).unwrap().0.interval
    };
    assert_eq!(written(Duration::ZERO), Duration::from_millis(10));
    assert_eq!(written(Duration::from_millis(109)), Duration::from_millis(100));
    assert_eq!(written(Duration::MAX), LONGEST_INTERVAL);
}

#[test]
fn a_list_that_no_advert_may_have_cannot_be_made() {
    let v4 = |last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last));
    let v6 = |address: &str| address.parse::<IpAddr>().unwrap();
    let many: Vec<_> = (1..=21).map(v4).collect();
    assert_eq!(AddressList::new(&[]), Err(AddressListError::Empty));
    assert_eq!(AddressList::new(&many), Err(AddressListError::TooMany));
    assert_eq!(AddressList::new(&many[..20]).unwrap().len(), 20);
    let mixed = AddressList::new(&[v4(1), v6("fe80::1")]);
    assert_eq!(mixed, Err(AddressListError::TwoFamilies));
    let global = AddressList::new(&[v6("fd00::1"), v6("fe80::1")]);
    assert_eq!(global, Err(AddressListError::FirstNotLinkLocal));
}

#[test]
fn lists_are_compared_without_their_order() {
    let [one, two, three] = [1, 2, 3].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    let list = AddressList::new(&[one, two]).unwrap();
    assert!(list.are(&[one, two]) && list.are(&[two, one]));
    assert!(!list.are(&[one]) && !list.are(&[one, three]) && !list.are(&[one, two, three]));
    assert!(!list.are(&[one, one]) && !AddressList::new(&[one, one]).unwrap().are(&[one, two]));
}

fn any_v4() -> impl Strategy<Value = Vec<IpAddr>> {
    prop::collection::vec(any::<Ipv4Addr>().prop_map(IpAddr::V4), 1..=20)
}

fn any_v6() -> impl Strategy<Value = Vec<IpAddr>> {
    let link_local = any::<u64>().prop_map(|low| Ipv6Addr::from((0xfe80 << 112) | u128::from(low)));
    let more = prop::collection::vec(any::<Ipv6Addr>(), 0..20);
    (link_local, more)
        .prop_map(|(first, more)| std::iter::once(first).chain(more).map(IpAddr::V6).collect())
}

/// A source, a destination and the addresses, of one family.
fn any_route() -> impl Strategy<Value = (IpAddr, IpAddr, Vec<IpAddr>)> {
    let v4 = (any::<Ipv4Addr>(), any::<Ipv4Addr>(), any_v4());
    let v6 = (any::<Ipv6Addr>(), any::<Ipv6Addr>(), any_v6());
    prop_oneof![
        v4.prop_map(|(source, destination, list)| (source.into(), destination.into(), list)),
        v6.prop_map(|(source, destination, list)| (source.into(), destination.into(), list)),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        vrid in 1..=255_u8,
        priority: u8,
        interval in 1..=4095_u64,
        (source, destination, addresses) in any_route(),
        rfc9568: bool,
    ) {
        let advert = Advert {
            vrid,
            priority,
            interval: Duration::from_millis(interval * 10),
            addresses: AddressList::new(&addresses).unwrap(),
        };
        let form = if rfc9568 { Checksum::Rfc9568 } else { Checksum::Keepalived };
        let wire = advert.write(source, destination, form);
        let (read, read_form) = Advert::read(&wire, source, destination, 255).unwrap();
        prop_assert_eq!(read, advert);
        // Where the pseudo-header happens to sum to nothing, both forms are the same.
        if source.is_ipv4() && !rfc9568 {
            prop_assert_eq!(read_form, Checksum::Keepalived);
        }
    }

    #[test]
    fn no_bytes_panic_and_what_is_read_is_valid(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        (source, destination, _) in any_route(),
    ) {
        // Anything at all; then with a header that passes the first checks; then with a checksum.
        let mut likely = bytes.clone();
        let mut right = bytes.clone();
        if let [first, _, _, count, ..] = &mut likely[..] {
            *first = 0x31;
            let size = if source.is_ipv4() { 4 } else { 16 };
            *count = u8::try_from(bytes.len().saturating_sub(8) / size).unwrap_or(255);
            if likely.len() >= 8 {
                right = right_again(likely.clone(), source, destination);
            }
        }
        for bytes in [bytes, likely, right] {
            if let Ok((advert, _)) = Advert::read(&bytes, source, destination, 255) {
                prop_assert!(AddressList::new(&advert.addresses).is_ok());
                prop_assert!(advert.interval >= Duration::from_millis(10));
                prop_assert!(advert.interval <= LONGEST_INTERVAL);
            }
        }
    }
}
