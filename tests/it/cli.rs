//! The commands as a user or a script meets them: output, exit codes, signals.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::harness::{
    EVENKEEL, Running, command, echo, evenkeel, free_addresses, snapshots, stderr, stdout,
};

/// The arguments that name a command, of every command there is.
const COMMANDS: [&str; 15] = [
    "",
    "run",
    "check",
    "config",
    "config show",
    "config schema",
    "status",
    "events",
    "probe",
    "demo",
    "healthcheck",
    "completion",
    "version",
    "vip",
    "vip move",
];

/// A config in a folder of its own.
struct ConfigFile {
    path: PathBuf,
    _folder: TempDir,
}

impl ConfigFile {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evenkeel.yaml");
        fs::write(&path, text).unwrap();
        Self { path, _folder: folder }
    }

    fn arg(&self) -> &str {
        self.path.to_str().unwrap()
    }
}

fn head(admin: SocketAddr) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1alpha1\nkind: LoadBalancer\nadmin: {{listen: \"{admin}\"}}\nservices:\n"
    )
}

/// A service whose endpoints are only connected to by its probes, once a minute.
fn service(name: &str, listen: SocketAddr, endpoint: SocketAddr) -> String {
    format!(
        "  - name: {name}\n    listen: {{addresses: [\"{listen}\"]}}\n    sources: [{{static: {{endpoints: [\"{endpoint}\"]}}}}]\n    health: {{interval: 1m}}\n"
    )
}

/// Opens a connection and sends a line to and fro over it.
fn talk(listen: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(listen).unwrap();
    stream.write_all(b"even\n").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"even\n");
    stream
}

fn connections(running: &Running) -> u64 {
    running.status()["services"][0]["connections"].as_u64().unwrap()
}

#[test]
fn every_command_explains_itself() {
    let mut all = String::new();
    for name in COMMANDS {
        let args: Vec<&str> = name.split_whitespace().chain(["--help"]).collect();
        let output = evenkeel(&args);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        let text = stdout(&output);
        let widest = text.lines().map(|line| line.chars().count()).max();
        assert!(widest <= Some(100), "{name}:\n{text}");
        // The options that all have are shown once.
        let own = match (text.find("      --log-level"), text.find("  -h, --help")) {
            (Some(start), Some(end)) if !name.is_empty() => text[..start].to_owned() + &text[end..],
            (..) => text,
        };
        let own: Vec<&str> = own.lines().map(str::trim_end).collect();
        all.extend(["## evenkeel ", &args.join(" "), "\n\n", &own.join("\n"), "\n\n"]);
    }
    snapshots(|| insta::assert_snapshot!("cli__help", all));
}

#[test]
fn no_command_is_missing_from_these_tests() {
    for group in ["", "config", "vip"] {
        let help = stdout(&evenkeel(
            &[group, "--help"]
                .map(str::trim)
                .into_iter()
                .filter(|arg| !arg.is_empty())
                .collect::<Vec<_>>(),
        ));
        let listed = help.split("Commands:").nth(1).unwrap().split("\n\n").next().unwrap();
        for command in listed.lines().filter_map(|line| line.split_whitespace().next()) {
            let full = format!("{group} {command}");
            let known = COMMANDS.contains(&full.trim()) || command == "help";
            // A line that goes on the one above it.
            let continued = !listed.contains(&format!("\n  {command} "));
            assert!(known || continued, "{full}");
        }
    }
}

#[test]
fn the_version_names_the_config_that_it_reads() {
    assert_eq!(
        stdout(&evenkeel(&["version"])),
        format!("evenkeel {} (config evenkeel.dev/v1alpha1)\n", env!("CARGO_PKG_VERSION"))
    );
    let json: Value = serde_json::from_slice(&evenkeel(&["version", "-o", "json"]).stdout).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["configApiVersion"], "evenkeel.dev/v1alpha1");
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for args in [
        &[][..],
        &["fly"],
        &["run"],
        &["check"],
        &["check", "--config"],
        &["config"],
        &["status", "--admin", "localhost"],
        &["probe"],
        &["run", "--config", "a", "--kubeconfig", "b"],
        &["version", "--color", "sometimes"],
    ] {
        let output = evenkeel(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "", "{args:?}");
        assert!(stderr(&output).contains("--help"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn check_says_that_a_config_is_valid_and_what_happens_at_worst() {
    let [admin, listen, one, two] = free_addresses();
    let valid = ConfigFile::new(
        &(head(admin) + &service("api", listen, one))
            .replace(&format!("[\"{one}\"]"), &format!("[\"{one}\", \"{two}\"]")),
    );
    for strict in [&[][..], &["--strict"]] {
        let output = evenkeel(&[&["check", "--config", valid.arg()], strict].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let said = stdout(&output);
        let mut lines = said.lines();
        assert_eq!(lines.next(), Some(&*format!("{}: valid (services: api)", valid.arg())));
        assert!(said.contains("service `api`, at worst"), "{said}");
        // A connect a minute, of 1.2 s at most, and two of them.
        let silent = lines.find(|line| line.starts_with("silent: its host is gone")).unwrap();
        let cells: Vec<&str> =
            silent.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["silent: its host is gone", "1m500ms", "1m1s750ms"]);
        assert_eq!(stderr(&output), "");
    }
    let warned = ConfigFile::new(&(head(admin) + &service("api", listen, one)));
    let output = evenkeel(&["check", "--config", warned.arg()]);
    assert_eq!(output.status.code(), Some(0));
    let output = evenkeel(&["check", "--strict", "--config", warned.arg()]);
    assert_eq!(output.status.code(), Some(4));
    let said = stdout(&output);
    let expected = format!(
        "warning: service `api`: one endpoint tolerates no failure\n{}: valid, 1 warning (services: api)\n",
        warned.arg()
    );
    assert!(said.starts_with(&expected), "{said}");
}

#[test]
fn a_config_may_be_named_by_the_environment() {
    let [admin, listen, one] = free_addresses();
    let file = ConfigFile::new(&(head(admin) + &service("api", listen, one)));
    let output = command(&["check"]).env("EVENKEEL_CONFIG", &file.path).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn what_is_for_programs_can_be_read_by_programs() {
    let [admin, listen, one] = free_addresses();
    let file = ConfigFile::new(&(head(admin) + &service("api", listen, one)));
    let shown: Value =
        serde_saphyr::from_str(&stdout(&evenkeel(&["config", "show", "--config", file.arg()])))
            .unwrap();
    assert_eq!(shown["services"][0]["name"], "api");
    assert_eq!(shown["services"][0]["health"]["interval"], "1m");
    assert_eq!(shown["services"][0]["connect"]["timeout"], "5s");
    let schema: Value = serde_json::from_slice(&evenkeel(&["config", "schema"]).stdout).unwrap();
    assert_eq!(schema["title"], "evenkeel config");
    let script = evenkeel(&["completion", "bash"]);
    assert_eq!(script.status.code(), Some(0));
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(&script.stdout).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn whoever_has_read_enough_may_go() {
    for args in [&["config", "schema"][..], &["completion", "bash"], &["completion", "zsh"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut child = command(args).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(reader);
        let mut told = String::new();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}: {told}");
        assert_eq!(told, "", "{args:?}");
    }
}

#[test]
fn without_a_running_process_they_exit_with_5() {
    let [nobody] = free_addresses();
    for name in ["status", "events", "healthcheck"] {
        let output = evenkeel(&[name, "--admin", &nobody.to_string()]);
        assert_eq!(output.status.code(), Some(5), "{name}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
        let told = stderr(&output);
        assert!(told.starts_with(&format!("evenkeel: no evenkeel answers on {nobody}")), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn a_probe_of_a_closed_port_fails_and_says_why() {
    let [nobody] = free_addresses();
    let output = evenkeel(&["probe", &nobody.to_string()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let told = stdout(&output);
    assert!(told.contains("unready (refused)") && told.contains("× connect"), "{told}");
    let output = evenkeel(&["probe", "-o", "json", &nobody.to_string()]);
    assert_eq!(output.status.code(), Some(1));
    let _json: Value = serde_json::from_slice(&output.stdout).unwrap();
}

#[test]
fn a_port_that_is_in_use_is_named() {
    let [admin, listen, endpoint] = free_addresses();
    let file = ConfigFile::new(&(head(admin) + &service("api", listen, endpoint)));
    for taken in [listen, admin] {
        let _holder = TcpListener::bind(taken).unwrap();
        let output = evenkeel(&["run", "--config", file.arg()]);
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        let told = stderr(&output);
        let last = told.lines().last().unwrap_or_default();
        assert!(last.starts_with("evenkeel: ") && last.contains(&taken.to_string()), "{told}");
        assert!(last.contains("in use") || last.contains("is taken"), "{told}");
    }
}

#[test]
fn colours_are_for_those_who_want_them() {
    let [admin, listen, endpoint] = free_addresses();
    let file = ConfigFile::new(&(head(admin) + &service("api", listen, endpoint)));
    let mut running = Running::start(&file.path, admin);
    running.until("probed", |running| running.status()["services"][0]["ready"] == 0);
    let admin = admin.to_string();
    let coloured = |args: &[&str], environment: &[(&str, &str)]| {
        let args = [&["status", "--admin", &admin], args].concat();
        let output = command(&args).envs(environment.iter().copied()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stdout(&output).contains('\u{1b}')
    };
    assert!(!coloured(&[], &[]), "a pipe is no terminal");
    assert!(coloured(&[], &[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
    assert!(coloured(&["--color", "always"], &[]));
    assert!(!coloured(&["--color", "never"], &[("CLICOLOR_FORCE", "1")]));
}

#[test]
fn with_nothing_behind_it_the_process_lives_and_says_what_is_wrong() {
    let [admin, listen, one, two, three] = free_addresses();
    let file = ConfigFile::new(&format!(
        "{}  - name: kube-apiserver\n    preset: kube-apiserver\n    listen: {{addresses: [\"{listen}\"]}}\n    sources: [{{static: {{endpoints: [\"{one}\", \"{two}\", \"{three}\"]}}}}]\n",
        head(admin)
    ));
    let mut running = Running::start(&file.path, admin);
    running.until("probed", |running| {
        let status = running.status();
        let backends = status["services"][0]["backends"].as_array().unwrap().clone();
        backends.len() == 3 && backends.iter().all(|backend| backend["health"] == "unready")
    });
    let at = ["--admin", &admin.to_string()];
    let ask = |args: &[&str]| evenkeel(&[args, &at].concat());

    assert_eq!(running.ask("/livez").unwrap().0, 200);
    let (status, reasons) = running.ask("/readyz").unwrap();
    assert_eq!(status, 503);
    assert!(reasons.contains("[-]backends failed: no service has a backend"), "{reasons}");
    assert!(reasons.contains("[+]listener kube-apiserver ok"), "{reasons}");
    assert_eq!(ask(&["healthcheck"]).status.code(), Some(0));

    let output = ask(&["status"]);
    assert_eq!(output.status.code(), Some(0));
    let table = stdout(&output);
    for part in [
        "evenkeel ",
        "✕ kube-apiserver: 0 of 3 ready, no backend is ready",
        "! the identity of the backends is not verified",
        "SERVICE         LISTEN",
        "unready (refused)",
        &one.to_string(),
        &listen.to_string(),
    ] {
        assert!(table.contains(part), "{part}:\n{table}");
    }
    let output = ask(&["status", "-o", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["services"][0]["backends"][0]["class"], "refused");
    assert_eq!(ask(&["status", "--check"]).status.code(), Some(7));

    let events = stdout(&ask(&["events"]));
    assert!(events.contains(&format!("kube-apiserver {one}: unknown -> unready")), "{events}");
    let json: Value = serde_json::from_slice(&ask(&["events", "-o", "json"]).stdout).unwrap();
    let all = json["events"].as_array().unwrap();
    let first = all[0]["sequence"].as_u64().unwrap();
    let since = ask(&["events", "-o", "json", "--since", &first.to_string()]);
    let json: Value = serde_json::from_slice(&since.stdout).unwrap();
    assert!(json["events"].as_array().unwrap().len() >= all.len() - 1, "{json}");

    // No client is kept waiting.
    let mut client = TcpStream::connect(listen).unwrap();
    let ended = client.read(&mut [0]);
    assert!(matches!(ended, Err(_) | Ok(0)), "{ended:?}");

    running.signal("TERM");
    let (code, log) = running.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("draining"), "{log}");
}

#[test]
fn a_hang_up_ends_nothing() {
    let [admin, listen] = free_addresses();
    let file = ConfigFile::new(
        &(head(admin) + &service("echo", listen, echo(TcpListener::bind("127.0.0.1:0").unwrap()))),
    );
    let mut running = Running::start(&file.path, admin);
    running.until("ready", |running| running.get("/readyz").is_some());
    let mut open = talk(listen);
    running.signal("HUP");
    running.signal("HUP");
    open.write_all(b"still").unwrap();
    let mut answer = [0; 5];
    open.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"still");
    drop((open, talk(listen)));
    running.signal("TERM");
    let (code, log) = running.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("HUP ignored"), "{log}");
}

#[test]
fn what_is_open_may_end_by_itself() {
    let [admin, listen] = free_addresses();
    let file = ConfigFile::new(
        &(head(admin) + &service("echo", listen, echo(TcpListener::bind("127.0.0.1:0").unwrap()))),
    );
    let mut running = Running::start(&file.path, admin);
    running.until("ready", |running| running.get("/readyz").is_some());
    let mut open = talk(listen);
    running.signal("TERM");
    running.until("draining", |running| {
        let (status, reasons) = running.ask("/readyz").unwrap();
        status == 503 && reasons.contains("[-]shutdown")
    });
    running.until("closed to clients", |_| TcpStream::connect(listen).is_err());
    open.write_all(b"still").unwrap();
    let mut answer = [0; 5];
    open.read_exact(&mut answer).unwrap();
    drop(open);
    let (code, log) = running.wait();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn a_second_signal_ends_it_at_once_and_undrained() {
    let [admin, listen] = free_addresses();
    let file = ConfigFile::new(
        &(head(admin) + &service("echo", listen, echo(TcpListener::bind("127.0.0.1:0").unwrap()))),
    );
    let mut running = Running::start(&file.path, admin);
    running.until("ready", |running| running.get("/readyz").is_some());
    let mut open = talk(listen);
    running.until("counted", |running| connections(running) == 1);
    running.signal("TERM");
    running.until("draining", |running| running.status()["draining"] == true);
    running.signal("TERM");
    let (code, log) = running.wait();
    assert_eq!(code, Some(143), "{log}");
    // Reset, and not closed as if all had been said.
    let ended = open.read(&mut [0]);
    assert!(ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset), "{log}");
}

#[test]
fn bytes_of_an_open_connection_are_counted_within_a_second() {
    let [admin, listen] = free_addresses();
    let file = ConfigFile::new(
        &(head(admin) + &service("echo", listen, echo(TcpListener::bind("127.0.0.1:0").unwrap()))),
    );
    let mut running = Running::start(&file.path, admin);
    running.until("probed", |running| running.status()["services"][0]["ready"] == 1);
    let open = talk(listen);
    let said = Instant::now();
    let counted = |running: &Running| {
        let text = running.get("/metrics").unwrap();
        ["evenkeel_received_bytes_total{", "evenkeel_sent_bytes_total{"].iter().all(|family| {
            let line = text.lines().find(|line| line.starts_with(family));
            line.is_some_and(|line| line.ends_with("} 5"))
        })
    };
    running.until("counted", counted);
    assert!(said.elapsed() < Duration::from_secs(1), "{:?}", said.elapsed());
    assert_eq!(connections(&running), 1);
    drop(open);
}

#[test]
fn one_data_thread_is_enough() {
    let [admin, listen] = free_addresses();
    let config = head(admin)
        + &service("echo", listen, echo(TcpListener::bind("127.0.0.1:0").unwrap()))
        + "dataPlane: {threads: 1}\n";
    let file = ConfigFile::new(&config);
    let mut running = Running::start(&file.path, admin);
    running.until("probed", |running| running.status()["services"][0]["ready"] == 1);
    let open: Vec<TcpStream> = (0..20).map(|_| talk(listen)).collect();
    assert_eq!(connections(&running), 20);
    drop(open);
    running.until("ended", |running| connections(running) == 0);
    running.signal("TERM");
    assert_eq!(running.wait().0, Some(0));
}

#[test]
fn the_metrics_have_the_names_and_types_that_dashboards_rely_on() {
    let [admin, works, fails, rejects, refused] = free_addresses();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone_from = gone.local_addr().unwrap();
    let config = head(admin)
        + &service("works", works, echo(TcpListener::bind("127.0.0.1:0").unwrap()))
        + &service("fails", fails, gone_from)
        + &service("rejects", rejects, refused);
    let file = ConfigFile::new(&config);
    let mut running = Running::start(&file.path, admin);
    running.until("probed", |running| {
        let status = running.status();
        let ready = |index: usize| status["services"][index]["ready"].as_u64();
        let known = status["services"][2]["backends"][0]["health"] == "unready";
        ready(0) == Some(1) && ready(1) == Some(1) && known
    });
    drop(talk(works));
    // Its probe will not look for a minute, so that it is a client that finds it gone.
    drop(gone);
    // Not before every process that another test is just starting has let go of it, too.
    running.until("gone", |_| TcpStream::connect(gone_from).is_err());
    for listen in [fails, rejects] {
        drop(TcpStream::connect(listen).unwrap().read(&mut [0]));
    }
    let scrape = |running: &Running| running.get("/metrics").unwrap();
    running.until("counted", |running| {
        let text = scrape(running);
        [
            "evenkeel_connections_closed_total{",
            "evenkeel_connect_failures_total{",
            "evenkeel_connections_rejected_total{service=\"rejects\"",
        ]
        .iter()
        .all(|sample| text.contains(sample))
    });
    let text = scrape(&running);
    let mut families: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        // Those of the process depend on the kernel.
        .filter(|family| !family.starts_with("process_"))
        .collect();
    families.sort_unstable();
    for family in &families {
        let name = family.split(' ').next().unwrap();
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
    }
    snapshots(|| insta::assert_snapshot!("cli__metrics", families.join("\n")));
    promtool(&text);
}

/// Prometheus' own judgement of a scrape.
fn promtool(scrape: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool (Debian's prometheus): {error}");
            println!("skipped: promtool (Debian's prometheus): {error}");
            return;
        }
    };
    child.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let told = stdout(&output) + &stderr(&output);
    assert!(output.status.success() && told.trim().is_empty(), "{told}");
}

#[test]
fn logs_are_objects_unless_someone_looks_on() {
    let [admin, listen, endpoint] = free_addresses();
    let file = ConfigFile::new(&(head(admin) + &service("api", listen, endpoint)));
    let mut child = Command::new(EVENKEEL)
        .args(["run", "--config", file.arg()])
        .env_remove("EVENKEEL_LOG_FORMAT")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut log, &mut line).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    for key in ["timestamp", "level", "message"] {
        assert!(event[key].is_string(), "{line}");
    }
}
