//! The server that is behind the address: this program again, as a process on a host, so that it can
//! be killed and frozen like any other.
//!
//! It answers every connection with the name of its host and then echoes.
//!
//! One that has peers behaves like an API server whose etcd has lost its quorum: on a host that hears
//! less than half of all, itself among them, for [`LOST`], the port is closed until it hears them
//! again. What is open stays open. It hears a peer whose port of the [pulse](PULSE) accepts within
//! [`BEAT`], asked each [`BEAT`]. So a host alone in its partition has no backend that is ready.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use evenkeel_testbed::{Host, Process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use evenkeel_bench::failed::{Doing, Failed};

/// How it is to serve.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    name: String,
    port: u16,
    peers: Vec<Ipv4Addr>,
}

/// Starts it on a host. `all` are the hosts that need a majority; none: it always serves.
pub(crate) fn start(host: &Host, port: u16, all: &[Host]) -> Result<Process, Failed> {
    let own: PathBuf = std::env::current_exe().doing(|| "find this program")?;
    let mut command = host.command(own);
    command.args([SERVE, host.name(), &port.to_string()]);
    let peers = all.iter().filter(|other| other.name() != host.name());
    command.args(peers.map(|peer| peer.ipv4().to_string()));
    host.spawn("server", command).doing(|| "start a server")
}

impl Server {
    /// Reads its command line: a name, a port, and the addresses of its peers.
    pub(crate) fn parse(words: &[String]) -> Result<Self, String> {
        let [name, port, peers @ ..] = words else {
            return Err("a server takes a name and a port".to_owned());
        };
        let port = port.parse().map_err(|_not_one| format!("{port} is no port"))?;
        let peers: Result<Vec<Ipv4Addr>, String> = peers
            .iter()
            .map(|peer| peer.parse().map_err(|_not_one| format!("{peer} is no address")))
            .collect();
        Ok(Self { name: name.clone(), port, peers: peers? })
    }

    /// Serves until it is killed.
    pub(crate) fn run(self) -> Result<(), Failed> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.doing(|| "start a runtime")?;
        let (hears, may_serve) = watch::channel(true);
        runtime.block_on(async {
            tokio::select! {
                served = serve(&self, may_serve) => served,
                heard = listen_for_peers(&self, hears) => heard,
            }
        })
    }
}

/// Serves while it may.
async fn serve(server: &Server, mut may_serve: watch::Receiver<bool>) -> Result<(), Failed> {
    let mut connections = JoinSet::new();
    while may_serve.wait_for(|may| *may).await.is_ok() {
        // Both families: an IPv6 socket takes IPv4 too.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, server.port)).await;
        let listener = listener.doing(|| format!("listen on port {}", server.port))?;
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _client) = accepted.doing(|| "accept")?;
                    connections.spawn(answer(stream, server.name.clone()));
                }
                Some(_ended) = connections.join_next() => {}
                _may_not = may_serve.wait_for(|may| !*may) => break,
            }
        }
    }
    Ok(())
}

/// Says its name and echoes. How a client ends is the client's affair.
async fn answer(mut stream: TcpStream, name: String) {
    if stream.write_all(name.as_bytes()).await.is_err() {
        return;
    }
    let mut bytes = [0; 1024];
    while let Ok(length) = stream.read(&mut bytes).await {
        let echoed = stream.write_all(bytes.get(..length).unwrap_or_default()).await;
        if length == 0 || echoed.is_err() {
            return;
        }
    }
}

/// Tells `hears` whether it hears a majority.
async fn listen_for_peers(server: &Server, hears: watch::Sender<bool>) -> Result<(), Failed> {
    let pulse = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PULSE)).await;
    let pulse = pulse.doing(|| format!("listen on port {PULSE}"))?;
    let accept = async {
        loop {
            // Whoever asks has its answer.
            drop(pulse.accept().await);
        }
    };
    let ask = async {
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        loop {
            ticks.tick().await;
            // Itself is one of all.
            if 2 * (1 + reached(&server.peers).await) > 1 + server.peers.len() {
                heard = Instant::now();
            }
            let may_serve = heard.elapsed() < LOST;
            hears.send_if_modified(|may| std::mem::replace(may, may_serve) != may_serve);
        }
    };
    tokio::select! {
        () = accept => Ok(()),
        () = ask => Ok(()),
    }
}

/// How many peers answer.
async fn reached(peers: &[Ipv4Addr]) -> usize {
    let ask = |peer| async move {
        matches!(timeout(BEAT, TcpStream::connect((peer, PULSE))).await, Ok(Ok(_stream)))
    };
    let asked: JoinSet<bool> = peers.iter().map(|peer| ask(*peer)).collect();
    asked.join_all().await.into_iter().filter(|answered| *answered).count()
}

/// The word that makes this program a server.
pub(crate) const SERVE: &str = "serve";
/// The port on which peers hear each other.
const PULSE: u16 = 7444;
/// How often they ask, and how long they wait.
const BEAT: Duration = Duration::from_millis(200);
/// After how long without a majority the port is closed: etcd's election timeout.
const LOST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Server, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Server::parse(&words)
    }

    #[test]
    fn a_server_may_have_peers() {
        assert_eq!(parsed("router-1 6443").unwrap().peers, Vec::<Ipv4Addr>::new());
        let server = parsed("router-1 7443 10.0.0.22 10.0.0.23").unwrap();
        assert_eq!((server.name.as_str(), server.port, server.peers.len()), ("router-1", 7443, 2));
        assert!(parsed("router-1").is_err() && parsed("router-1 https").is_err());
    }
}
