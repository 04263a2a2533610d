//! What the program says of a broken config: the real binary, as snapshots.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::time::Instant;

use crate::harness::{EVENKEEL, command, evenkeel, free_addresses, snapshots, stderr, stdout};

/// A config up to its first service, which further lines go on with.
const VALID: &str = r#"apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
services:
  - name: api
    listen: {addresses: ["127.0.0.1:6443"]}
    sources:
      - static: {endpoints: ["10.0.0.11:6443"]}
"#;

/// Words of Rust and of its libraries, which nobody who writes a config should have to read.
const INTERNAL: [&str; 17] = [
    "panicked",
    "RUST_BACKTRACE",
    "Error {",
    "Error(",
    "Some(",
    "None",
    "Ok(",
    "::",
    "Option<",
    "String",
    "u16",
    "u32",
    "u64",
    "i64",
    "serde",
    "variant",
    "src/",
];

/// Longer than this no answer takes, whatever the file.
const QUICK: Duration = Duration::from_secs(1);

/// What `check` says of the bytes. Holds that it is clean, quick, and on standard error alone.
fn told(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("evenkeel.yaml"), bytes).unwrap();
    check(folder.path(), "evenkeel.yaml")
}

fn check(folder: &Path, file: &str) -> String {
    let run = || {
        let begun = Instant::now();
        (
            command(&["check", "--config", file]).current_dir(folder).output().unwrap(),
            begun.elapsed(),
        )
    };
    let (output, mut took) = run();
    // Once more where the host was busy with something else.
    if took >= QUICK {
        took = run().1;
    }
    let told = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{told}{}", stdout(&output));
    assert_eq!(stdout(&output), "", "{told}");
    assert!(took < QUICK, "{took:?} for\n{told}");
    // What is no internal word: addresses of IPv6.
    let plain = told.replace("[::]", "").replace("[fd00::11]", "");
    let internal = INTERNAL.iter().find(|word| plain.contains(**word));
    assert!(internal.is_none(), "{internal:?} in\n{told}");
    assert!(told.len() < 20_000, "{} bytes", told.len());
    told
}

/// One snapshot of a whole group: each case under its name.
fn hold(name: &str, cases: &[(&str, String)]) {
    let mut all = String::new();
    for (case, text) in cases {
        all.extend(["## ", case, "\n\n", &told(text.as_bytes()), "\n"]);
    }
    snapshots(|| insta::assert_snapshot!(format!("config_errors__{name}"), all));
}

/// The valid config with these lines more.
fn and(lines: &str) -> String {
    format!("{VALID}{lines}\n")
}

/// The valid config with one thing in it replaced.
fn but(from: &str, to: &str) -> String {
    assert!(VALID.contains(from), "{from}");
    VALID.replace(from, to)
}

#[test]
fn keys() {
    hold("keys", &[
        ("misspelt", and("    healht: {}")), // typos:wrong on purpose
        ("misspelt, below", and("    health:\n      intervall: 1s")), // typos:wrong on purpose
        ("of another table", and("timeout: 5s")),
        ("where there are none", and("    policy: {leastConnections: {weight: 1}}")),
        ("twice", and("    quorum: none\n    quorum: stacked")),
        ("missing", "log: {}\n".to_owned()),
        ("missing in a service", "apiVersion: evenkeel.dev/v1alpha1\nkind: LoadBalancer\nservices:\n  - preset: tcp\n".to_owned()),
        ("missing in a table", but("{addresses: [\"127.0.0.1:6443\"]}", "{maxConnections: 1}")),
        ("that is a number", and("1: x")),
        ("that is nothing", and("~: x")),
        ("that is a list", and("? [a]\n: x")),
    ]);
}

#[test]
fn values() {
    hold(
        "values",
        &[
            ("apiVersion", but("v1alpha1", "v1")),
            ("kind", but("LoadBalancer", "Service")),
            ("preset", and("    preset: kubernetes")),
            ("preset, nearly", and("    preset: kubeapiserver")),
            ("quorum", and("    quorum: majority")),
            ("log", and("log: {level: warning, format: xml}")),
            ("a number for a word", and("    quorum: 3")),
            ("nothing for a word", and("    quorum:")),
            ("no unit", and("    health: {interval: 5}")),
            ("a wrong unit", and("    health: {interval: 5 sec}")),
            ("a fraction", and("    health: {interval: 1.5s}")),
            ("nothing for a duration", and("    health:\n      interval:")),
            ("too short and too long", and("    health: {interval: 5ms, connectTimeout: 1m}")),
            ("too small and too large", and("    health: {rise: 0, fall: 101}")),
            ("negative", and("    health: {rise: -1}")),
            ("no number", and("    health: {rise: two}")),
            ("far too large", and("    health: {rise: 99999999999999999999}")),
            ("a number in quotes", and("    health: {rise: '2'}")),
            (
                "a text for a list",
                but("sources:\n      - static: {endpoints: [\"10.0.0.11:6443\"]}", "sources: foo"),
            ),
            ("a table for a list", but("sources:\n      - static", "sources:\n        static")),
            (
                "nothing for a list",
                but("sources:\n      - static: {endpoints: [\"10.0.0.11:6443\"]}", "sources:"),
            ),
            (
                "an empty list",
                but("sources:\n      - static: {endpoints: [\"10.0.0.11:6443\"]}", "sources: []"),
            ),
            ("a text for a table", and("    health: fast")),
            ("a list for a table", and("    health: [fast]")),
            ("a kind without its table", and("    policy: roundRobin")),
            ("a kind that is none", and("    health: {probe: {http: {}}}")),
            ("two kinds", and("    health: {probe: {tcp: {}, https: {}}}")),
            ("no kind", and("    credentials: {}")),
            ("a name", but("name: api", "name: API_server")),
            ("a long name", but("name: api", &format!("name: {}", "a".repeat(64)))),
            (
                "a path, a host, a status",
                and(
                    "    health:\n      probe:\n        https: {path: healthz, serverName: 'a b', expect: [99, 200]}",
                ),
            ),
            ("characters that write on the terminal", and("    quorum: \"\\e[31mred\\u202e\"")),
        ],
    );
}

#[test]
fn addresses() {
    let listen = |address: &str| but("\"127.0.0.1:6443\"", address);
    let endpoint = |address: &str| but("\"10.0.0.11:6443\"", address);
    hold(
        "addresses",
        &[
            ("listen: no port", listen("127.0.0.1")),
            ("listen: no address", listen("6443")),
            ("listen: a port beyond all", listen("127.0.0.1:65536")),
            ("listen: port 0", listen("127.0.0.1:0")),
            ("listen: a name", listen("localhost:6443")),
            ("listen: brackets without quotes", listen("[::]:6443")),
            ("listen: none", listen("")),
            ("endpoint: no port", endpoint("10.0.0.11")),
            ("endpoint: no such address", endpoint("10.0.0.256:6443")),
            ("endpoint: a name", endpoint("cp-1:6443")),
            ("endpoint: no host", endpoint("0.0.0.0:6443")),
            ("endpoint: port 0", endpoint("10.0.0.11:0")),
            ("endpoint: none", endpoint("")),
            ("admin: for all to see", and("admin: {listen: \"0.0.0.0:9643\"}")),
            ("admin: nonsense", and("admin: {listen: 9643}")),
        ],
    );
}

#[test]
fn tables_that_do_not_fit_together() {
    let second = |name: &str, listen: &str| {
        and(&format!(
            "  - name: {name}\n    listen: {{addresses: [\"{listen}\"]}}\n    sources: [{{static: {{endpoints: [\"10.0.0.21:443\"]}}}}]"
        ))
    };
    let own = |listen: &str, endpoint: &str| {
        but("127.0.0.1:6443", listen).replace("10.0.0.11:6443", endpoint)
    };
    hold(
        "tables",
        &[
            ("a service twice", second("api", "127.0.0.1:443")),
            ("a listener twice", second("web", "127.0.0.1:6443")),
            ("a listener within another", second("web", "0.0.0.0:6443")),
            (
                "a listener twice in one service",
                but("\"127.0.0.1:6443\"", "\"127.0.0.1:6443\", \"127.0.0.1:6443\""),
            ),
            ("the listener of admin", but("127.0.0.1:6443", "0.0.0.0:9643")),
            ("an endpoint twice", and("      - static: {endpoints: [\"10.0.0.11:6443\"]}")),
            ("an endpoint that is a listener", own("127.0.0.1:6443", "127.0.0.1:6443")),
            ("an endpoint that a listener includes", own("0.0.0.0:6443", "127.0.0.1:6443")),
            ("an endpoint that is admin", own("127.0.0.1:6443", "127.0.0.1:9643")),
            ("a source that needs credentials", and("      - endpointSlice: {}")),
            (
                "a source that needs a CA",
                and("      - endpointSlice: {}\n    credentials: {files: {token: /t}}"),
            ),
            ("a certificate without key", and("    credentials: {files: {certificate: /c}}")),
            ("a key without certificate", and("    credentials: {files: {key: /k}}")),
            (
                "an attempt longer than all",
                and("    connect:\n      attemptTimeout: 9s\n      timeout: 2s"),
            ),
            (
                "fewer members than endpoints",
                but("[\"10.0.0.11:6443\"]", "[\"10.0.0.11:6443\", \"10.0.0.12:6443\"]")
                    + "    members: 1\n",
            ),
        ],
    );
}

#[test]
fn what_is_no_yaml() {
    hold(
        "syntax",
        &[
            ("empty", String::new()),
            ("only comments", "# nothing\n\n---\n# here\n".to_owned()),
            ("a word", "hello\n".to_owned()),
            ("a list", "- hello\n".to_owned()),
            ("a tab", but("    sources:", "\tsources:")),
            ("an unclosed quote", and("    quorum: \"none")),
            ("an unclosed bracket", but("[\"10.0.0.11:6443\"]}", "[\"10.0.0.11:6443\"")),
            ("no blank after the colon", and("    quorum:none")),
            ("no colon", and("    quorum")),
            ("two colons", and("    quorum: a: b")),
            ("too little indented", and("   quorum: none")),
            ("too much indented", and("     quorum: none")),
            (
                "a comma too few",
                but("[\"10.0.0.11:6443\"]", "[\"10.0.0.11:6443\" \"10.0.0.12:6443\"]"),
            ),
            ("a text that needs quotes", and("    quorum: @none")),
            ("an escape that is none", and("    quorum: \"C:\\Program\"")),
            ("two documents", and("---\nkind: Service")),
            ("an alias of nothing", and("    quorum: *none")),
            ("an alias in itself", "a: &a [*a]\n".to_owned()),
            ("a control character", and("    quorum: a\u{7}b")),
            ("NUL", and("    quorum: a\0b")),
            ("a byte order mark, and a mistake", format!("\u{feff}{}", and("    quorum: x"))),
            ("CRLF, and a mistake", and("    quorum: x").replace('\n', "\r\n")),
            ("a very long line", and(&format!("    quorum: {}", "x".repeat(100_000)))),
            (
                "a very long line before",
                format!("{{\"log\": {{\"level\": \"info\"}}, {}\"x\": 1}}", " ".repeat(100_000)),
            ),
            ("a very long key", and(&format!("    {}: x", "k".repeat(100_000)))),
        ],
    );
}

#[test]
fn what_is_no_text() {
    let mut latin = and("    # K").into_bytes();
    latin.extend(b"\xf6nig\n");
    let utf16: Vec<u8> = VALID.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let all = format!("## not UTF-8\n\n{}\n## UTF-16\n\n{}", told(&latin), told(&utf16));
    snapshots(|| insta::assert_snapshot!("config_errors__no_text", all));
}

#[test]
fn attacks_end_quickly_and_quietly() {
    let letters = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let bomb: String = std::iter::once("a: &a [x, x, x, x, x, x, x, x, x]\n".to_owned())
        .chain(letters.windows(2).map(|two| {
            format!("{}: &{} [{}]\n", two[1], two[1], vec![format!("*{}", two[0]); 9].join(", "))
        }))
        .collect();
    let nested: String = (0..20_000).map(|depth| " ".repeat(depth.min(40)) + "a:\n").collect();
    let deep: String = (0..1400).map(|depth| " ".repeat(depth) + "a:\n").collect();
    hold(
        "attacks",
        &[
            ("a billion laughs", bomb),
            ("20,000 brackets", "[".repeat(20_000)),
            (
                "20,000 pairs of brackets",
                and(&format!("log: {}{}", "[".repeat(20_000), "]".repeat(20_000))),
            ),
            ("20,000 braces", "{a: ".repeat(20_000)),
            ("20,000 dashes", "- ".repeat(20_000)),
            ("20,000 nested mappings", nested),
            ("nested as deep as a megabyte lets", deep),
            ("20 MB", and(&format!("# {}", "x".repeat(20_000_000)))),
            ("60,000 values", and(&format!("x: [{}]", "1, ".repeat(60_000)))),
        ],
    );
}

#[test]
fn more_mistakes_than_anyone_reads_are_not_all_shown() {
    let unknown = (0..5000).map(|number| format!("    unknown{number}: 1")).collect::<Vec<_>>();
    for text in [and(&unknown.join("\n")), and(&"    quorum: none\n".repeat(5000))] {
        let told = told(text.as_bytes());
        assert_eq!(told.matches("error: ").count(), 50, "{told}");
        assert!(
            told.trim_end().ends_with("more than 50 mistakes, of which 50 are shown"),
            "{told}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_valid_config() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    let all = ["folder", "missing.yaml"]
        .map(|file| format!("## {file}\n\n{}\n", check(folder.path(), file)))
        .concat();
    snapshots(|| insta::assert_snapshot!("config_errors__unreadable", all));
}

#[test]
fn a_file_without_permission_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evenkeel.yaml");
    fs::write(&file, VALID).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // Root may read it all the same, so it is read as nobody.
    let as_nobody = fs::read(&file).is_ok();
    let mut check = Command::new(if as_nobody { "setpriv" } else { EVENKEEL });
    if as_nobody {
        check.args(["--reuid=65534", "--regid=65534", "--clear-groups", EVENKEEL]);
    }
    let output = check.args(["check", "--config"]).arg(&file).output();
    match output {
        Ok(output) if output.status.code() == Some(3) => {
            let told = stderr(&output);
            assert!(
                told.contains("could not read") && told.contains("Permission denied"),
                "{told}"
            );
        }
        // Where the folder of the build is closed to others, the binary cannot be run as nobody.
        Ok(output) if as_nobody && matches!(output.status.code(), Some(126 | 127)) => {
            assert!(std::env::var_os("CI").is_none(), "{}", stderr(&output));
            println!("skipped: nobody may not run {EVENKEEL}");
        }
        Ok(output) => panic!("{}{}", stdout(&output), stderr(&output)),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "setpriv: {error}");
            println!("skipped: setpriv: {error}");
        }
    }
}

#[test]
fn run_refuses_a_broken_config_before_it_binds() {
    let [listen] = free_addresses();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evenkeel.yaml");
    fs::write(&file, and("    quorum: x").replace("127.0.0.1:6443", &listen.to_string())).unwrap();
    // If it bound first, the port in use would be what it says, with exit code 1.
    let _taken = std::net::TcpListener::bind(listen).unwrap();
    let output = evenkeel(&["run", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert!(stderr(&output).contains("unknown `x`"), "{}", stderr(&output));
    assert_eq!(stdout(&output), "");
}
