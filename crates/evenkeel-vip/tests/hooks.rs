//! The hooks of deploy/hooks against what stands in for their providers: moto for AWS, and
//! `hooks/provider.py` for Hetzner Cloud, the webhook and the metadata services.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use evenkeel_core::shutdown::Shutdown;
use evenkeel_core::units::Span;
use evenkeel_testbed::{Missing, or_skip};
use evenkeel_vip::hook::{ExecHook, Hook, HookCall, HookConfig, HookReport, HookTold};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time;

/// The program in the `PATH`, or whence it comes.
fn require(program: &'static str, package: &'static str) -> Result<PathBuf, Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|path| path.is_file())
        .ok_or(Missing::Program { program, package })
}

fn python() -> Option<PathBuf> {
    or_skip(require("python3", "python3"))
}

fn moto() -> Option<PathBuf> {
    python()?;
    or_skip(require("moto_server", "moto from PyPI, as tests/gate.sh does"))
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn hook(name: &str) -> PathBuf {
    here().join("../../deploy/hooks").join(name).canonicalize().unwrap()
}

const TOKEN: &str = "a-secret";

/// A server in Python that says where it listens. Killed with the test.
struct Server {
    url: String,
    _child: Child,
    folder: TempDir,
}

impl Server {
    async fn start(command: &mut Command) -> Self {
        let folder = TempDir::new().unwrap();
        let log = folder.path().join("log");
        let written = File::create(&log).unwrap();
        let child = command
            .env("PROVIDER_TOKEN", TOKEN)
            .stdin(Stdio::null())
            .stdout(written.try_clone().unwrap())
            .stderr(written)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut said = String::new();
        for _ in 0..600 {
            said = fs::read_to_string(&log).unwrap();
            let url = said.lines().find_map(|line| line.split_once("Running on http://"));
            if let Some((_, address)) = url {
                // moto colours its lines, sometimes.
                let address = address.split(char::is_control).next().unwrap_or_default();
                let url = format!("http://{}", address.trim());
                return Self { url, _child: child, folder };
            }
            time::sleep(Duration::from_millis(100)).await;
        }
        panic!("it does not run: {said}");
    }

    async fn provider() -> Self {
        Self::start(Command::new("python3").arg(here().join("tests/hooks/provider.py"))).await
    }

    async fn moto(moto: &Path) -> Self {
        Self::start(Command::new(moto).args(["-H", "127.0.0.1", "-p", "0"])).await
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: String,
    ) -> String {
        let address = self.url.trim_start_matches("http://");
        let stream = TcpStream::connect(address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut request = Request::builder().method(method).uri(path).header("host", address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body))).unwrap();
        let answering = async {
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert!(status.is_success(), "{status}: {body}");
            body
        };
        tokio::select! {
            answer = answering => answer,
            Err(error) = connection => panic!("{error}"),
        }
    }

    /// Changes how the provider behaves, and shows what it has.
    async fn set(&self, settings: Value) -> Value {
        let answer = self.ask("PUT", "/settings", &[], settings.to_string()).await;
        serde_json::from_str(&answer).unwrap()
    }

    /// One call of AWS's query API, by nobody in particular.
    async fn aws(&self, service: &str, action: &str, parameters: &[(&str, &str)]) -> String {
        let mut body = format!("Action={action}");
        for (name, value) in parameters {
            write!(body, "&{name}=").unwrap();
            for byte in value.bytes() {
                write!(body, "%{byte:02X}").unwrap();
            }
        }
        let scope = format!("x/20260101/eu-central-1/{service}/aws4_request");
        let by = format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x");
        let form = ("content-type", "application/x-www-form-urlencoded");
        self.ask("POST", "/", &[("authorization", &by), form], body).await
    }
}

/// What stands in the elements of this name.
fn elements<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(begin.as_str()).skip(1).filter_map(|rest| Some(rest.split_once(&end)?.0)).collect()
}

/// A node with a hook of deploy/hooks.
#[derive(Clone)]
struct Node {
    name: &'static str,
    hook: &'static str,
    address: String,
    environment: BTreeMap<&'static str, String>,
}

impl Node {
    fn set(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.environment.insert(name, value.into());
        self
    }

    /// What it prints; or, where it fails, what it says.
    async fn call(&self, operation: &str) -> Result<String, String> {
        let called = Command::new(hook(self.hook))
            .arg(operation)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("EVENKEEL_VIP", &self.address)
            .env("EVENKEEL_NODE", self.name)
            .env("EVENKEEL_EPOCH", "7")
            .env("EVENKEEL_DEADLINE_MS", "20000")
            .envs(&self.environment)
            .kill_on_drop(true)
            .output();
        let called = time::timeout(Duration::from_secs(30), called).await.unwrap().unwrap();
        let said = String::from_utf8(called.stderr).unwrap();
        if called.status.success() {
            assert_eq!(said, "", "{operation}");
            return Ok(String::from_utf8(called.stdout).unwrap().trim().to_owned());
        }
        assert_eq!(called.status.code(), Some(1), "{said}");
        assert!(!said.contains("Traceback"), "{said}");
        assert_eq!(String::from_utf8(called.stdout).unwrap(), "", "{operation}");
        Err(said.trim().to_owned())
    }

    async fn ok(&self, operation: &str) -> String {
        self.call(operation).await.unwrap()
    }

    /// The same, as evenkeel calls it.
    fn config(&self) -> HookConfig {
        let set = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let mut command = vec!["/usr/bin/env".to_owned()];
        command.extend(set);
        command.push(hook(self.hook).to_str().unwrap().to_owned());
        let call = HookCall::Exec(ExecHook { command });
        HookConfig { verify_interval: Span::from_millis(300), ..HookConfig::calling(call) }
    }
}

/// Every law of the contract that does not need a failure, for two nodes. `names` is what the
/// provider calls them.
async fn keeps_the_contract(a: &Node, b: &Node, names: [&str; 2]) {
    assert_eq!(a.ok("owner").await, "", "nobody has it yet");
    assert_eq!(a.ok("release").await, "", "nothing to release");
    for _ in 0..2 {
        assert_eq!(a.ok("acquire").await, "", "also again");
        assert_eq!(a.ok("owner").await, "a");
    }
    assert_eq!(b.ok("owner").await, names[0]);
    assert_eq!(b.ok("release").await, "", "which is another's");
    assert_eq!(a.ok("owner").await, "a");
    assert_eq!(b.ok("acquire").await, "", "by stealing");
    assert_eq!(b.ok("owner").await, "b");
    assert_eq!(a.ok("owner").await, names[1]);
    for _ in 0..2 {
        assert_eq!(b.ok("release").await, "", "also again");
        assert_eq!(b.ok("owner").await, "");
    }
}

#[tokio::test]
async fn the_aws_hook_keeps_the_contract_with_the_rights_that_it_names() {
    let Some(moto) = moto() else { return };
    let (aws, metadata) = tokio::join!(Server::moto(&moto), Server::provider());
    let (a, b) = aws_nodes(&aws, &metadata).await;
    let [a_is, b_is] = [&a, &b].map(|node| node.environment["METADATA_NAME"].clone());
    keeps_the_contract(&a, &b, [&a_is, &b_is]).await;

    // By key and instance in the environment, as where there is no metadata service.
    let no_metadata = "http://127.0.0.1:1";
    let configured = a
        .clone()
        .set("AWS_EC2_METADATA_SERVICE_ENDPOINT", no_metadata)
        .set("AWS_REGION", "eu-central-1")
        .set("EVENKEEL_AWS_INSTANCE_ID", &a_is)
        .set("AWS_ACCESS_KEY_ID", &a.environment["KEY_ID"])
        .set("AWS_SECRET_ACCESS_KEY", &a.environment["KEY_SECRET"]);
    configured.ok("acquire").await;
    assert_eq!(configured.ok("owner").await, "a");

    for (node, expected) in [
        (configured.clone().set("AWS_SECRET_ACCESS_KEY", "wrong"), "AuthFailure: "),
        (configured.clone().set("AWS_ENDPOINT_URL", no_metadata), "Connection refused"),
        (a.clone().set("AWS_EC2_METADATA_SERVICE_ENDPOINT", no_metadata), "metadata service"),
        (Node { address: "192.0.2.77".to_owned(), ..a.clone() }, "InvalidAddress.NotFound: "),
        (a.clone().set("EVENKEEL_DEADLINE_MS", "0"), "the time is up"),
        (a.clone().set("EVENKEEL_VIP", ""), "EVENKEEL_VIP is not set"),
    ] {
        let error = node.call("acquire").await.unwrap_err();
        assert!(error.starts_with("aws: ") && error.contains(expected), "{error}, not {expected}");
    }
    assert!(a.call("move").await.unwrap_err().contains("usage: "));
}

/// An Elastic IP, and two instances that may do what the hook's head says and nothing else.
async fn aws_nodes(aws: &Server, metadata: &Server) -> (Node, Node) {
    let two = [("ImageId", "ami-12c6146b"), ("MinCount", "2"), ("MaxCount", "2")];
    let instances = aws.aws("ec2", "RunInstances", &two).await;
    let instances = elements(&instances, "instanceId");
    let address = aws.aws("ec2", "AllocateAddress", &[("Domain", "vpc")]).await;
    let address = elements(&address, "publicIp")[0].to_owned();

    let user = ("UserName", "evenkeel");
    aws.aws("iam", "CreateUser", &[user]).await;
    let policy = aws_policy();
    let policy = [user, ("PolicyName", "hook"), ("PolicyDocument", policy.as_str())];
    aws.aws("iam", "PutUserPolicy", &policy).await;
    let key = aws.aws("iam", "CreateAccessKey", &[user]).await;
    let [id, secret] = ["AccessKeyId", "SecretAccessKey"].map(|name| elements(&key, name)[0]);
    // moto takes no session token for a user's key.
    let key = json!({"AccessKeyId": id, "SecretAccessKey": secret, "Token": ""});
    metadata.set(json!({"key": key})).await;
    // From here on moto looks at signatures and rights.
    let plain = [("content-type", "text/plain")];
    aws.ask("POST", "/moto-api/reset-auth", &plain, "0".to_owned()).await;

    let node = |name, instance: &str| Node {
        name,
        hook: "aws",
        address: address.clone(),
        environment: BTreeMap::from([
            ("AWS_ENDPOINT_URL", aws.url.clone()),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("{}/{instance}", metadata.url)),
            // Not for the hook, but for the test.
            ("METADATA_NAME", instance.to_owned()),
            ("KEY_ID", id.to_owned()),
            ("KEY_SECRET", secret.to_owned()),
        ]),
    };
    (node("a", instances[0]), node("b", instances[1]))
}

/// The policy in the head of the hook, for any resource: moto knows no others.
fn aws_policy() -> String {
    let text = fs::read_to_string(hook("aws")).unwrap();
    let begin = text.find("{\"Version\"").unwrap();
    let end = begin + text[begin..].find("\n\n").unwrap();
    let mut policy: Value = serde_json::from_str(&text[begin..end]).unwrap();
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Resource"] = json!("*");
    }
    policy.to_string()
}

#[tokio::test]
async fn the_hetzner_hook_keeps_the_contract() {
    if python().is_none() {
        return;
    }
    let provider = Server::provider().await;
    let (a, b) = hetzner_nodes(&provider);
    keeps_the_contract(&a, &b, ["server 11", "server 12"]).await;
    // Where an address does not move in one step, and is busy for a while.
    provider.set(json!({"unassignFirst": true, "locked": 1})).await;
    keeps_the_contract(&a, &b, ["server 11", "server 12"]).await;
    // One of an IPv6 network.
    let [a6, b6] = [&a, &b].map(|node| Node { address: "2001:db8::6".to_owned(), ..node.clone() });
    provider.set(json!({"unassignFirst": false})).await;
    keeps_the_contract(&a6, &b6, ["server 11", "server 12"]).await;

    let wrong = provider.folder.path().join("wrong-token");
    fs::write(&wrong, "wrong").unwrap();
    let wrong = wrong.to_str().unwrap();
    for (node, expected) in [
        (a.clone().set("HCLOUD_TOKEN_FILE", wrong), "unauthorized: unable to authenticate"),
        (a.clone().set("HCLOUD_TOKEN_FILE", "/no/such"), "no token: "),
        (a.clone().set("HCLOUD_ENDPOINT", "http://127.0.0.1:1"), "Connection refused"),
        (a.clone().set("HCLOUD_METADATA_ENDPOINT", "http://127.0.0.1:1"), "which server this is"),
        (a.clone().set("EVENKEEL_HCLOUD_SERVER_ID", "cp-1"), "'cp-1' is no ID of a server"),
        (Node { address: "192.0.2.77".to_owned(), ..a.clone() }, "is no Floating IP"),
    ] {
        let error = node.call("acquire").await.unwrap_err();
        let named = error.starts_with("hetzner: ") && error.contains(expected);
        assert!(named, "{error}, not {expected}");
    }

    // An action that fails, and one that takes longer than there is time.
    provider.set(json!({"fails": "server_error"})).await;
    let error = a.call("acquire").await.unwrap_err();
    assert_eq!(error, "hetzner: assign: server_error: Action failed");
    provider.set(json!({"fails": null, "polls": 100})).await;
    let hasty = a.clone().set("EVENKEEL_DEADLINE_MS", "3000");
    let error = hasty.call("acquire").await.unwrap_err();
    assert_eq!(error, "hetzner: the time is up; the address may be on its way");
}

fn hetzner_nodes(provider: &Server) -> (Node, Node) {
    let token = provider.folder.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let node = |name, server: u32| {
        let metadata = format!("{}/{server}/hetzner/v1/metadata", provider.url);
        Node {
            name,
            hook: "hetzner",
            address: "192.0.2.10".to_owned(),
            environment: BTreeMap::from([
                ("HCLOUD_ENDPOINT", format!("{}/v1", provider.url)),
                ("HCLOUD_METADATA_ENDPOINT", metadata),
                ("HCLOUD_TOKEN_FILE", token.to_str().unwrap().to_owned()),
                ("EVENKEEL_HCLOUD_POLL", "0.05".to_owned()),
            ]),
        }
    };
    (node("a", 11), node("b", 12))
}

#[tokio::test]
async fn the_webhook_keeps_the_contract() {
    if python().is_none() {
        return;
    }
    let provider = Server::provider().await;
    let token = provider.folder.path().join("token");
    fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let node = |name| Node {
        name,
        hook: "webhook",
        address: "192.0.2.10".to_owned(),
        environment: BTreeMap::from([
            ("WEBHOOK_URL", format!("{}/webhook", provider.url)),
            ("WEBHOOK_TOKEN_FILE", token.to_str().unwrap().to_owned()),
        ]),
    };
    let (a, b) = (node("a"), node("b"));
    keeps_the_contract(&a, &b, ["a", "b"]).await;
    let told = provider.set(json!({})).await;
    assert_eq!(
        told["webhook"]["asked"][0],
        json!({"operation": "owner", "vip": "192.0.2.10", "node": "a", "epoch": 7,
               "deadlineMs": 20000})
    );
    for (url, expected) in [
        (format!("{}/moved", provider.url), "302 Found"),
        (format!("{}/v1", provider.url), "404 Not Found: {\"error\""),
        ("http://127.0.0.1:1".to_owned(), "Connection refused"),
        ("http://192.0.2.1/".to_owned(), "WEBHOOK_URL must begin with https://"),
    ] {
        let error = a.clone().set("WEBHOOK_URL", url).call("acquire").await.unwrap_err();
        assert!(error.starts_with("webhook: ") && error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn two_that_both_believe_to_be_elected_take_it_from_each_other_up_to_the_limit() {
    if python().is_none() {
        return;
    }
    let provider = Server::provider().await;
    let (a, b) = hetzner_nodes(&provider);
    let shutdown = Shutdown::new();
    let mut running = JoinSet::new();
    let address = "192.0.2.10".parse().unwrap();
    let mut start = |node: &Node, limit| {
        let (reports, told) = mpsc::channel(1024);
        let elected = watch::Sender::new(true);
        let config = HookConfig { max_moves_per_hour: limit, ..node.config() };
        let hook = Hook::new(&config, address, node.name, reports, u64::from(limit));
        running.spawn(hook.run(elected.subscribe(), shutdown.clone()));
        (told, elected)
    };
    let (mut a_told, a_elected) = start(&a, 2);
    until(&mut a_told, |told| matches!(told, HookTold::Acquired { .. })).await;
    let (mut b_told, b_elected) = start(&b, 1000);
    until(&mut b_told, |told| matches!(told, HookTold::Acquired { .. })).await;
    let b_has_it = HookTold::Lost { owner: Some("server 12".to_owned()) };
    until(&mut a_told, |told| *told == b_has_it).await;
    until(&mut a_told, |told| matches!(told, HookTold::Acquired { .. })).await;
    until(&mut b_told, |told| matches!(told, HookTold::Lost { .. })).await;
    until(&mut b_told, |told| matches!(told, HookTold::Acquired { .. })).await;
    until(&mut a_told, |told| *told == b_has_it).await;
    until(&mut a_told, |told| matches!(told, HookTold::RateLimited { .. })).await;
    until(&mut b_told, |told| *told == HookTold::Verified).await;

    // The one gives up what it does not have, the other what it has.
    shutdown.drain.cancel();
    a_elected.send_replace(false);
    let released = |owner: Option<&str>| HookTold::Released { owner: owner.map(str::to_owned) };
    until(&mut a_told, |told| *told == released(Some("server 12"))).await;
    b_elected.send_replace(false);
    until(&mut b_told, |told| *told == released(None)).await;
    running.join_all().await;
    let left = provider.set(json!({})).await;
    assert_eq!(left["floating_ips"][1]["server"], Value::Null);
}

/// Receives what is told until it is this.
async fn until(told: &mut mpsc::Receiver<HookReport>, is: impl Fn(&HookTold) -> bool) {
    let mut before = Vec::new();
    let receiving = async {
        while let Some(report) = told.recv().await {
            if is(&report.told) {
                return;
            }
            before.push(report.told);
        }
    };
    let received = time::timeout(Duration::from_secs(20), receiving).await;
    assert!(received.is_ok(), "not told, but {before:?}");
}

#[test]
fn the_hooks_can_be_started() {
    for name in ["aws", "hetzner", "webhook"] {
        let path = hook(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
        assert!(fs::read_to_string(&path).unwrap().starts_with("#!/usr/bin/env python3\n"));
    }
}
