//! Three routers and a client on one switch, a backend on each router, and the binary at work.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use evenkeel_admin::status::{ServiceStatus, Status, VipStatus};
use evenkeel_testbed::{
    Greeter, Holders, Host, Knock, Knocks, Network, Process, or_skip, require_filters,
};
use tokio::time::Instant;

use crate::harness::EVENKEEL;

/// The VIP, of both families.
pub(super) const VIP4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100));
pub(super) const VIP6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 0x100));
/// Where clients connect to.
pub(super) const SERVICE4: SocketAddr = SocketAddr::new(VIP4, 6443);
pub(super) const SERVICE6: SocketAddr = SocketAddr::new(VIP6, 6443);
/// Where the backend on each router listens.
pub(super) const BACKEND: u16 = 7443;

/// What begins every config here.
pub(super) const HEAD: &str = "apiVersion: evenkeel.dev/v1alpha1\nkind: LoadBalancer\n";

/// What a busy machine and a look now and then add to any bound.
pub(super) const SLACK: Duration = Duration::from_secs(1);
/// Longer than that nothing takes that must come some time.
pub(super) const LONG: Duration = Duration::from_secs(15);

/// Dropped, it takes everything with it, in this order.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) routers: Vec<Router>,
    /// Further servers.
    pub(super) others: Vec<Greeter>,
    pub(super) client: Host,
    pub(super) network: Network,
}

/// A host with a backend, and with evenkeel once it is started.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) host: Host,
    pub(super) evenkeel: Option<Process>,
    pub(super) backend: Option<Greeter>,
}

impl Site {
    /// Makes the hosts and the backends; `None` where the machine lacks something, which has been
    /// said then.
    pub(super) fn new() -> Option<Self> {
        or_skip(require_filters())?;
        let network = Network::new().unwrap();
        let router = |name| {
            let host = network.host(name).unwrap();
            let backend = Greeter::start(&host, BACKEND).unwrap();
            Router { host, evenkeel: None, backend: Some(backend) }
        };
        let routers = ["router-1", "router-2", "router-3"].map(router).into();
        let client = network.host("client").unwrap();
        Some(Self { routers, others: Vec::new(), client, network })
    }

    /// As [`Site::new`], with evenkeel on each router, and router-1 is the owner.
    pub(super) fn start() -> Option<Self> {
        let mut site = Self::new()?;
        site.run(&config());
        Some(site)
    }

    /// Starts evenkeel everywhere, and waits until router-1 is the owner and all serve.
    pub(super) fn run(&mut self, config: &str) {
        for place in 0..self.routers.len() {
            self.routers[place].start(config);
            if place == 0 {
                wait("router-1 is the owner", LONG, || self.routers[0].owns());
            }
        }
        self.wait_settled(0);
    }

    /// Waits until one router is the owner, and all others hear it and could take over.
    pub(super) fn wait_settled(&self, owner: usize) {
        let addresses = sources(&self.routers[owner].host);
        wait("all serve and hear the owner", LONG, || {
            self.routers.iter().enumerate().filter(|(_, router)| router.evenkeel.is_some()).all(
                |(place, router)| {
                    let vip = router.vip();
                    let heard = vip.owner.is_some_and(|owner| addresses.contains(&owner))
                        && vip.state == "backup";
                    let owns = vip.state == "owner";
                    vip.class.as_deref() == Some("healthy")
                        && if place == owner { owns } else { heard }
                },
            )
        });
    }

    /// Watches who has the IPv4 address.
    pub(super) fn watch(&self) -> Holders {
        Holders::watch(self.routers.iter().map(|router| &router.host), VIP4).unwrap()
    }

    /// The places of those that have all addresses of the VIP.
    pub(super) fn holders(&self) -> Vec<usize> {
        let places = 0..self.routers.len();
        places
            .filter(|place| {
                let host = &self.routers[*place].host;
                host.has(VIP4).unwrap() && host.has(VIP6).unwrap()
            })
            .collect()
    }

    /// Waits until exactly one of the routers has the VIP, and that is another one than `before`;
    /// its place.
    pub(super) fn wait_moved(&self, before: usize, limit: Duration) -> usize {
        wait(
            "one other router has it",
            limit,
            || matches!(self.holders().as_slice(), [one] if *one != before),
        );
        self.holders()[0]
    }

    /// Waits until clients are answered, as many in a row as come in half a second.
    pub(super) fn wait_served(knocks: &[&Knocks]) {
        wait("clients are served", LONG, || knocks.iter().all(|k| k.good_in_a_row() >= 50));
    }

    /// Clients of both families that come anew.
    pub(super) fn knock(&self) -> [Knocks; 2] {
        [SERVICE4, SERVICE6].map(|service| Knocks::start(&self.client, service).unwrap())
    }

    /// Whether the client's kernel believes that the VIP is at a router.
    pub(super) fn client_believes(&self, place: usize) -> bool {
        let mac = self.routers[place].host.mac().unwrap();
        self.client.believes(VIP4).unwrap() == Some(mac)
    }

    /// Whether a client that comes now is served.
    pub(super) fn serves(&self, service: SocketAddr) -> bool {
        Knocks::once(&self.client, service).unwrap().answer.is_ok()
    }

    /// Writes a file and answers its path.
    pub(super) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.network.directory().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Router {
    /// Starts evenkeel, and waits until its admin endpoint answers.
    pub(super) fn start(&mut self, config: &str) {
        let command = self.run_command(config);
        self.start_command(command);
    }

    /// What [`Router::start`] runs.
    pub(super) fn run_command(&self, config: &str) -> Command {
        let mut command = self.host.command(EVENKEEL);
        command.args(["run", "--config"]).arg(self.write(config));
        command
    }

    /// Starts a command that is evenkeel, and waits until its admin endpoint answers.
    pub(super) fn start_command(&mut self, command: Command) {
        let command = without_environment(command);
        let process = self.host.spawn("evenkeel", command).unwrap();
        self.evenkeel = Some(process);
        wait("evenkeel is alive", LONG, || {
            assert!(self.process().is_running(), "{}", self.process().log_tail());
            self.host.fetch(ADMIN, "/livez").is_ok_and(|(status, _)| status == 200)
        });
    }

    fn write(&self, config: &str) -> PathBuf {
        let path = self.host.directory().join(format!("{}.yaml", self.host.name()));
        fs::write(&path, config).unwrap();
        path
    }

    /// The running evenkeel.
    pub(super) fn process(&self) -> &Process {
        self.evenkeel.as_ref().expect("evenkeel was started here")
    }

    /// Asks evenkeel to end and waits for that.
    pub(super) fn end(&mut self) {
        self.process().terminate().unwrap();
        let mut process = self.evenkeel.take().expect("evenkeel was started here");
        let status = process.wait_exit(LONG).unwrap();
        assert!(status.success(), "{status}: {}", process.log_tail());
    }

    /// Kills evenkeel.
    pub(super) fn kill(&mut self) {
        self.evenkeel.take().expect("evenkeel was started here").kill().unwrap();
    }

    /// Runs a command of evenkeel on its host to its end.
    pub(super) fn run(&self, args: &[&str]) -> Output {
        without_environment(self.host.command(EVENKEEL)).args(args).output().unwrap()
    }

    /// The status of the process.
    pub(super) fn status(&self) -> Status {
        let (_, body) = self.host.fetch(ADMIN, "/api/v1/status").unwrap();
        serde_json::from_str(&body).unwrap()
    }

    /// The status of its only VIP.
    pub(super) fn vip(&self) -> VipStatus {
        self.status().vips.into_iter().next().unwrap()
    }

    /// The status of its only service.
    pub(super) fn service(&self) -> ServiceStatus {
        self.status().services.into_iter().next().unwrap()
    }

    /// Whether it is the owner, by its own words.
    pub(super) fn owns(&self) -> bool {
        self.vip().state == "owner"
    }

    /// Its events, as JSON.
    pub(super) fn events(&self) -> String {
        self.host.fetch(ADMIN, "/api/v1/events").unwrap().1
    }

    /// The sum of a counter over all its labels that contain a text.
    pub(super) fn counted(&self, name: &str, label: &str) -> u64 {
        let (_, metrics) = self.host.fetch(ADMIN, "/metrics").unwrap();
        let of_name = metrics.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && line.contains(label)
        });
        of_name.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// How often the VIP came to this router.
    pub(super) fn times_taken(&self) -> u64 {
        self.counted("evenkeel_vip_transitions_total", "to=\"owner\"")
    }
}

/// Where the adverts of a host come from: its IPv4 address, and the link-local one that the kernel
/// has made of that of the network card.
pub(super) fn sources(host: &Host) -> [String; 2] {
    let addresses = host.ip("-6 -o address show dev eth0 scope link").unwrap();
    let link_local = addresses.split_whitespace().find(|word| word.contains("ff:fe"));
    let link_local = link_local.and_then(|address| address.split('/').next()).unwrap_or_default();
    [host.ipv4().to_string(), link_local.to_owned()]
}

/// The usual config, the same everywhere.
pub(super) fn config() -> String {
    with("")
}

/// The usual config, with more keys of the VIP.
pub(super) fn with(more: &str) -> String {
    format!(
        "{HEAD}vips: [{{name: api, addresses: [\"{VIP4}\", \"{VIP6}\"], interface: eth0{more}}}]
services:
  - name: api
    preset: tcp
    listen: {{addresses: [\"{SERVICE4}\", \"{SERVICE6}\"]}}
    sources: [{{static: {{endpoints: [{}]}}}}]
",
        endpoints(BACKEND)
    )
}

/// A port of all routers.
pub(super) fn endpoints(port: u16) -> String {
    [21, 22, 23].map(|number| format!("\"10.0.0.{number}:{port}\"")).join(", ")
}

/// Those that failed, in words.
pub(super) fn failed(knocks: &[Knock]) -> Vec<String> {
    let begun = knocks.first().map(|knock| knock.sent);
    knocks
        .iter()
        .filter_map(|knock| {
            let error = knock.answer.as_ref().err()?;
            Some(format!("after {:.0?}: {error} ({:.0?})", knock.sent - begun?, knock.took))
        })
        .collect()
}

/// Those that took longer than this, in words.
pub(super) fn slow(knocks: &[Knock], than: Duration) -> Vec<String> {
    let begun = knocks.first().map(|knock| knock.sent);
    let slow = knocks.iter().filter(|knock| knock.took > than);
    slow.filter_map(|k| Some(format!("after {:.0?}: {:.0?}", k.sent - begun?, k.took))).collect()
}

/// The longest that one was waited for.
pub(super) fn longest(knocks: &[Knock]) -> Duration {
    knocks.iter().map(|knock| knock.took).max().unwrap_or_default()
}

/// Stops clients, and holds that they came, that none failed, and that none had to say its SYN
/// again, which it does after a second; the longest that one took.
pub(super) fn nobody_failed(knocks: [Knocks; 2]) -> Duration {
    let knocks = knocks.map(|knocks| knocks.stop().unwrap());
    for (knocks, family) in knocks.iter().zip(["IPv4", "IPv6"]) {
        assert!(knocks.len() >= 50, "only {} came", knocks.len());
        assert_eq!(failed(knocks), Vec::<String>::new(), "{family}: of {}", knocks.len());
        let slow = slow(knocks, Duration::from_millis(900));
        assert_eq!(slow, Vec::<String>::new(), "{family}: of {}", knocks.len());
    }
    knocks.iter().map(|knocks| longest(knocks)).max().unwrap_or_default()
}

/// Waits until a condition holds; how long that took.
pub(super) fn wait(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    loop {
        let looked = begun.elapsed();
        if condition() {
            return looked;
        }
        assert!(looked < limit, "not within {limit:?}: {what}");
        thread::park_timeout(LOOK);
    }
}

/// Without what evenkeel would read of this process's environment.
fn without_environment(mut command: Command) -> Command {
    let ours = ["CONFIG", "KUBECONFIG", "ADMIN", "LOG_LEVEL", "LOG_FORMAT", "COLOR"];
    for name in ours.map(|name| format!("EVENKEEL_{name}")) {
        command.env_remove(name);
    }
    command
}

/// Where evenkeel's admin endpoint listens by default.
pub(super) const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9643);
const LOOK: Duration = Duration::from_millis(10);
