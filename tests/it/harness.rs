//! The binary under test, and how to ask it.

use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// The binary that cargo has built for these tests.
pub(crate) const EVENKEEL: &str = env!("CARGO_BIN_EXE_evenkeel");

/// Runs a command of evenkeel to its end.
pub(crate) fn evenkeel(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// A command of evenkeel, with nothing of this environment that it would read.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(EVENKEEL);
    for name in ["CONFIG", "KUBECONFIG", "ADMIN", "LOG_LEVEL", "LOG_FORMAT", "COLOR"] {
        command.env_remove(format!("EVENKEEL_{name}"));
    }
    // What decides about colours and widths.
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// What a finished command wrote to standard output.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a finished command wrote to standard error.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Runs `hold`, whose snapshots are those in `tests/snapshots`.
pub(crate) fn snapshots(hold: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(hold);
}

/// Addresses on loopback that were free just now, all different.
pub(crate) fn free_addresses<const N: usize>() -> [SocketAddr; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.each_ref().map(|listener| listener.local_addr().unwrap())
}

/// A server that gives back what it gets, until the client has no more; its address.
pub(crate) fn echo(listener: TcpListener) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || {
                let mut stream = stream.unwrap();
                let mut reader = stream.try_clone().unwrap();
                // It ends when either side does.
                drop(std::io::copy(&mut reader, &mut stream));
            });
        }
    });
    address
}

/// A running evenkeel; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) admin: SocketAddr,
    child: Child,
}

impl Running {
    /// Starts `evenkeel run` with a config whose `admin.listen` is `admin`, and waits until the
    /// admin endpoint answers.
    pub(crate) fn start(config: &std::path::Path, admin: SocketAddr) -> Self {
        let child = command(&["run", "--config", config.to_str().unwrap(), "--log-format", "text"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Self { admin, child };
        running.until("alive", |running| running.get("/livez").is_some());
        running
    }

    /// Waits until `condition` holds; panics with the log where it does not within 20 s.
    pub(crate) fn until(&mut self, what: &str, condition: impl Fn(&Self) -> bool) {
        let give_up = Instant::now() + Duration::from_secs(20);
        while !condition(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < give_up,
                "not {what}: {ended:?}\n{}",
                self.log()
            );
            thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// The body of a GET, if the answer is 200.
    pub(crate) fn get(&self, path: &str) -> Option<String> {
        self.ask(path).filter(|(status, _)| *status == 200).map(|(_, body)| body)
    }

    /// The status and the body of a GET, if there is an answer.
    pub(crate) fn ask(&self, path: &str) -> Option<(u16, String)> {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(self.admin).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    }

    /// The status, as JSON.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.get("/api/v1/status").unwrap()).unwrap()
    }

    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the process to end; its exit code and log.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        (status.code(), self.log())
    }

    /// The log so far. Ends the process.
    fn log(&mut self) -> String {
        drop(self.child.kill());
        let mut log = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut log).unwrap();
        }
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
