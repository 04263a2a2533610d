//! A proxy that runs, with its backends.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::Instant;

use crate::backend::{Arrivals, Backend, Tag, new_tag};
use crate::kind::{Kind, Site};
use crate::pair::{End, LIMIT, Pair, read};
use crate::process::{Process, StartError};
use crate::rig::Rig;
use crate::verdict::{Failure, NotChecked};

/// Under which conditions a proxy is started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) backends: usize,
    /// How many threads; by default as many as the kind likes.
    pub(crate) threads: Option<usize>,
    /// How many descriptors it may have; by default as many as this process.
    pub(crate) descriptors: Option<u32>,
    /// The user that it runs as, without any capability; by default this one.
    pub(crate) user: Option<u32>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { backends: 1, threads: None, descriptors: None, user: None }
    }
}

/// A proxy that runs and serves, with its backends.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) backends: Vec<Backend>,
    pub(crate) kind: Kind,
    process: Option<Process>,
    listen: SocketAddr,
    arrivals: Arc<Arrivals>,
}

/// A client that has connected and said its tag.
#[derive(Debug)]
pub(crate) struct Knock {
    pub(crate) client: TcpStream,
    tag: Tag,
}

/// What became of a client that knocked.
#[derive(Debug)]
pub(crate) enum Outcome {
    Served(Pair),
    /// It was told that it is not: the direction to it ended so. Or, if silence, it was not told.
    Ended(End),
}

impl Stage {
    /// Starts the backends and the proxy, and waits until it serves.
    pub(crate) fn start(rig: &Rig, setup: Setup) -> Result<Self, StartError> {
        let arrivals = Arc::new(Arrivals::default());
        let listening = |_| Backend::listen(free_address()?, Arc::clone(&arrivals));
        let backends: Vec<Backend> = (0..setup.backends)
            .map(listening)
            .collect::<io::Result<_>>()
            .map_err(StartError::Backend)?;
        let addresses: Vec<SocketAddr> = backends.iter().map(Backend::address).collect();

        let mut kind = rig.kind.clone();
        let prepare = |source| StartError::Prepare { kind: rig.kind.to_string(), source };
        let directory = tempfile::Builder::new()
            .prefix("evenkeel-trap-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir()
            .map_err(prepare)?;
        if setup.user.is_some() {
            kind = within_reach(&kind, directory.path()).map_err(prepare)?;
        }
        let listen = free_address().map_err(prepare)?;
        let site = Site {
            directory: directory.path(),
            listen,
            backends: &addresses,
            threads: setup.threads,
            few_descriptors: setup.descriptors.is_some(),
        };
        let command = kind.command(&site).map_err(prepare)?;
        let process = match command {
            Some(command) => Some(
                spawn(&setup, &command, directory)
                    .map_err(|source| StartError::Run { kind: rig.kind.to_string(), source })?,
            ),
            None => None,
        };
        let listen = if process.is_some() { listen } else { addresses[0] };
        let mut stage = Self { backends, kind, process, listen, arrivals };
        stage.wait_until_it_serves()?;
        Ok(stage)
    }

    fn wait_until_it_serves(&mut self) -> Result<(), StartError> {
        let give_up = Instant::now() + START;
        loop {
            let seen = match self.knock() {
                Err(error) => error.to_string(),
                Ok(knock) => match self.outcome(knock, FIRST) {
                    Outcome::Served(_) => return Ok(()),
                    Outcome::Ended(end) => end.to_string(),
                },
            };
            let has_ended = match &mut self.process {
                Some(process) => process.wait_exit(AGAIN).is_ok_and(|status| status.is_some()),
                None => false,
            };
            if has_ended || Instant::now() > give_up {
                let log = self.process.as_ref().map(Process::log_tail).unwrap_or_default();
                return Err(StartError::NotServing { kind: self.kind.to_string(), seen, log });
            }
        }
    }

    /// A new connection, both of whose ends are in hand.
    pub(crate) fn pair(&self) -> Result<Pair, Failure> {
        let knock = self.knock().map_err(|error| format!("a client could not connect: {error}"))?;
        match self.outcome(knock, LIMIT) {
            Outcome::Served(pair) => Ok(pair),
            Outcome::Ended(end) => {
                Err(format!("a new connection reached no backend; its client saw {end}").into())
            }
        }
    }

    /// Connects and says a tag, without waiting for what becomes of it.
    pub(crate) fn knock(&self) -> io::Result<Knock> {
        self.knock_within(LIMIT)
    }

    /// The same, and not longer than that on the handshake.
    pub(crate) fn knock_within(&self, within: Duration) -> io::Result<Knock> {
        Knock::say(TcpStream::connect_timeout(&self.listen, within)?, &[])
    }

    /// Waits until the client is served or ended.
    pub(crate) fn outcome(&self, knock: Knock, within: Duration) -> Outcome {
        let until = Instant::now() + within;
        let Knock { client, tag } = knock;
        loop {
            if let Some(backend) = self.arrivals.take(tag, LOOK) {
                return Outcome::Served(Pair { client, backend });
            }
            // Nobody has said anything to it, so what it reads is an end.
            match read(&client, &mut [0], Duration::ZERO) {
                Err(End::Silence) if Instant::now() < until => (),
                Err(end) => {
                    // It may have been served and ended between the two looks.
                    return match self.arrivals.take(tag, Duration::ZERO) {
                        Some(backend) => Outcome::Served(Pair { client, backend }),
                        None => Outcome::Ended(end),
                    };
                }
                Ok(_) => return Outcome::Ended(End::Error(io::ErrorKind::InvalidData)),
            }
        }
    }

    /// Where clients connect.
    pub(crate) fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Closes the client, and its other end too whenever that arrives.
    pub(crate) fn abandon(&self, knock: Knock) {
        self.arrivals.abandon(knock.tag);
        drop(knock.client);
    }

    /// The process of the proxy.
    pub(crate) fn process(&self) -> Result<&Process, NotChecked> {
        self.process.as_ref().ok_or(NO_PROCESS)
    }

    /// The same, to wait for its end.
    pub(crate) fn process_mut(&mut self) -> Result<&mut Process, NotChecked> {
        self.process.as_mut().ok_or(NO_PROCESS)
    }

    /// The CPU that the proxy has used; none if there is none.
    pub(crate) fn cpu(&self) -> Result<Duration, Failure> {
        let Some(process) = &self.process else { return Ok(Duration::ZERO) };
        process.cpu().map_err(|error| format!("its CPU is not known: {error}").into())
    }

    /// The CPU that the proxy uses in the next `time`.
    pub(crate) fn cpu_during(&self, time: Duration) -> Result<Duration, Failure> {
        let before = self.cpu()?;
        pause(time);
        Ok(self.cpu()?.saturating_sub(before))
    }

    /// Bytes of the proxy's user memory; none if there is no proxy.
    pub(crate) fn user_memory(&self) -> Result<u64, Failure> {
        let Some(process) = &self.process else { return Ok(0) };
        process.user_memory().map_err(|error| format!("its memory is not known: {error}").into())
    }
}

impl Knock {
    /// Says a tag and `more` over a connection to [`Stage::listen`], in one segment.
    pub(crate) fn say(mut client: TcpStream, more: &[u8]) -> io::Result<Self> {
        client.set_nodelay(true)?;
        client.set_write_timeout(Some(LIMIT))?;
        let tag = new_tag();
        client.write_all(&[&tag[..], more].concat())?;
        Ok(Self { client, tag })
    }
}

/// Lets time pass: for what is about time, where there is no event to wait for.
pub(crate) fn pause(time: Duration) {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// The kind with its program where every user may run it.
fn within_reach(kind: &Kind, directory: &Path) -> io::Result<Kind> {
    let Some(program) = kind.program() else { return Ok(kind.clone()) };
    let copy: PathBuf = directory.join("program");
    fs::copy(program, &copy)?;
    fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
    Ok(kind.moved(copy))
}

/// Runs it so that it ends with the thread that asked, and with nothing of this environment.
fn spawn(setup: &Setup, program: &Command, directory: TempDir) -> io::Result<Process> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(user) = setup.user {
        chown(directory.path(), Some(user), Some(user))?;
        command.args(["--reuid", &user.to_string(), "--regid", &user.to_string()]);
        command.arg("--clear-groups");
    }
    command.arg("--");
    if let Some(descriptors) = setup.descriptors {
        command.arg("prlimit").arg(format!("--nofile={descriptors}:{descriptors}")).arg("--");
    }
    command.arg(program.get_program()).args(program.get_args());
    command.env_clear().env("PATH", PATH);
    Process::spawn(command, directory)
}

/// An address on loopback that is free, with a port that the kernel gives to no client.
fn free_address() -> io::Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(0);

    // Each process begins elsewhere: tests are processes that run side by side.
    let begin = u16::try_from(std::process::id() % u32::from(PORTS)).unwrap_or_default();
    for _ in 0..PORTS {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(begin) % PORTS;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", FIRST_PORT + offset)) {
            return listener.local_addr();
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "every port is taken"))
}

const NO_PROCESS: NotChecked = NotChecked::NotFor("there is no process of a proxy");

/// Ports below those that clients get, also with the range of [`crate::namespace`].
const FIRST_PORT: u16 = 4000;
const PORTS: u16 = 5000;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Longest wait for a proxy to serve.
const START: Duration = Duration::from_secs(20);

/// Longest wait for what becomes of one of the first clients.
const FIRST: Duration = Duration::from_secs(2);

/// How long one of the two events is waited for that may come to a client: it has a backend, or it
/// is ended.
const LOOK: Duration = Duration::from_millis(2);

/// Time between two tries while a proxy starts.
const AGAIN: Duration = Duration::from_millis(10);
