//! Real programs and a real server: what the driver decides is tested beside it.

use std::fmt::Write as _;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::*;

const ADDRESS: &str = "192.0.2.10";

fn request(operation: Operation, deadline_ms: u64) -> Request {
    let (vip, node) = (ADDRESS.parse().unwrap(), "a".to_owned());
    Request { operation, vip, node, epoch: 7, deadline_ms }
}

/// A program of these lines of shell.
fn script(folder: &TempDir, name: &str, lines: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, format!("#!/bin/sh\nset -eu\ncd '{}'\n{lines}\n", folder.path().display()))
        .unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn hook(program: &Path) -> ExecHook {
    ExecHook { command: vec![program.to_str().unwrap().to_owned(), "first".to_owned()] }
}

async fn call(
    lines: &str,
    operation: Operation,
    deadline_ms: u64,
) -> Result<Option<String>, String> {
    let folder = TempDir::new().unwrap();
    let hook = hook(&script(&folder, "hook", lines));
    hook.call(&request(operation, deadline_ms)).await.map_err(|error| with_causes(&error))
}

/// Waits until the process is gone, or is a zombie that waits for init.
async fn gone(pid: &str) -> bool {
    let stat = format!("/proc/{}/stat", pid.trim());
    for _ in 0..100 {
        match fs::read_to_string(&stat) {
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Ok(stat) if stat.contains(") Z ") => return true,
            _ => time::sleep(Duration::from_millis(20)).await,
        }
    }
    false
}

async fn read_when_written(path: &Path) -> String {
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => time::sleep(Duration::from_millis(5)).await,
        }
    }
}

#[tokio::test]
async fn a_program_is_told_everything_and_its_answer_is_taken() {
    let lines =
        r#"echo "$1 $2 $EVENKEEL_VIP $EVENKEEL_NODE $EVENKEEL_EPOCH $EVENKEEL_DEADLINE_MS""#;
    let answer = call(lines, Operation::Owner, 5000).await.unwrap();
    assert_eq!(answer.as_deref(), Some("first owner 192.0.2.10 a 7 5000"));
    assert_eq!(call("true", Operation::Owner, 5000).await.unwrap(), None);
    // What the others print is for people.
    assert_eq!(call("echo moved", Operation::Acquire, 5000).await.unwrap(), None);
}

#[tokio::test]
async fn a_program_that_fails_says_why() {
    let lines = "echo 'Traceback' >&2; echo 'AuthFailure: no such key' >&2; echo >&2; exit 3";
    let error = call(lines, Operation::Acquire, 5000).await.unwrap_err();
    assert_eq!(error, "exit status: 3: AuthFailure: no such key");
    let error = call("kill -9 $$", Operation::Acquire, 5000).await.unwrap_err();
    assert_eq!(error, "signal: 9 (SIGKILL)");
    let missing = ExecHook { command: vec!["/no/such/hook".to_owned()] };
    let error = missing.call(&request(Operation::Owner, 5000)).await.unwrap_err();
    assert!(with_causes(&error).starts_with("could not start /no/such/hook: No such file"));
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let folder = TempDir::new().unwrap();
    let lines = "sleep 1000 & echo $! >grandchild; echo 'waiting for it' >&2; wait";
    let hook = hook(&script(&folder, "hook", lines));
    let begun = Instant::now();
    let error = hook.call(&request(Operation::Acquire, 2000)).await.unwrap_err();
    assert_eq!(error.to_string(), "no end within 2s: waiting for it");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let grandchild = fs::read_to_string(folder.path().join("grandchild")).unwrap();
    assert!(gone(&grandchild).await, "{grandchild} runs");
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_delays_nothing_and_is_killed() {
    let folder = TempDir::new().unwrap();
    let lines = "sleep 1000 & echo $! >grandchild; echo a";
    let hook = hook(&script(&folder, "hook", lines));
    let begun = Instant::now();
    let owner = hook.call(&request(Operation::Owner, 10_000)).await.unwrap();
    assert_eq!(owner.as_deref(), Some("a"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let grandchild = fs::read_to_string(folder.path().join("grandchild")).unwrap();
    assert!(gone(&grandchild).await, "{grandchild} runs");
}

#[tokio::test]
async fn a_dropped_call_kills_the_program() {
    let folder = TempDir::new().unwrap();
    let hook = hook(&script(&folder, "hook", "sleep 1000 & echo $! >grandchild; wait"));
    let request = request(Operation::Acquire, 60_000);
    let written = folder.path().join("grandchild");
    let grandchild = tokio::select! {
        ended = hook.call(&request) => panic!("{ended:?}"),
        grandchild = read_when_written(&written) => grandchild,
    };
    assert!(gone(&grandchild).await, "{grandchild} runs");
}

#[tokio::test]
async fn a_flood_is_read_and_not_kept() {
    let flood = "head -c 3000000 /dev/zero | tr '\\0' x";
    assert_eq!(call(flood, Operation::Acquire, 10_000).await, Ok(None));
    let error = call(flood, Operation::Owner, 10_000).await.unwrap_err();
    assert_eq!(error, "its answer is neither one line with a name nor empty");
    let lines = format!("{{ {flood}; echo; echo 'the end'; }} >&2; exit 1");
    let error = call(&lines, Operation::Acquire, 10_000).await.unwrap_err();
    assert_eq!(error, "exit status: 1: the end");
    // One without an end is ended.
    let error = call("exec yes", Operation::Owner, 300).await.unwrap_err();
    assert_eq!(error, "no end within 300ms");
}

/// A server that gives each request to `answer`, and sends what that makes of it. `None` closes.
async fn serve(
    answer: impl Fn(&str) -> Option<String> + Send + Sync + Clone + 'static,
) -> (HttpHook, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/vip", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let mut buffer = [0; 4096];
            loop {
                let length = stream.read(&mut buffer).await.unwrap();
                request.extend_from_slice(&buffer[..length]);
                let text = String::from_utf8_lossy(&request);
                let whole = if text.starts_with("GET ") { "\r\n\r\n" } else { "}" };
                if length == 0 || text.ends_with(whole) {
                    break;
                }
            }
            let Some(answer) = answer(&String::from_utf8(request).unwrap()) else { continue };
            // The client may have read enough of it.
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    (HttpHook { url: url.parse().unwrap() }, serving)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_server_is_told_everything_and_its_answer_is_taken() {
    let (hook, _serving) = serve(|request| {
        let (line, _) = request.split_once("\r\n")?;
        let body = request.rsplit("\r\n\r\n").next()?;
        Some(match line {
            "POST /vip/acquire HTTP/1.1" => {
                let asked = r#"{"vip":"192.0.2.10","node":"a","epoch":7,"deadlineMs":5000}"#;
                assert_eq!(body, asked);
                assert!(request.contains("content-type: application/json\r\n"), "{request}");
                "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()
            }
            "POST /vip/release HTTP/1.1" => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            "GET /vip/owner?vip=192.0.2.10&node=a&epoch=7&deadlineMs=5000 HTTP/1.1" => {
                ok(r#"{"owner": "b", "since": 5}"#)
            }
            line => panic!("{line}"),
        })
    })
    .await;
    for (operation, expected) in [
        (Operation::Acquire, None),
        (Operation::Owner, Some("b".to_owned())),
        (Operation::Release, None),
    ] {
        assert_eq!(hook.call(&request(operation, 5000)).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn what_a_server_answers_wrongly_is_named() {
    let head = |words: &str| format!("HTTP/1.1 {words}");
    let mut long = String::new();
    write!(long, "{:1$}", "", 10_000).unwrap();
    for (answer, expected) in [
        (Some(ok(r#"{"owner": null}"#)), Ok(None)),
        (Some(ok("")), Ok(None)),
        (Some(head("204 No Content\r\n\r\n")), Ok(None)),
        (Some(ok("a")), Err("its answer is not {\"owner\": NAME or null}: expected value")),
        (Some(ok(r#"{"owner": "a\nb"}"#)), Err("its answer is neither one line with a name")),
        (Some(ok(&long)), Err("its answer could not be read: length limit exceeded")),
        (
            Some(head("503 Busy\r\ncontent-length: 5\r\n\r\nquota")),
            Err("503 Service Unavailable: quota"),
        ),
        (Some(head("302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n")), Err("302 Found")),
        (Some("SSH-2.0-OpenSSH\r\n".to_owned()), Err("it did not answer: ")),
        (Some(head("200 OK\r\ncontent-length: 9\r\n\r\n{}")), Err("its answer could not be read")),
        (None, Err("it did not answer: ")),
    ] {
        let (hook, _serving) = serve(move |_| answer.clone()).await;
        let ended = hook.call(&request(Operation::Owner, 5000)).await;
        let ended = ended.map_err(|error| with_causes(&error));
        match (ended, expected) {
            (Ok(owner), Ok(expected)) => assert_eq!(owner, expected),
            (Err(error), Err(expected)) => {
                assert!(error.starts_with(expected), "{error}, not {expected}");
            }
            (ended, expected) => panic!("{ended:?}, not {expected:?}"),
        }
    }
}

#[tokio::test]
async fn a_server_that_is_silent_or_not_there_is_named() {
    // The kernel accepts, nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let hook = HttpHook { url: url.parse().unwrap() };
    let error = hook.call(&request(Operation::Owner, 200)).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 200ms");
    drop(listener);
    let error = hook.call(&request(Operation::Owner, 5000)).await.unwrap_err();
    assert!(error.to_string().starts_with("could not connect to 127.0.0.1:"), "{error}");
}

/// A hook of a provider that is a file with the owner's name in it.
struct Rig {
    folder: TempDir,
    wanted: watch::Sender<bool>,
    shutdown: Shutdown,
    reports: mpsc::Receiver<HookReport>,
    running: JoinSet<()>,
}

impl Rig {
    fn new(lines: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let config = HookConfig::calling(HookCall::Exec(hook(&script(&folder, "hook", lines))));
        let (sender, reports) = mpsc::channel(64);
        let (wanted, watched) = watch::channel(false);
        let shutdown = Shutdown::new();
        let hook = Hook::new(&config, ADDRESS.parse().unwrap(), "a", sender, 1);
        let mut running = JoinSet::new();
        running.spawn(hook.run(watched, shutdown.clone()));
        Self { folder, wanted, shutdown, reports, running }
    }

    /// The next report that is no mere call.
    async fn told(&mut self) -> Option<HookTold> {
        loop {
            let told = self.reports.recv().await?.told;
            if !matches!(told, HookTold::Called { .. }) {
                return Some(told);
            }
        }
    }

    fn owner(&self) -> String {
        fs::read_to_string(self.folder.path().join("holder")).unwrap_or_default()
    }

    async fn ended(&mut self) {
        let ended = time::timeout(Duration::from_secs(10), self.running.join_next()).await;
        ended.expect("it has ended").unwrap().unwrap();
    }
}

/// Takes and gives for real, at once.
const PROVIDER: &str = r#"case "$2" in
acquire) echo "$EVENKEEL_NODE" >holder ;;
release) : >holder ;;
owner) [ ! -e holder ] || cat holder ;;
esac"#;

#[tokio::test]
async fn an_address_is_acquired_verified_and_released_at_the_end() {
    let mut rig = Rig::new(PROVIDER);
    rig.wanted.send_replace(true);
    let told = rig.told().await;
    let Some(HookTold::Acquired { epoch, .. }) = told else { panic!("{told:?}") };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert!(milliseconds(now).abs_diff(epoch) < 600_000, "{epoch}");
    assert_eq!(rig.owner(), "a\n");
    rig.shutdown.drain.cancel();
    rig.wanted.send_replace(false);
    assert_eq!(rig.told().await, Some(HookTold::Released { owner: None }));
    assert_eq!(rig.owner(), "");
    rig.ended().await;
}

#[tokio::test]
async fn whoever_wanted_it_and_is_gone_wants_it_no_more() {
    let mut rig = Rig::new(PROVIDER);
    rig.wanted.send_replace(true);
    assert!(matches!(rig.told().await, Some(HookTold::Acquired { .. })));
    let (other, _) = watch::channel(false);
    drop(std::mem::replace(&mut rig.wanted, other));
    assert_eq!(rig.told().await, Some(HookTold::Released { owner: None }));
    rig.ended().await;
}

#[tokio::test]
async fn a_slow_provider_is_waited_for() {
    // `owner` shows it at the third question.
    let lines = r#"case "$2" in
acquire) : >asked ;;
owner) echo x >>asked; if [ "$(wc -l <asked)" -lt 3 ]; then echo b; else echo a; fi ;;
esac"#;
    let mut rig = Rig::new(lines);
    rig.wanted.send_replace(true);
    assert!(matches!(rig.told().await, Some(HookTold::Acquired { .. })));
    rig.shutdown.abort_now();
    rig.ended().await;
}

#[tokio::test]
async fn a_failure_is_told_and_tried_again() {
    let lines = format!(
        r#"if [ "$2" = acquire ] && [ ! -e failed ]; then : >failed; echo throttled >&2; exit 1; fi
{PROVIDER}"#
    );
    let mut rig = Rig::new(&lines);
    rig.wanted.send_replace(true);
    let told = rig.told().await;
    let Some(HookTold::Failed { operation, why, retry_in: Some(_) }) = told else {
        panic!("{told:?}")
    };
    assert_eq!((operation, why.as_str()), (Operation::Acquire, "exit status: 1: throttled"));
    assert!(matches!(rig.told().await, Some(HookTold::Acquired { .. })));
}

#[tokio::test]
async fn an_abort_ends_a_release_that_hangs() {
    let lines = format!(
        r#"if [ "$2" = release ]; then echo $$ >releasing; exec sleep 1000; fi
{PROVIDER}"#
    );
    let mut rig = Rig::new(&lines);
    rig.wanted.send_replace(true);
    assert!(matches!(rig.told().await, Some(HookTold::Acquired { .. })));
    rig.shutdown.drain.cancel();
    rig.wanted.send_replace(false);
    let pid = read_when_written(&rig.folder.path().join("releasing")).await;
    rig.shutdown.abort.cancel();
    rig.ended().await;
    assert!(gone(&pid).await, "{pid} runs");
}
