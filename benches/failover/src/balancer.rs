//! The closed set of what is measured, and how each is started.

mod config;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evenkeel_testbed::{ControlPlane, Host, Process};

use crate::metrics::Told;
use evenkeel_bench::failed::{Doing, Failed};

/// What stands between the clients and the members.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Balancer {
    /// HAProxy as kubeadm's guide has it.
    HaproxyKubeadm,
    /// HAProxy as an expert would set it up.
    HaproxyTuned,
    /// Envoy as an expert would set it up.
    EnvoyTuned,
    /// nginx as kubespray has it.
    NginxKubespray,
    /// What is to be judged, with its defaults.
    Evenkeel,
}

impl Balancer {
    /// All, in the order of the table.
    pub(crate) const ALL: [Self; 5] = [
        Self::HaproxyKubeadm,
        Self::HaproxyTuned,
        Self::EnvoyTuned,
        Self::NginxKubespray,
        Self::Evenkeel,
    ];

    /// What `--balancers` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HaproxyKubeadm => "haproxy-kubeadm",
            Self::HaproxyTuned => "haproxy-tuned",
            Self::EnvoyTuned => "envoy-tuned",
            Self::NginxKubespray => "nginx-kubespray",
            Self::Evenkeel => "evenkeel",
        }
    }

    /// What it is, for who reads the table.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::HaproxyKubeadm => "HAProxy, exactly as kubeadm's guide for HA has it",
            Self::HaproxyTuned => "HAProxy, at its best",
            Self::EnvoyTuned => "Envoy, at its best",
            Self::NginxKubespray => "nginx stream, as kubespray has it",
            Self::Evenkeel => "evenkeel, with its defaults",
        }
    }

    /// The balancer of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|balancer| balancer.name() == name)
    }

    /// Whether it ends what is open to a member that is silent, within some seconds.
    pub(crate) fn ends_silence(self) -> bool {
        match self {
            Self::HaproxyTuned | Self::EnvoyTuned | Self::Evenkeel => true,
            Self::HaproxyKubeadm | Self::NginxKubespray => false,
        }
    }

    /// Where it listens on its host.
    pub(crate) fn address(host: &Host) -> SocketAddr {
        (host.ipv4(), PORT).into()
    }

    /// Starts it on its host before the members of `plane`, and does not wait.
    pub(crate) fn start(
        self,
        host: &Host,
        plane: &ControlPlane,
        programs: &Programs,
    ) -> Result<Running, Failed> {
        let directory = host.directory().join(self.name());
        fs::create_dir_all(&directory).doing(|| "make a directory for a balancer")?;
        let command = self.command(host, plane, programs, &directory)?;
        let process =
            host.spawn(self.name(), command).doing(|| format!("start {}", self.name()))?;
        Ok(Running { balancer: self, host: host.clone(), process })
    }

    fn command(
        self,
        host: &Host,
        plane: &ControlPlane,
        programs: &Programs,
        directory: &Path,
    ) -> Result<Command, Failed> {
        let (file, template) = self.template();
        let path = directory.join(file);
        let places = config::Places {
            listen: Self::address(host),
            members: plane.addresses(),
            ca: plane.ca_file(),
            directory: directory.to_owned(),
        };
        let text = places.fill(template);
        fs::write(&path, text).doing(|| format!("write {}", path.display()))?;
        let mut command = host.command(self.program(programs));
        match self {
            Self::HaproxyKubeadm | Self::HaproxyTuned => {
                command.arg("-db").arg("-f").arg(path);
            }
            Self::EnvoyTuned => {
                command.arg("-c").arg(path).args(["--disable-hot-restart", "--log-level", "warn"]);
            }
            Self::NginxKubespray => {
                command.args(["-e", "stderr", "-p"]).arg(directory).arg("-c").arg(path);
            }
            Self::Evenkeel => {
                without_environment(&mut command);
                command.args(["run", "--config"]).arg(path);
            }
        }
        Ok(command)
    }

    /// The program that it is.
    pub(crate) fn program(self, programs: &Programs) -> &Path {
        match self {
            Self::HaproxyKubeadm | Self::HaproxyTuned => Path::new("haproxy"),
            Self::EnvoyTuned => &programs.envoy,
            Self::NginxKubespray => Path::new("nginx"),
            Self::Evenkeel => &programs.evenkeel,
        }
    }

    /// The argument with which that program says its version.
    pub(crate) fn version_argument(self) -> &'static str {
        match self {
            Self::HaproxyKubeadm | Self::HaproxyTuned | Self::NginxKubespray => "-v",
            Self::EnvoyTuned | Self::Evenkeel => "--version",
        }
    }

    /// The file of its config, and what is in it.
    fn template(self) -> (&'static str, &'static str) {
        match self {
            Self::HaproxyKubeadm => ("haproxy.cfg", config::HAPROXY_KUBEADM),
            Self::HaproxyTuned => ("haproxy.cfg", config::HAPROXY_TUNED),
            Self::EnvoyTuned => ("envoy.yaml", config::ENVOY_TUNED),
            Self::NginxKubespray => ("nginx.conf", config::NGINX_KUBESPRAY),
            Self::Evenkeel => ("evenkeel.yaml", config::EVENKEEL),
        }
    }
}

/// Where the programs are that are in no `PATH`.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// evenkeel.
    pub(crate) evenkeel: PathBuf,
    /// Envoy.
    pub(crate) envoy: PathBuf,
}

/// A balancer that was started. Dropped, it ends, and its workers with it.
#[derive(Debug)]
pub(crate) struct Running {
    balancer: Balancer,
    host: Host,
    process: Process,
}

impl Running {
    /// That it has ended, with the end of its log. None: it runs.
    pub(crate) fn ended(&self) -> Option<Failed> {
        let doing = || format!("go on with {}", self.balancer.name());
        let log = || self.process.log_tail();
        (!self.process.is_running()).then(|| Failed::because(doing(), log()))
    }

    /// What evenkeel says of itself; nothing else is asked.
    pub(crate) fn told(&self) -> Result<Option<Told>, Failed> {
        match self.balancer {
            Balancer::HaproxyKubeadm
            | Balancer::HaproxyTuned
            | Balancer::EnvoyTuned
            | Balancer::NginxKubespray => Ok(None),
            Balancer::Evenkeel => Told::ask(&self.host, ADMIN).map(Some),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // A master that is asked ends its workers first; who does not end in time is killed.
        drop(self.process.terminate());
        drop(self.process.wait_exit(PATIENCE));
    }
}

/// Without what evenkeel would read of this process's environment.
fn without_environment(command: &mut Command) {
    let ours = ["CONFIG", "KUBECONFIG", "ADMIN", "LOG_LEVEL", "LOG_FORMAT", "COLOR"];
    for name in ours.map(|name| format!("EVENKEEL_{name}")) {
        command.env_remove(name);
    }
    command.env_remove("KUBERNETES_SERVICE_HOST").env_remove("KUBERNETES_SERVICE_PORT");
}

const PORT: u16 = 6443;
/// Where evenkeel's admin endpoint listens by default.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9643);
const PATIENCE: Duration = Duration::from_secs(3);
