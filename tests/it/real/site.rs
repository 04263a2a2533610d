//! A control plane with a host for evenkeel before it and one for clients, and the binary at work.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_admin::status::{BackendStatus, ServiceStatus, Status};
use evenkeel_testbed::{
    ControlPlane, Host, Load, LoadOptions, Member, Network, Options, Process, User, or_skip,
    require,
};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::pause;
use crate::harness::{EVENKEEL, stderr, stdout};

/// Dropped, it takes everything with it, in this order.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) plane: ControlPlane,
    pub(super) lb: Host,
    pub(super) client: Host,
    pub(super) network: Network,
    _alone: MutexGuard<'static, ()>,
}

impl Site {
    /// Starts it; `None` where the machine lacks something, which has been said then.
    pub(super) fn start(options: Options) -> Option<Self> {
        // Two control planes at once would measure each other. Nextest, with its processes, has a
        // test group for that.
        static ALONE: Mutex<()> = Mutex::new(());

        let assets = or_skip(require())?;
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let network = Network::new().unwrap();
        let lb = network.host("lb").unwrap();
        let client = network.host("client").unwrap();
        let begun = Instant::now();
        let mut options = options;
        options.extra_sans.push(lb.ipv4().to_string());
        let plane = ControlPlane::start(&network, &assets, &options).unwrap();
        println!("control plane: started in {:.1?}", begun.elapsed());
        Some(Self { plane, lb, client, network, _alone: alone })
    }

    /// Where evenkeel listens for clients.
    pub(super) fn front(&self) -> SocketAddr {
        (self.lb.ipv4(), 6443).into()
    }

    /// A kubeconfig in which `user` reaches the cluster through evenkeel.
    pub(super) fn kubeconfig(&self, user: User) -> PathBuf {
        self.plane.kubeconfig(&format!("https://{}", self.front()), user).unwrap()
    }

    /// A kubeconfig in which `user` reaches a member past evenkeel.
    pub(super) fn kubeconfig_of(&self, member: Member, user: User) -> PathBuf {
        self.plane.kubeconfig(&format!("https://{}", self.plane.address(member)), user).unwrap()
    }

    /// Runs kubectl on the client's host, through evenkeel.
    pub(super) fn try_kubectl(&self, args: &[&str]) -> Output {
        let kubeconfig = self.kubeconfig(User::Admin);
        self.plane.kubectl(&self.client, &kubeconfig, args).unwrap()
    }

    /// As [`Site::try_kubectl`]: what it wrote, where it must succeed.
    pub(super) fn kubectl(&self, args: &[&str]) -> String {
        let output = self.try_kubectl(args);
        assert!(output.status.success(), "kubectl {args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// As [`Site::kubectl`], but past evenkeel.
    pub(super) fn kubectl_past(&self, member: Member, args: &[&str]) -> String {
        let kubeconfig = self.kubeconfig_of(member, User::Admin);
        let output = self.plane.kubectl(&self.client, &kubeconfig, args).unwrap();
        assert!(output.status.success(), "kubectl {args:?}: {}", stderr(&output));
        stdout(&output)
    }

    /// A kubectl on the client's host, through evenkeel, that goes on.
    pub(super) fn spawn_kubectl(&self, name: &str, args: &[&str]) -> Process {
        let mut command = self.plane.kubectl_command(&self.client, &self.kubeconfig(User::Admin));
        command.args(args);
        self.client.spawn(name, command).unwrap()
    }

    /// The usual load through evenkeel, with the ticks written to `ticker`.
    pub(super) fn load(&self, ticker: Member) -> Load {
        self.load_with(LoadOptions::new(self.front(), self.plane.address(ticker)))
    }

    /// As [`Site::load`], with other options.
    pub(super) fn load_with(&self, options: LoadOptions) -> Load {
        Load::start(&self.client, self.plane.admin(), options).unwrap()
    }

    /// Waits until nobody listens at an address any more.
    pub(super) fn wait_refused(&self, address: SocketAddr) {
        wait("nobody listens", Duration::from_secs(5), || {
            self.client.block_on(TcpStream::connect(address)).unwrap().is_err()
        });
    }

    /// Writes a file and answers its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.network.directory().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// A config with all three members written in it, and `credentials` in flow style.
    pub(super) fn config(&self, credentials: &str, shutdown: &str) -> String {
        let members = self.plane.addresses().map(|member| member.to_string()).join(", ");
        format!(
            "apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
shutdown: {shutdown}
services:
  - name: kube-apiserver
    preset: kube-apiserver
    listen: {{addresses: [\"0.0.0.0:6443\"]}}
    sources: [{{static: {{endpoints: [{members}]}}}}]
    credentials: {credentials}
"
        )
    }

    /// The credentials of `user`, for [`Site::config`].
    pub(super) fn credentials(&self, user: User) -> String {
        let kubeconfig = self.kubeconfig_of(Member::One, user);
        format!("{{kubeconfig: {{file: {}}}}}", kubeconfig.display())
    }

    /// Starts evenkeel with a config, and waits until its admin endpoint answers.
    pub(super) fn start_configured(&self, config: &str) -> Evenkeel {
        let file = self.write("evenkeel.yaml", config);
        self.start_evenkeel(&["run", "--config", file.to_str().unwrap()])
    }

    /// As [`Site::start_configured`], with all members written in the config, and waits until all
    /// are ready.
    pub(super) fn start_usual(&self) -> Evenkeel {
        let evenkeel = self.start_configured(&self.config(&self.credentials(User::Probe), "{}"));
        evenkeel.until_ready(3, Duration::from_secs(5));
        evenkeel
    }

    /// Starts evenkeel with a command line, and waits until its admin endpoint answers.
    pub(super) fn start_evenkeel(&self, args: &[&str]) -> Evenkeel {
        Self::start_evenkeel_on(&self.lb, args)
    }

    /// As [`Site::start_evenkeel`], on a host of the control plane.
    pub(super) fn start_evenkeel_on(host: &Host, args: &[&str]) -> Evenkeel {
        let mut command = without_environment(host.command(EVENKEEL));
        command.args(args);
        let process = host.spawn("evenkeel", command).unwrap();
        let evenkeel = Evenkeel { process, host: host.clone() };
        wait("evenkeel is alive", Duration::from_secs(5), || {
            evenkeel.host.fetch(ADMIN, "/livez").is_ok_and(|(status, _)| status == 200)
        });
        evenkeel
    }

    /// Runs a command of evenkeel on its host to its end.
    pub(super) fn evenkeel(&self, args: &[&str]) -> Output {
        without_environment(self.lb.command(EVENKEEL)).args(args).output().unwrap()
    }

    /// What `evenkeel status` shows.
    pub(super) fn status_table(&self) -> String {
        let output = self.evenkeel(&["status"]);
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    }
}

/// A running evenkeel; killed when dropped.
#[derive(Debug)]
pub(super) struct Evenkeel {
    pub(super) process: Process,
    host: Host,
}

impl Evenkeel {
    /// `GET` of its admin endpoint: the status and the body.
    pub(super) fn get(&self, path: &str) -> (u16, String) {
        self.host.fetch(ADMIN, path).unwrap()
    }

    /// The status of its only service.
    pub(super) fn status(&self) -> ServiceStatus {
        let (_, body) = self.get("/api/v1/status");
        let status: Status = serde_json::from_str(&body).unwrap();
        status.services.into_iter().next().unwrap()
    }

    /// The status of one backend, if it is in the pool.
    pub(super) fn backend(&self, address: SocketAddr) -> Option<BackendStatus> {
        let backends = self.status().backends;
        backends.into_iter().find(|backend| backend.endpoint == address.to_string())
    }

    /// How many connections a backend was connected for so far, as the metrics say.
    pub(super) fn taken(&self, address: SocketAddr) -> u64 {
        let (_, metrics) = self.get("/metrics");
        let backend = format!("backend=\"{address}\"");
        let counter = metrics.lines().find(|line| {
            line.starts_with("evenkeel_connections_total{") && line.contains(&backend)
        });
        let value = counter.and_then(|line| line.split_whitespace().last());
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until so many backends are ready; how long that took.
    pub(super) fn until_ready(&self, ready: usize, limit: Duration) -> Duration {
        self.until(&format!("{ready} ready"), limit, |status| status.ready == ready)
    }

    /// Waits until the status is as it should be; how long that took.
    pub(super) fn until(
        &self,
        what: &str,
        limit: Duration,
        condition: impl Fn(&ServiceStatus) -> bool,
    ) -> Duration {
        let begun = Instant::now();
        loop {
            let status = self.status();
            if condition(&status) {
                return begun.elapsed();
            }
            assert!(begun.elapsed() < limit, "not {what} after {limit:?}: {status:#?}");
            pause(POLL);
        }
    }
}

/// Waits until a condition holds; how long that took.
pub(super) fn wait(what: &str, limit: Duration, condition: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        pause(POLL);
    }
    begun.elapsed()
}

/// Without what evenkeel would read of this process's environment.
fn without_environment(mut command: Command) -> Command {
    let ours = ["CONFIG", "KUBECONFIG", "ADMIN", "LOG_LEVEL", "LOG_FORMAT", "COLOR"];
    for name in ours.map(|name| format!("EVENKEEL_{name}")) {
        command.env_remove(name);
    }
    command.env_remove("KUBERNETES_SERVICE_HOST").env_remove("KUBERNETES_SERVICE_PORT");
    command
}

/// Where evenkeel's admin endpoint listens by default.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9643);
const POLL: Duration = Duration::from_millis(20);
