//! One server of the lab, below HTTP: its listener, its connections, and the faults that need
//! neither path nor header.
//!
//! ```text
//! run        accept ── serve: peek ── TLS ── HTTP/1.1 ── Site::answer
//!   Frozen       no accept; every Wire pauses
//!   Refusing     listener closed, connections go on
//!   Stopped      listener closed, connections reset
//! ```

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::api_server::ApiSite;
use crate::argocd_server;
use crate::client_auth::Caller;
use crate::counts::Counts;
use crate::fault::Fault;
use crate::reply::Body;
use crate::wire::Wire;

/// What it takes to start a server.
#[derive(Debug)]
pub(crate) struct Blueprint {
    /// Its name in the header `x-lab-server`.
    pub(crate) name: String,
    pub(crate) bind: SocketAddr,
    /// What it presents, and what it presents while [`Fault::Foreign`].
    pub(crate) own: Arc<ServerConfig>,
    pub(crate) foreign: Arc<ServerConfig>,
    pub(crate) site: Site,
}

/// What a server answers: the closed set.
#[derive(Debug)]
pub(crate) enum Site {
    Api(ApiSite),
    Argocd,
}

/// The fault of a server and how often it was set.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Switch {
    step: u64,
    pub(crate) fault: Fault,
}

/// One running server of the lab: a kube-apiserver or an argocd-server.
#[derive(Debug)]
pub struct Server {
    name: String,
    address: SocketAddr,
    switch: watch::Sender<Switch>,
    applied: watch::Receiver<u64>,
    counts: Arc<Counts>,
}

impl Server {
    /// Binds and starts to accept. Its tasks belong to `tasks` and end by `shutdown`.
    pub(crate) fn start(
        blueprint: Blueprint,
        tasks: &TaskTracker,
        shutdown: &CancellationToken,
    ) -> io::Result<Self> {
        let reservation = bind(blueprint.bind)?;
        let address = reservation.local_addr()?;
        let listener = bind(address)?.listen(BACKLOG)?;
        let switch = watch::Sender::new(Switch::default());
        let (applied, when_applied) = watch::channel(0);
        let counts = Arc::new(Counts::default());
        let name = blueprint.name.clone();
        let shared = Shared { blueprint, switch: switch.subscribe(), counts: Arc::clone(&counts) };
        tasks.spawn(run(shared, reservation, listener, applied, shutdown.clone()));
        Ok(Self { name, address, switch, applied: when_applied, counts })
    }

    /// Names it as its answers do in the header `x-lab-server`: `cp-1` and so on, or `argocd-1`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the address it listens on; it stays the same over every fault.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives its base URL.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Tells how it misbehaves now.
    pub fn fault(&self) -> Fault {
        self.switch.borrow().fault
    }

    /// Counts the connections that are open now.
    pub fn open_connections(&self) -> usize {
        *self.counts.open().borrow()
    }

    /// Follows the number of open connections, for those who wait for one.
    pub fn watch_connections(&self) -> watch::Receiver<usize> {
        self.counts.open()
    }

    /// Counts the connections accepted since the start.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted()
    }

    /// Counts the requests read since the start, answered or not.
    pub fn requests(&self) -> u64 {
        self.counts.requests()
    }

    /// Sets how it misbehaves and returns when that is in force: a port is closed, every
    /// connection reset.
    ///
    /// # Cancel safety
    ///
    /// The fault is set at the first poll; what is lost is only the waiting.
    pub async fn set_fault(&self, fault: Fault) {
        let mut step = 0;
        self.switch.send_modify(|switch| {
            step = switch.step + 1;
            *switch = Switch { step, fault };
        });
        // An error means that the lab is shut down: nothing is left to be in force.
        let _gone = self.applied.clone().wait_for(|applied| *applied >= step).await.is_err();
    }
}

/// What the listener's task and its connections know.
#[derive(Debug)]
struct Shared {
    blueprint: Blueprint,
    switch: watch::Receiver<Switch>,
    counts: Arc<Counts>,
}

/// The connections that a stop ends together.
#[derive(Debug)]
struct Generation {
    over: CancellationToken,
    connections: TaskTracker,
}

impl Generation {
    fn new(shutdown: &CancellationToken) -> Self {
        Self { over: shutdown.child_token(), connections: TaskTracker::new() }
    }

    async fn end(&self) {
        self.over.cancel();
        self.connections.close();
        self.connections.wait().await;
    }
}

/// Accepts until `shutdown`, then resets what is open.
///
/// `reservation` is bound but never listens: while the listener is closed it keeps the port from
/// everybody else, and the kernel refuses connections all the same.
async fn run(
    shared: Shared,
    reservation: TcpSocket,
    listener: TcpListener,
    applied: watch::Sender<u64>,
    shutdown: CancellationToken,
) {
    let mut switches = shared.switch.clone();
    let shared = Arc::new(shared);
    let mut listener = Some(listener);
    let mut generation = Generation::new(&shutdown);
    loop {
        let Switch { step, fault } = *switches.borrow_and_update();
        if fault.closes_listener() {
            listener = None;
        } else if listener.is_none() {
            listener = listen_again(&reservation);
        }
        if fault == Fault::Stopped {
            generation.end().await;
            generation = Generation::new(&shutdown);
        }
        applied.send_replace(step);
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            changed = switches.changed() => {
                if changed.is_err() {
                    break;
                }
            }
            stream = accept(listener.as_ref()), if fault != Fault::Frozen => {
                let connection = serve(Arc::clone(&shared), stream, generation.over.clone());
                generation.connections.spawn(connection);
            }
        }
    }
    generation.end().await;
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen_again(reservation: &TcpSocket) -> Option<TcpListener> {
    match reservation.local_addr().and_then(bind).and_then(|socket| socket.listen(BACKLOG)) {
        Ok(listener) => Some(listener),
        Err(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "lab server does not listen again");
            None
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // As Go does for every connection: without it small answers wait for the client's
                // delayed acknowledgement, 40 ms each.
                match stream.set_nodelay(true) {
                    Ok(()) => return stream,
                    Err(error) => tracing::debug!(%error, "client gone at accept"),
                }
            }
            // Either this one connection is gone, or the process has no descriptor left: then
            // trying at once would only burn the processor until one is free.
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until either side ends it or its generation is over.
async fn serve(shared: Arc<Shared>, stream: TcpStream, over: CancellationToken) {
    let _open = shared.counts.take_open();
    let wire = Wire::new(stream, &shared.switch, over.clone());
    tokio::select! {
        biased;
        () = over.cancelled() => {}
        ended = speak(&shared, wire) => {
            if let Err(error) = ended {
                let error = &*error as &dyn std::error::Error;
                tracing::debug!(server = %shared.blueprint.name, error, "connection ended");
            }
        }
    }
}

/// Finds out what the client speaks and answers its requests.
async fn speak(
    shared: &Arc<Shared>,
    mut wire: Wire,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let Some(first) = wire.first_byte().await? else { return Ok(()) };
    if first != TLS_HANDSHAKE {
        return Ok(answer_all(Arc::clone(shared), Transport::Plain, wire).await?);
    }
    let foreign = shared.switch.borrow().fault == Fault::Foreign;
    let blueprint = &shared.blueprint;
    let config = if foreign { &blueprint.foreign } else { &blueprint.own };
    let stream = TlsAcceptor::from(Arc::clone(config)).accept(wire).await?;
    let caller = match &blueprint.site {
        Site::Api(site) => site.authenticator().certificate(stream.get_ref().1.peer_certificates()),
        Site::Argocd => Caller::Anonymous,
    };
    Ok(answer_all(Arc::clone(shared), Transport::Tls(caller), stream).await?)
}

/// What a request came over.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Plain,
    Tls(Caller),
}

async fn answer_all(
    shared: Arc<Shared>,
    transport: Transport,
    stream: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(answer(&shared, transport, &request).await) }
    });
    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
}

async fn answer(
    shared: &Shared,
    transport: Transport,
    request: &Request<Incoming>,
) -> Response<Body> {
    shared.counts.count_request();
    let mut switch = shared.switch.clone();
    let answering = switch.wait_for(|now| now.fault != Fault::SilentAnswers).await;
    // An error means that the lab is gone; then this connection is about to be.
    let fault = answering.map_or(Fault::Stopped, |switch| switch.fault);
    let mut reply = match (&shared.blueprint.site, transport) {
        (Site::Api(_), Transport::Plain) => ApiSite::answer_plain(),
        (Site::Api(site), Transport::Tls(caller)) => site.answer(request, caller, fault).await,
        (Site::Argocd, Transport::Plain) => argocd_server::answer_plain(request),
        (Site::Argocd, Transport::Tls(_)) => argocd_server::answer(request, fault),
    };
    if let Ok(name) = HeaderValue::from_str(&shared.blueprint.name) {
        reply.headers_mut().insert("x-lab-server", name);
    }
    reply
}

/// Connections that the kernel completes while the server does not accept.
const BACKLOG: u32 = 1024;
const ACCEPT_PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
/// The content type of a TLS record that starts a handshake (RFC 8446, 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
