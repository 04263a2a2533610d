//! The closed set of what is measured, and how each is started.

mod config;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::child::{self, Child};
use crate::generator;
use crate::order::{Order, Seen, Span, Work};
use crate::pause;
use evenkeel_bench::failed::{Doing, Failed, in_one_line};

/// What stands between the generator and the backend.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Proxy {
    /// Nothing.
    Direct,
    /// The peer that all are compared with.
    Haproxy,
    /// What is to be judged.
    Evenkeel,
    /// The same once more: how far the two are apart is how far to trust the rest.
    EvenkeelAgain,
    /// HAProxy that always splices.
    HaproxySplice,
    /// HAProxy with a CPU for each thread.
    HaproxyPinned,
    /// nginx stream.
    Nginx,
    /// Envoy.
    Envoy,
}

impl Proxy {
    /// All, in the order of the tables.
    pub(crate) const ALL: [Self; 8] = [
        Self::Direct,
        Self::Haproxy,
        Self::Evenkeel,
        Self::EvenkeelAgain,
        Self::HaproxySplice,
        Self::HaproxyPinned,
        Self::Nginx,
        Self::Envoy,
    ];

    /// Those of the one-minute version.
    pub(crate) const IN_A_MINUTE: [Self; 3] = Self::JUDGED;

    /// Those that targets are about.
    pub(crate) const JUDGED: [Self; 3] = [Self::Direct, Self::Haproxy, Self::Evenkeel];

    /// What `--proxies` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Evenkeel => "evenkeel",
            Self::EvenkeelAgain => "evenkeel-again",
            Self::HaproxySplice => "haproxy-splice",
            Self::HaproxyPinned => "haproxy-pinned",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    /// What it is, for who reads the tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Direct => "no proxy",
            Self::Haproxy => "HAProxy, no splice",
            Self::Evenkeel => "evenkeel",
            Self::EvenkeelAgain => "the same evenkeel under a second name, or the one of --again",
            Self::HaproxySplice => "HAProxy, splice-request and -response, pipes of 256 KiB",
            Self::HaproxyPinned => "HAProxy, no splice, each thread pinned to a CPU",
            Self::Nginx => "nginx stream, reuseport, half-close kept",
            Self::Envoy => "Envoy, buffers of 1 MiB",
        }
    }

    /// The proxy of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proxy| proxy.name() == name)
    }

    /// How many connections it holds: with splicing, pipes count in the limit of descriptors.
    pub(crate) fn capacity(self) -> usize {
        if self == Self::HaproxySplice { 6400 } else { 9500 }
    }

    /// Starts it on `listen` before `place.backend`, and waits until it relays.
    pub(crate) fn start(
        self,
        listen: SocketAddr,
        place: &Place,
    ) -> Result<Option<Running>, Failed> {
        if self == Self::Direct {
            return Ok(None);
        }
        let directory = place.directory.join(self.name());
        std::fs::create_dir_all(&directory).doing(|| "make a directory for a proxy")?;
        let command = self.command(listen, place, &directory)?;
        let child = Child::start(self.name(), command, &directory)?;
        let mut running = Running { child, address: listen };
        running.wait_until_it_relays()?;
        Ok(Some(running))
    }

    fn command(
        self,
        listen: SocketAddr,
        place: &Place,
        directory: &Path,
    ) -> Result<Command, Failed> {
        let write = |name: &str, template: &str| {
            let path = directory.join(name);
            let text = config::fill(template, listen, place, directory);
            std::fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
            Ok::<_, Failed>(path)
        };
        let haproxy = |template: &str| {
            let path = write("haproxy.cfg", template)?;
            let mut command = child::command("haproxy");
            command.arg("-db").arg("-f").arg(path);
            Ok(command)
        };
        match self {
            Self::Direct => Err(Failed::because("start it", "direct is no proxy")),
            Self::Haproxy => haproxy(config::HAPROXY),
            Self::HaproxySplice => haproxy(config::HAPROXY_SPLICE),
            Self::HaproxyPinned => haproxy(config::HAPROXY_PINNED),
            Self::Evenkeel | Self::EvenkeelAgain => {
                let path = write("evenkeel.yaml", config::EVENKEEL)?;
                let again = place.again.as_ref().filter(|_| self == Self::EvenkeelAgain);
                let mut command = child::command(again.unwrap_or(&place.evenkeel));
                command.args(["run", "--log-level", "warn", "--config"]).arg(path);
                command.envs(place.environment.iter().cloned());
                Ok(command)
            }
            Self::Nginx => {
                let path = write("nginx.conf", config::NGINX)?;
                let mut command = child::command("nginx");
                command.args(["-e", "stderr", "-p"]).arg(directory).arg("-c").arg(path);
                Ok(command)
            }
            Self::Envoy => {
                let path = write("envoy.yaml", config::ENVOY)?;
                let mut command = child::command(&place.envoy);
                command.args(["--concurrency", &place.threads.to_string(), "-c"]).arg(path);
                command.args(["--disable-hot-restart", "--log-level", "error"]);
                Ok(command)
            }
        }
    }
}

/// What all proxies are started with.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// For configs and logs.
    pub(crate) directory: PathBuf,
    /// The backend's address.
    pub(crate) backend: SocketAddr,
    /// Threads of each proxy.
    pub(crate) threads: usize,
    /// The binary of evenkeel.
    pub(crate) evenkeel: PathBuf,
    /// The binary that is measured as `evenkeel-again`. None: the same.
    pub(crate) again: Option<PathBuf>,
    /// Further environment of evenkeel.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether it knows the key `dataPlane`.
    pub(crate) knows_data_plane: bool,
    /// The binary of Envoy.
    pub(crate) envoy: PathBuf,
}

impl Place {
    /// Asks evenkeel whether it knows the key `dataPlane`, which older ones do not.
    pub(crate) fn ask_evenkeel(&mut self) -> Result<(), Failed> {
        let path = self.directory.join("check.yaml");
        let listen = SocketAddr::from(([127, 0, 0, 1], 9999));
        let mut check = |knows| {
            self.knows_data_plane = knows;
            let text = config::fill(config::EVENKEEL, listen, self, &self.directory);
            std::fs::write(&path, text).doing(|| "write a config")?;
            let output =
                Command::new(&self.evenkeel).args(["check", "--config"]).arg(&path).output();
            output.doing(|| format!("run {}", self.evenkeel.display()))
        };
        if check(true)?.status.success() {
            return Ok(());
        }
        let without = check(false)?;
        if without.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&without.stderr).into_owned();
        Err(Failed::because("make a config that evenkeel takes", told))
    }
}

/// A proxy that relays.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
}

impl Running {
    /// Where clients reach it.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.child.pids()
    }

    /// Whether it has ended, which only what is broken does.
    pub(crate) fn check(&mut self) -> Result<(), Failed> {
        self.child.check()
    }

    fn wait_until_it_relays(&mut self) -> Result<(), Failed> {
        let order = Order {
            to: self.address,
            work: Work::Connect { request: 1, answer: 1 },
            connections: 1,
            span: Span::Counted(1),
            certificate: None,
            paced: false,
            watched: crate::cpu::Watched::default(),
        };
        let mut last = String::new();
        let relays = pause::until(LONGEST, || {
            if let Err(error) = self.child.check() {
                return Some(Err(error));
            }
            match generator::run(order.clone(), &mut AtOnce) {
                Ok(seen) if seen.count == 1 => Some(Ok(())),
                Ok(_) => None,
                Err(error) => {
                    last = in_one_line(&error);
                    None
                }
            }
        });
        relays.unwrap_or_else(|| Err(self.child.ended(&format!("it does not relay: {last}"))))
    }
}

/// Waits for nobody.
struct AtOnce;

impl generator::Pace for AtOnce {
    fn ready(&mut self) -> Result<(), Failed> {
        Ok(())
    }

    fn seen(&mut self, _seen: &Seen) -> Result<(), Failed> {
        Ok(())
    }
}

const LONGEST: Duration = Duration::from_secs(10);
