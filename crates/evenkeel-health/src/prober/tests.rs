use std::net::{SocketAddr, TcpListener};

use evenkeel_core::credentials::Credentials;
use evenkeel_core::health::{Class, Health};
use evenkeel_core::shutdown::Tasks;
use evenkeel_core::units::Span;
use evenkeel_lab::{ControlPlane, Fault, Options};

use super::*;
use crate::full_queue::FullQueue;
use crate::judge::LEAST_PAUSE;
use crate::probe::{KubeApiserverProbe, Probe};

/// A prober at work, and what it reports.
struct Running {
    reports: mpsc::Receiver<HealthReport>,
    signs: Arc<Signs>,
    trust: watch::Sender<Arc<Trust>>,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Running {
    fn start(address: SocketAddr, config: HealthConfig, trust: Trust) -> Self {
        let (sender, reports) = mpsc::channel(16);
        let (trust, watched) = watch::channel(Arc::new(trust));
        let endpoint = Endpoint::new(address);
        let signs: Arc<Signs> = Arc::default();
        let prober = Prober::new("api", endpoint, config, watched, sender, signs.clone(), 7);
        let (tasks, stop) = (Tasks::new(), CancellationToken::new());
        tasks.spawn("prober", prober.run(stop.clone()));
        Self { reports, signs, trust, stop, tasks }
    }

    async fn next(&mut self) -> HealthReport {
        self.reports.recv().await.unwrap()
    }

    async fn next_changed(&mut self) -> Evidence {
        loop {
            let report = self.next().await;
            if report.changed {
                return report.evidence;
            }
        }
    }

    /// Looks that were in flight at that moment end, and then it goes by the interval.
    async fn as_always_after(&mut self, moment: Instant) {
        let mut last = moment;
        loop {
            let next = self.next().await.at;
            if next - last >= Duration::from_secs(50) {
                return;
            }
            assert!(next - moment <= Duration::from_secs(2), "{:?}", next - moment);
            last = next;
        }
    }

    /// Ends the prober, and waits until it has.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.wait().await;
        assert_eq!(self.tasks.panics(), 0);
    }
}

fn nobody() -> Trust {
    Trust::new(&Credentials::default()).unwrap()
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn nobody_listens() -> SocketAddr {
    listener().1
}

/// Long enough that whatever comes sooner was asked for.
fn seldom() -> HealthConfig {
    HealthConfig {
        interval: Span::from_secs(60),
        connect_timeout: Span::from_millis(500),
        ..HealthConfig::default()
    }
}

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

#[tokio::test(start_paused = true)]
async fn it_probes_at_once_and_then_every_interval() {
    let (_listener, address) = listener();
    let started = Instant::now();
    let mut running = Running::start(address, HealthConfig::default(), nobody());
    let first = running.next().await;
    assert_eq!((first.at, first.changed), (started, true));
    assert_eq!(first.evidence, Evidence { health: Health::Ready, class: Class::Ready });
    assert_eq!(first.endpoint, Endpoint::new(address));
    let mut last = first.at;
    for attempts in 2..20 {
        let report = running.next().await;
        assert_eq!((report.attempts, report.changed), (attempts, false));
        let pause = report.at - last;
        assert!((milliseconds(450)..=milliseconds(501)).contains(&pause), "{pause:?}");
        last = report.at;
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_endpoint_is_suspected_then_looked_at_twice_then_dead() {
    let queue = FullQueue::new();
    let started = Instant::now();
    let mut running = Running::start(queue.address, seldom(), nobody());
    // Nothing is known of it yet, so it has all the time of a connect.
    let report = running.next().await;
    let class = Class::ConnectTimeout;
    assert_eq!(report.evidence, Evidence { health: Health::Unready, class });
    assert!(report.at - started <= milliseconds(551), "{report:?}");
    let died = loop {
        let report = running.next().await;
        if report.evidence.health == Health::Dead {
            break report;
        }
    };
    assert_eq!(died.evidence.class, class);
    assert!(died.at - started <= milliseconds(1160), "{died:?}");
    running.as_always_after(died.at).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_unready_at_once_and_no_reason_to_hurry() {
    let mut running = Running::start(nobody_listens(), seldom(), nobody());
    let first = running.next().await;
    assert_eq!(first.evidence, Evidence { health: Health::Unready, class: Class::Refused });
    assert!(running.next().await.at - first.at >= Duration::from_secs(50));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_requests_is_one_probe() {
    let mut running = Running::start(nobody_listens(), seldom(), nobody());
    let first = running.next().await;
    time::sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    for _ in 0..1000 {
        running.signs.look();
    }
    assert!(running.next().await.at - asked <= milliseconds(1));
    // While it pauses it is asked again, by each of the connects that failed meanwhile.
    let asked = Instant::now();
    for _ in 0..1000 {
        running.signs.look();
    }
    let report = running.next().await;
    assert!((LEAST_PAUSE..=milliseconds(52)).contains(&(report.at - asked)), "{report:?}");
    assert!(running.next().await.at - first.at >= Duration::from_secs(50));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_during_an_attempt_is_one_more_after_it() {
    let queue = FullQueue::new();
    let config = HealthConfig { fall: 1, ..seldom() };
    let mut running = Running::start(queue.address, config, nobody());
    let died = loop {
        let report = running.next().await;
        if report.evidence.health == Health::Dead {
            break report;
        }
    };
    running.signs.look();
    running.signs.look();
    let next = running.next().await;
    assert!(next.at - died.at <= milliseconds(560), "{next:?}");
    running.as_always_after(next.at).await;
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_flight_does_not_delay_the_end() {
    let queue = FullQueue::new();
    let config = HealthConfig { connect_timeout: Span::from_secs(30), ..HealthConfig::default() };
    let running = Running::start(queue.address, config, nobody());
    time::sleep(Duration::from_secs(1)).await;
    let asked = Instant::now();
    running.end().await;
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_nobody_receives() {
    let (_listener, address) = listener();
    let running = Running::start(address, HealthConfig::default(), nobody());
    let tasks = running.tasks.clone();
    drop(running);
    tasks.wait().await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_delays_no_other() {
    let queue = FullQueue::new();
    let (_listener, address) = listener();
    let config = HealthConfig { connect_timeout: Span::from_secs(30), ..HealthConfig::default() };
    let dead = Running::start(queue.address, config.clone(), nobody());
    let mut ready = Running::start(address, config, nobody());
    let started = Instant::now();
    for _ in 0..10 {
        assert_eq!(ready.next().await.outcome.class, Class::Ready);
    }
    assert!(started.elapsed() <= Duration::from_secs(5));
    dead.end().await;
    ready.end().await;
}

async fn one_server() -> ControlPlane {
    let options = Options { api_servers: 1, argocd_servers: 0, ..Options::default() };
    ControlPlane::start(options).await.unwrap()
}

fn kube() -> HealthConfig {
    let probe = Probe::KubeApiserver(KubeApiserverProbe::default());
    HealthConfig { interval: Span::from_millis(100), probe, ..HealthConfig::default() }
}

fn trust_in(ca: &str) -> Trust {
    Trust::new(&Credentials { ca: Some(ca.into()), ..Credentials::default() }).unwrap()
}

#[tokio::test]
async fn a_frozen_server_dies_and_comes_back() {
    let lab = one_server().await;
    let address = lab.api_server(0).address();
    let mut running = Running::start(address, kube(), trust_in(lab.ca_pem()));
    assert_eq!(running.next_changed().await.health, Health::Ready);
    lab.set_fault(0, Fault::Frozen).await;
    let frozen = Instant::now();
    let class = Class::TlsTimeout;
    assert_eq!(running.next_changed().await, Evidence { health: Health::Unready, class });
    assert_eq!(running.next_changed().await, Evidence { health: Health::Dead, class });
    assert!(frozen.elapsed() < Duration::from_secs(3), "{:?}", frozen.elapsed());
    lab.set_fault(0, Fault::None).await;
    assert_eq!(running.next_changed().await.health, Health::Ready);
    running.end().await;
    lab.shutdown().await;
}

#[tokio::test]
async fn new_credentials_count_from_the_next_attempt_on() {
    let lab = one_server().await;
    let address = lab.api_server(0).address();
    let mut running = Running::start(address, kube(), trust_in(lab.argocd_ca_pem()));
    assert_eq!(running.next_changed().await.health, Health::Foreign);
    running.trust.send_replace(Arc::new(trust_in(lab.ca_pem())));
    assert_eq!(running.next_changed().await.health, Health::Ready);
    running.end().await;
    lab.shutdown().await;
}

#[tokio::test]
async fn a_prober_leaves_no_connection() {
    let lab = one_server().await;
    lab.set_fault(0, Fault::SilentAnswers).await;
    let mut open = lab.api_server(0).watch_connections();
    let address = lab.api_server(0).address();
    let running = Running::start(address, kube(), trust_in(lab.ca_pem()));
    // The request, and the handshake beside it.
    open.wait_for(|open| *open == 2).await.unwrap();
    running.end().await;
    open.wait_for(|open| *open == 0).await.unwrap();
}
