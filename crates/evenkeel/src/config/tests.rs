//! Broken configs: every mistake is named, in the order of lines, where it is.

use super::mistake::lines;
use super::*;

/// A config up to its first service, which further lines go on with.
const VALID: &str = r#"apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
services:
  - name: api
    listen: {addresses: ["127.0.0.1:6443"]}
    sources:
      - static: {endpoints: ["10.0.0.11:6443", "10.0.0.12:6443"]}
"#;

const REFERENCE: &str = include_str!("../../../../config/reference.yaml");

/// What is wrong with a text, each as `line:column message`.
fn wrong(text: impl AsRef<[u8]>) -> Vec<String> {
    let Err(mistakes) = Config::parse("f", text.as_ref()) else { return Vec::new() };
    let told =
        |Mistake { place, message }: &Mistake| format!("{}:{} {message}", place.line, place.column);
    mistakes.found.iter().map(told).collect()
}

/// What is wrong with a service that has these lines more.
fn wrong_with(lines: &str) -> Vec<String> {
    wrong(format!("{VALID}{lines}\n"))
}

fn valid(text: &str) -> Config {
    Config::parse("f", text.as_bytes()).unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

#[test]
fn a_valid_config_has_no_mistakes() {
    assert_eq!(wrong(VALID), [""; 0]);
}

#[test]
fn every_mistake_of_a_file_is_told_in_the_order_of_lines() {
    let text = r#"apiVersion: v1
kind: Deployment
log:
  level: loud
nonsense: {}
services:
  - name: API
    preset: k8s
    listen:
      addresses: ["0.0.0.0", "127.0.0.1:6443"]
      maxConnections: 0
    sources:
      - static: {endpoints: ["10.0.0.11", "10.0.0.12:6443", "10.0.0.12:6443"]}
      - dns: {}
    health:
      interval: 5
      rise: 0
      probe: {https: {path: healthz}}
    quorum: some
  - name: b
    listen: {addresses: ["127.0.0.1:6443"]}
    sources: []
    members: 0
    unknown: 1
  - listen: {}
"#;
    let told = wrong(text);
    let expected = [
        "1:13 unknown `v1`: expected `evenkeel.dev/v1alpha1`",
        "2:7 unknown `Deployment`: expected `LoadBalancer`",
        "4:10 unknown `loud`: expected one of `error`, ",
        "5:1 unknown key `nonsense`: expected one of `apiVersion`, ",
        "7:11 `API` is no name",
        "8:13 unknown `k8s`: expected one of `kube-apiserver`, ",
        "10:19 `0.0.0.0` has no port",
        "11:23 `0` is lower than 1",
        "13:30 `10.0.0.11` has no port",
        "13:61 the endpoint 10.0.0.12:6443 stands twice",
        "14:9 unknown `dns`: expected one of `static`, `endpointSlice`",
        "16:17 `5` has no unit",
        "17:13 `0` is lower than 1",
        "18:29 `healthz` is not a path that starts with /",
        "19:13 unknown `some`: expected one of `none`, `stacked`",
        "21:26 127.0.0.1:6443 is taken: the service `API` listens there too",
        "22:14 the list is empty: write at least one",
        "23:14 `0` is lower than 1",
        "24:5 unknown key `unknown`: expected one of ",
        "25:5 the key `name` is missing",
        "25:5 the key `sources` is missing",
        "25:13 the key `addresses` is missing",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\nis not\n{expected}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
}

#[test]
fn what_follows_from_a_mistake_is_no_mistake_of_its_own() {
    for (lines, only) in [
        ("    connect: {attemptTimeout: 20s, timeout: 30x}", "8:45 `30x` is not a duration"),
        ("    credentials: {files: {certificate: /a, key: [b]}}", "8:49 a list: expected a path"),
        ("      - endpointSlice: {}\n    credentials: {kubeconfg: {}}", "9:19 unknown `kubeconfg`"),
        ("    members: 0", "8:14 `0` is lower than 1"),
        ("    health: {probe: {https: {expect: [x]}}}", "8:39 `x`: expected a whole number"),
        ("    health: {probe: {tcp: {port: 1}}}", "8:28 unknown key `port`: there are none here"),
    ] {
        let told = wrong_with(lines);
        assert!(matches!(&*told, [told] if told.starts_with(only)), "{lines}: {told:?}");
    }
}

#[test]
fn what_is_missing_is_told_together_with_the_rest() {
    let told = wrong("log: {level: loud}\n");
    let starts =
        ["1:1 the key `apiVersion`", "1:1 the key `kind`", "1:1 the key `services`", "1:14"];
    assert!(told.iter().zip(starts).all(|(told, start)| told.starts_with(start)), "{told:?}");
    assert_eq!(told.len(), starts.len());
}

#[test]
fn a_table_with_all_its_keys_commented_out_is_a_table() {
    let text = format!("{VALID}    health:\n    connect:\n    relay:\nlog:\nshutdown:\nadmin:\n");
    assert_eq!(valid(&text), valid(VALID));
    assert_eq!(wrong_with("    listen:"), ["8:5 the key `listen` stands twice: first in line 5"]);
}

#[test]
fn the_forms_of_yaml_do_not_matter() {
    let config = valid(VALID);
    let json = serde_json::to_string(&config).unwrap();
    for text in [
        format!("\u{feff}{VALID}"),
        VALID.replace('\n', "\r\n"),
        VALID.replace('\n', "\r"),
        format!("---\n{VALID}...\n"),
        format!("%YAML 1.2\n---\n{VALID}"),
        VALID.replace("name: api", "name: !!str 'api'"),
        VALID.replace("sources:", "sources: # where from"),
        json,
    ] {
        assert_eq!(valid(&text), config, "{text:?}");
    }
    // The place is the same, whatever the end of a line is, and with a byte order mark.
    let broken = format!("{VALID}    quorum: x\n");
    let told = wrong(&broken);
    assert!(told[0].starts_with("8:13 "), "{told:?}");
    assert_eq!(wrong(broken.replace('\n', "\r\n")), told);
    assert_eq!(wrong(broken.replace('\n', "\r")), told);
    assert_eq!(wrong(format!("\u{feff}{broken}")), told);
}

#[test]
fn a_text_is_wanted_as_it_was_written() {
    assert_eq!(valid(&VALID.replace("name: api", "name: 0x10")).services[0].name, "0x10");
    assert_eq!(valid(&VALID.replace("name: api", "name: 1e3")).services[0].name, "1e3");
    assert_eq!(valid(&VALID.replace("name: api", "name: true")).services[0].name, "true");
    assert!(valid(&format!("{VALID}admin: {{listen: off}}\n")).admin.listen.address().is_none());
}

#[test]
fn a_number_is_told_why_it_is_none() {
    for (rise, reason) in [
        ("-1", "`-1` is negative"),
        ("0", "`0` is lower than 1"),
        ("101", "`101` is greater than 100"),
        ("99999999999", "`99999999999` is too large"),
        ("99999999999999999999999", "`99999999999999999999999` is too large"),
        ("18446744073709551615", "`18446744073709551615` is too large"),
        ("1.5", "`1.5`: expected a whole number"),
        ("two", "`two`: expected a whole number"),
        ("'2'", "`2` is a text: write it without quotes"),
        ("", "nothing: expected a whole number"),
        ("[2]", "a list: expected a whole number"),
        (".nan", "`.nan` is not a number"),
        ("1e999", "`1e999` is not a number"),
    ] {
        let told = wrong_with(&format!("    health: {{rise: {rise}}}"));
        assert!(told.len() == 1 && told[0].ends_with(reason), "{rise}: {told:?}");
    }
}

#[test]
fn the_limits_on_clients_are_told_where_they_are_wrong() {
    let listen = |limits: &str| {
        VALID.replace("[\"127.0.0.1:6443\"]}", &format!("[\"127.0.0.1:6443\"], {limits}}}"))
    };
    for (limits, told) in [
        ("maxConnectionsPerClient: 0", "5:70 `0` is lower than 1"),
        ("acceptRate: 1000001", "5:57 `1000001` is greater than 1000000"),
        ("acceptRatePerClient: -1", "5:66 `-1` is negative"),
    ] {
        assert_eq!(wrong(listen(limits)), [told], "{limits}");
    }
    assert_eq!(wrong(format!("{VALID}dataPlane: {{threads: 0}}\n")), ["8:22 `0` is lower than 1"]);
    assert_eq!(
        wrong(format!("{VALID}dataPlane: {{threads: 257}}\n")),
        ["8:22 `257` is greater than 256"]
    );
}

#[test]
fn a_limit_of_one_client_that_cannot_be_reached_is_a_warning() {
    let told = |limits: &str| -> Vec<String> {
        let listen = format!("[\"127.0.0.1:6443\"], {limits}}}");
        let config = valid(&VALID.replace("[\"127.0.0.1:6443\"]}", &listen));
        warnings(&config).into_iter().map(|Warning(told)| told).collect()
    };
    assert_eq!(
        told(
            "maxConnections: 9, maxConnectionsPerClient: 10, acceptRate: 2, acceptRatePerClient: 3"
        ),
        [
            "service `api`: listen.maxConnectionsPerClient (10) never takes effect: maxConnections (9) is lower",
            "service `api`: listen.acceptRatePerClient (3) never takes effect: acceptRate (2) is lower",
        ]
    );
    let as_high = "maxConnections: 9, maxConnectionsPerClient: 9, acceptRatePerClient: 3";
    assert_eq!(told(as_high), [""; 0]);
}

#[test]
fn a_config_that_is_shown_reads_back_the_same() {
    for text in [VALID, REFERENCE] {
        let config = valid(text);
        let shown = config.to_yaml().unwrap();
        assert_eq!(valid(&shown), config, "{shown}");
    }
}

#[test]
fn no_bytes_make_reading_panic_or_point_beyond_the_file() {
    let mut random = fastrand::Rng::with_seed(6443);
    let pieces: [&[u8]; 16] = [
        b"\n",
        b"\r",
        b"\t",
        b": ",
        b"- ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"*a",
        b"&a ",
        b"\xff",
        "\u{1f980}".as_bytes(),
        b"!!int ",
        b"---\n",
    ];
    for round in 0..3000 {
        let mut bytes = REFERENCE.as_bytes().to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..6) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] ^= 1 << random.u8(..8),
                2 => drop(bytes.remove(at)),
                3 => drop(bytes.splice(at..at, random.choice(pieces).unwrap().iter().copied())),
                4 => {
                    let end = bytes.len().min(at + random.usize(1..200));
                    drop(bytes.drain(at..end));
                }
                _ => {
                    let end = bytes.len().min(at + random.usize(1..200));
                    let again = bytes[at..end].to_vec();
                    let to = random.usize(..=bytes.len());
                    drop(bytes.splice(to..to, again));
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        let Err(mistakes) = Config::parse("f", &bytes) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_start_matches('\u{feff}');
        for Mistake { place, message } in &mistakes.found {
            let line = lines(text).nth(place.line - 1);
            let within = line.is_some_and(|line| place.column <= line.chars().count() + 1);
            assert!(within, "round {round}: {place:?} of {message}\n{mistakes}");
            let plain = ["::", "Error", "Some(", "{ ", "u32", "u64", "i64", "serde", "variant"];
            let quoted = message.replace("[::]", "").replace("[fd00::11]", "");
            if let Some(odd) = plain.iter().find(|odd| quoted.contains(**odd)) {
                let from_the_file = text.contains(odd) && message.contains('`');
                assert!(from_the_file, "round {round}: {message} has {odd}");
            }
        }
        assert!(!mistakes.to_string().is_empty());
    }
}
