//! A whole service on loopback: what clients feel when backends come and go.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod scheduling;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::{Class, Evidence};
use evenkeel_core::pool::{Placement, Pool, PoolWriter};
use evenkeel_core::shutdown::{Shutdown, Tasks};
use evenkeel_core::signs::Signs;
use evenkeel_core::treatment::Treatment;
use evenkeel_core::units::Span;
use evenkeel_proxy::{
    Balancer, Bind, BindError, BindPort, ConnectConfig, DataPlane, ListenAddress, ListenConfig,
    Listener, Policy, RelayConfig,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

const THREADS: usize = 2;

/// After which idle connections may be shed.
const SHED_IDLE: Duration = Duration::from_millis(200);

const SOON: Duration = Duration::from_secs(20);

struct Service {
    address: SocketAddr,
    writer: PoolWriter,
    signs: HashMap<SocketAddr, Arc<Signs>>,
    balancer: Arc<Balancer>,
    plane: DataPlane,
    shutdown: Shutdown,
    tasks: Tasks,
}

fn service(listen: &str, limit: u32) -> Service {
    limited(listen, &ListenConfig { max_connections: limit, ..ListenConfig::on(Vec::new()) })
}

fn limited(listen: &str, config: &ListenConfig) -> Service {
    configured(listen, config, RelayConfig::default())
}

fn configured(listen: &str, config: &ListenConfig, relay: RelayConfig) -> Service {
    let connect = ConnectConfig {
        attempt_delay: Span::from_millis(100),
        attempt_timeout: Span::from_millis(300),
        timeout: Span::from_secs(2),
        ..ConnectConfig::default()
    };
    connecting(listen, config, connect, relay)
}

fn connecting(
    listen: &str,
    config: &ListenConfig,
    connect: ConnectConfig,
    relay: RelayConfig,
) -> Service {
    let (writer, pool) = Pool::new();
    let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
    let balancer = Balancer::new("api", pool, config, connect, relay, Policy::default(), SHED_IDLE);
    let listen = ListenAddress::new(listen.parse().unwrap());
    let listener = Listener::bind(listen.into(), &RelayConfig::default(), THREADS).unwrap();
    let address = listener.address();
    let plane = DataPlane::start(THREADS, &tasks, &shutdown).unwrap();
    plane.serve(listener, &balancer);
    tasks.spawn("sweeper", plane.clone().sweep(balancer.clone()));
    let signs = HashMap::new();
    Service { address, writer, signs, balancer, plane, shutdown, tasks }
}

impl Service {
    fn publish(&mut self, backends: &[(SocketAddr, Class, Treatment)]) {
        let placements: Vec<Placement> = backends
            .iter()
            .map(|(address, class, treatment)| Placement {
                endpoint: Endpoint::new(*address),
                evidence: Evidence { health: class.health(), class: *class },
                treatment: *treatment,
                leaving: false,
                preferred: false,
                slow_start: None,
                signs: self.signs.entry(*address).or_default().clone(),
            })
            .collect();
        self.writer.publish(&placements, Instant::now());
    }

    /// Waits until the prober of a backend would look at once.
    async fn asked_to_look(&self, backend: SocketAddr) {
        let asked = self.signs[&backend].asked_to_look();
        timeout(SOON, asked).await.expect("somebody asks");
    }

    /// The name that the backend behind a new connection says.
    async fn who(&self) -> io::Result<u8> {
        let mut client = TcpStream::connect(self.address).await?;
        let mut name = [0];
        timeout(SOON, client.read_exact(&mut name)).await.expect("no client is held waiting")?;
        Ok(name[0])
    }

    async fn end(self) {
        self.shutdown.abort_now();
        timeout(SOON, self.tasks.wait()).await.expect("no task is left");
    }
}

/// A backend that says its name to whoever connects, and then echoes.
async fn backend(name: u8, tasks: &Tasks, shutdown: &Shutdown) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (spawner, abort) = (tasks.clone(), shutdown.abort.clone());
    tasks.spawn("backend", async move {
        while let Some(Ok((mut stream, _))) = abort.run_until_cancelled(listener.accept()).await {
            let abort = abort.clone();
            spawner.spawn("echo", async move {
                let echo = async {
                    stream.write_all(&[name]).await?;
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await
                };
                drop(abort.run_until_cancelled(echo).await);
            });
        }
    });
    address
}

/// The beginning of a TLS ClientHello: a handshake record that is not whole yet.
const HELLO: [u8; 9] = [22, 3, 1, 2, 0, 1, 0, 1, 252];

/// A backend that accepts, and then does with each connection what `then` says.
async fn accepting(
    tasks: &Tasks,
    shutdown: &Shutdown,
    then: impl Fn(TcpStream) -> Option<TcpStream> + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let abort = shutdown.abort.clone();
    tasks.spawn("accepting", async move {
        let mut kept = Vec::new();
        while let Some(Ok((stream, _))) = abort.run_until_cancelled(listener.accept()).await {
            kept.extend(then(stream));
        }
    });
    address
}

/// A backend that says its name only once it has heard the whole of [`HELLO`], which it echoes.
async fn listening_first(name: u8, tasks: &Tasks, shutdown: &Shutdown) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (spawner, abort) = (tasks.clone(), shutdown.abort.clone());
    tasks.spawn("listening", async move {
        while let Some(Ok((mut stream, _))) = abort.run_until_cancelled(listener.accept()).await {
            let abort = abort.clone();
            spawner.spawn("hello", async move {
                let answer = async {
                    let mut hello = HELLO;
                    stream.read_exact(&mut hello).await?;
                    stream.write_all(&[name]).await?;
                    stream.write_all(&hello).await?;
                    stream.read_to_end(&mut Vec::new()).await
                };
                drop(abort.run_until_cancelled(answer).await);
            });
        }
    });
    address
}

/// Says hello, and hears who answers and what they heard.
async fn hello(service: &Service) -> io::Result<u8> {
    let mut client = TcpStream::connect(service.address).await?;
    client.write_all(&HELLO).await?;
    let mut answer = [0; 10];
    timeout(SOON, client.read_exact(&mut answer)).await.expect("no client is held waiting")?;
    assert_eq!(answer[1..], HELLO, "the bytes of the client arrive once and whole");
    Ok(answer[0])
}

#[tokio::test]
async fn a_backend_that_closes_before_its_first_byte_costs_no_connection() {
    let mut service = service("127.0.0.1:0", 100);
    let closing = accepting(&service.tasks, &service.shutdown, |_stream| None).await;
    let alive = listening_first(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(closing, READY.0, READY.1), (alive, READY.0, READY.1)]);
    for _ in 0..6 {
        assert_eq!(hello(&service).await.unwrap(), b'a');
    }
    service.asked_to_look(closing).await;
    service.end().await;
}

/// What the kernel would wait for our bytes to acknowledge the handshake with (`TCP_DELACK_MAX`).
const DELAYED: Duration = Duration::from_millis(200);

#[tokio::test]
async fn a_backend_that_speaks_first_is_not_kept_waiting() {
    let mut service = service("127.0.0.1:0", 100);
    let speaks_first = backend(7, &service.tasks, &service.shutdown).await;
    service.publish(&[(speaks_first, Class::Ready, Treatment::Serve)]);
    let mut least = Duration::MAX;
    // The machine may keep some waiting, but not all.
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(service.who().await.unwrap(), 7);
        least = least.min(began.elapsed());
    }
    assert!(least < DELAYED, "{least:?}");
    service.end().await;
}

#[tokio::test]
async fn a_backend_that_is_judged_dead_while_it_is_silent_costs_no_connection() {
    let mut service = service("127.0.0.1:0", 100);
    let frozen = accepting(&service.tasks, &service.shutdown, Some).await;
    let alive = listening_first(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(frozen, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(&HELLO).await.unwrap();
    // Its silence is noticed, and its prober asked.
    service.asked_to_look(frozen).await;
    service.publish(&[(frozen, Class::TlsTimeout, Treatment::Reset), (alive, READY.0, READY.1)]);
    let mut answer = [0; 10];
    timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[0], b'a');
    service.end().await;
}

#[tokio::test]
async fn a_backend_that_is_only_suspected_loses_those_who_wait_for_its_first_byte() {
    let mut service = service("127.0.0.1:0", 100);
    let frozen = accepting(&service.tasks, &service.shutdown, Some).await;
    let alive = listening_first(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(frozen, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(&HELLO).await.unwrap();
    service.asked_to_look(frozen).await;
    service.publish(&[(frozen, Class::Unavailable, Treatment::Drain), (alive, READY.0, READY.1)]);
    let mut answer = [0; 10];
    timeout(SOON, client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[0], b'a');
    service.end().await;
}

#[tokio::test]
async fn what_is_not_a_hello_is_never_said_twice() {
    let mut service = service("127.0.0.1:0", 100);
    // It closes once it has heard something, so that the client's bytes did arrive.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = listener.local_addr().unwrap();
    service.tasks.spawn("closing", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 4]).await.unwrap();
    });
    let alive = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(closing, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.write_all(b"POST /transfer HTTP/1.1\r\n").await.unwrap();
    service.publish(&[(closing, READY.0, READY.1), (alive, READY.0, READY.1)]);
    let mut answer = Vec::new();
    let read = timeout(SOON, client.read_to_end(&mut answer)).await.unwrap();
    assert!(read.is_err() || answer.is_empty(), "{answer:?}");
    service.end().await;
}

/// A port on which nobody listens.
async fn refusing() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

const READY: (Class, Treatment) = (Class::Ready, Treatment::Serve);

#[tokio::test]
async fn a_client_never_notices_that_the_first_backend_refused() {
    let mut service = service("127.0.0.1:0", 100);
    let alive = backend(b'a', &service.tasks, &service.shutdown).await;
    let gone = refusing().await;
    service.publish(&[(gone, READY.0, READY.1), (alive, READY.0, READY.1)]);
    for _ in 0..6 {
        assert_eq!(service.who().await.unwrap(), b'a');
    }
    // Whoever refused is suspected, so that its prober looks now.
    service.asked_to_look(gone).await;
    service.end().await;
}

/// A backlog that is full: the kernel drops further handshakes, as a dead host does.
async fn full_queue() -> (SocketAddr, impl Sized) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let full = socket.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(full)).await {
        queue.push(connected.unwrap());
    }
    (full, (socket, queue))
}

#[tokio::test]
async fn a_backend_that_does_not_accept_costs_one_attempt_and_no_connection() {
    let mut service = service("127.0.0.1:0", 100);
    let alive = backend(b'a', &service.tasks, &service.shutdown).await;
    let (full, _queue) = full_queue().await;
    service.publish(&[(full, READY.0, READY.1), (alive, READY.0, READY.1)]);
    for _ in 0..2 {
        let started = Instant::now();
        assert_eq!(service.who().await.unwrap(), b'a');
        assert!(started.elapsed() < Duration::from_secs(2));
    }
    service.end().await;
}

#[tokio::test]
async fn a_backend_that_is_slow_to_accept_is_raced_and_not_given_up() {
    // Whoever waited for the attempt to run out would wait longer than this test does.
    let connect = ConnectConfig {
        attempt_timeout: Span::from_secs(30),
        timeout: Span::from_secs(60),
        ..ConnectConfig::default()
    };
    let listen = ListenConfig::on(Vec::new());
    let mut service = connecting("127.0.0.1:0", &listen, connect, RelayConfig::default());
    let alive = backend(b'a', &service.tasks, &service.shutdown).await;
    let (full, _queue) = full_queue().await;
    let (another, _queue_too) = full_queue().await;
    service.publish(&[
        (full, READY.0, READY.1),
        (another, READY.0, READY.1),
        (alive, READY.0, READY.1),
    ]);
    for _ in 0..3 {
        assert_eq!(service.who().await.unwrap(), b'a');
    }
    service.asked_to_look(full).await;
    // Those that lost the race hold no place.
    let pool = service.writer.snapshot();
    let idle = pool.members().iter().filter(|member| member.backend.endpoint().address() != alive);
    assert!(idle.clone().all(|member| member.backend.active() == 0));
    service.end().await;
}

#[tokio::test]
async fn many_connections_are_reset_one_after_the_other_and_all_of_them() {
    let mut service = service("127.0.0.1:0", 1000);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut clients = Vec::new();
    for _ in 0..200 {
        let mut client = TcpStream::connect(service.address).await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        clients.push(client);
    }
    // Of 200, the two threads reset 64 each at once; the others come at 25 a second on each.
    service.balancer.set_pace(50);
    let began = Instant::now();
    service.publish(&[(a, Class::TlsTimeout, Treatment::Reset)]);
    for mut client in clients {
        let read = timeout(SOON, client.read_exact(&mut [0])).await.expect("nobody is forgotten");
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
    // 36 and more on one of them, and none comes before half of its pause.
    assert!(began.elapsed() > Duration::from_millis(35 * 20), "{:?}", began.elapsed());
    service.end().await;
}

#[tokio::test]
async fn where_nobody_is_served_the_client_is_reset_at_once() {
    let mut service = service("127.0.0.1:0", 100);
    let drained = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(drained, Class::Refused, Treatment::Drain)]);
    let started = Instant::now();
    let error = service.who().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(started.elapsed() < Duration::from_secs(1));
    service.end().await;
}

#[tokio::test]
async fn the_reserve_is_used_when_every_served_backend_fails() {
    let mut service = service("127.0.0.1:0", 100);
    let shutting_down = backend(b'r', &service.tasks, &service.shutdown).await;
    service.publish(&[
        (refusing().await, READY.0, READY.1),
        (shutting_down, Class::ShuttingDown, Treatment::Drain),
    ]);
    assert_eq!(service.who().await.unwrap(), b'r');
    service.end().await;
}

#[tokio::test]
async fn a_drained_backend_keeps_what_is_open_and_gets_nothing_new() {
    let mut service = service("127.0.0.1:0", 100);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    let b = backend(b'b', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut open = TcpStream::connect(service.address).await.unwrap();
    let mut byte = [0];
    open.read_exact(&mut byte).await.unwrap();
    service.publish(&[(a, Class::ShuttingDown, Treatment::Drain), (b, READY.0, READY.1)]);
    for _ in 0..4 {
        assert_eq!(service.who().await.unwrap(), b'b');
    }
    open.write_all(b"x").await.unwrap();
    timeout(SOON, open.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!(&byte, b"x");
    service.publish(&[(a, Class::TlsTimeout, Treatment::Reset), (b, READY.0, READY.1)]);
    let error = timeout(SOON, open.read_exact(&mut byte)).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    service.end().await;
}

#[tokio::test]
async fn one_over_the_limit_is_reset_and_the_others_go_on() {
    let mut service = service("[::1]:0", 2);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = TcpStream::connect(service.address).await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        open.push(client);
    }
    assert_eq!(service.who().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    open[0].write_all(b"x").await.unwrap();
    open[0].read_exact(&mut [0]).await.unwrap();
    assert_eq!(service.balancer.accepted(), 2, "who was rejected does not count");
    service.end().await;
}

#[tokio::test]
async fn one_client_over_its_own_limit_is_reset_and_others_are_served() {
    let limits =
        ListenConfig { max_connections_per_client: Some(1), ..ListenConfig::on(Vec::new()) };
    let mut service = limited("127.0.0.1:0", &limits);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut open = TcpStream::connect(service.address).await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    assert_eq!(service.who().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    other.connect(service.address).await.unwrap().read_exact(&mut [0]).await.unwrap();
    // Its one connection is free again once it has ended on both sides.
    drop(open);
    while service.who().await.is_err() {
        tokio::task::yield_now().await;
    }
    service.end().await;
}

#[tokio::test]
async fn a_herd_is_paced_and_everyone_is_served() {
    const RATE: u32 = 10;
    let limits = ListenConfig { accept_rate: Some(RATE), ..ListenConfig::on(Vec::new()) };
    let mut service = limited("127.0.0.1:0", &limits);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let start = Instant::now();
    let mut herd = Vec::new();
    for _ in 0..RATE + 5 {
        herd.push(TcpStream::connect(service.address).await.unwrap());
    }
    for client in &mut herd {
        timeout(SOON, client.read_exact(&mut [0])).await.unwrap().unwrap();
    }
    // A second's worth at once, perhaps one more whose turn was taken beforehand, and the others a
    // tenth of a second apart.
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    service.end().await;
}

#[tokio::test]
async fn a_half_closed_connection_on_which_nothing_moves_is_reset() {
    let after = Span::from_millis(300);
    let relay = RelayConfig { half_closed_timeout: after, ..RelayConfig::default() };
    let mut service = configured("127.0.0.1:0", &ListenConfig::on(Vec::new()), relay);
    // It says its name, and then nothing, whatever the client does.
    let silent = accepting(&service.tasks, &service.shutdown, |stream| {
        socket2::SockRef::from(&stream).send(b"s").unwrap();
        Some(stream)
    });
    let silent = silent.await;
    service.publish(&[(silent, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    let mut open = TcpStream::connect(service.address).await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    let begun = Instant::now();
    client.shutdown().await.unwrap();
    let error = timeout(SOON, client.read_exact(&mut [0])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(begun.elapsed() >= after.duration(), "{:?}", begun.elapsed());
    // One that both keep open is not concerned, for three times as long.
    let quiet = timeout(2 * after.duration(), open.read_exact(&mut [0])).await;
    assert!(quiet.is_err(), "{quiet:?}");
    service.end().await;
}

#[tokio::test]
async fn the_time_of_a_half_closed_connection_begins_with_its_end() {
    let after = Span::from_millis(500);
    let relay = RelayConfig { half_closed_timeout: after, ..RelayConfig::default() };
    let mut service = configured("127.0.0.1:0", &ListenConfig::on(Vec::new()), relay);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let slow = listener.local_addr().unwrap();
    service.tasks.spawn("slow", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"s").await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        tokio::time::sleep(Duration::from_millis(50)).await;
        stream.write_all(b"t").await.unwrap();
    });
    service.publish(&[(slow, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    // Quiet for longer than it may be half closed.
    tokio::time::sleep(after.duration() + Duration::from_millis(100)).await;
    client.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(SOON, client.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"t");
    service.end().await;
}

#[tokio::test]
async fn small_messages_around_an_urgent_byte_arrive_at_once() {
    let mut service = service("127.0.0.1:0", 100);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    for _ in 0..20 {
        let socket = socket2::SockRef::from(&client);
        socket.send(b"abc").unwrap();
        socket.send_out_of_band(b"!").unwrap();
        socket.send(b"tail").unwrap();
        let mut echo = [0; 7];
        timeout(SOON, client.read_exact(&mut echo)).await.expect("nothing waits").unwrap();
        assert_eq!(&echo, b"abctail");
    }
    service.end().await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_reset_if_that_is_asked_for() {
    let relay =
        RelayConfig { idle_timeout: Some(Span::from_millis(400)), ..RelayConfig::default() };
    let mut service = configured("127.0.0.1:0", &ListenConfig::on(Vec::new()), relay);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    let begun = Instant::now();
    // Whatever moves puts it off.
    while begun.elapsed() < Duration::from_millis(700) {
        client.write_all(b"x").await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = timeout(SOON, client.read_exact(&mut [0])).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    service.end().await;
}

#[tokio::test]
async fn what_a_dead_backend_had_said_reaches_a_client_that_takes_it_late() {
    const SAID: usize = 3_000_000;
    let mut service = service("127.0.0.1:0", 100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dying = listener.local_addr().unwrap();
    let (said, all_said) = tokio::sync::oneshot::channel();
    service.tasks.spawn("dying", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&vec![7; SAID]).await.unwrap();
        said.send(stream).unwrap();
    });
    service.publish(&[(dying, READY.0, READY.1)]);
    let mut client = TcpStream::connect(service.address).await.unwrap();
    let mut heard = vec![0; SAID];
    client.read_exact(&mut heard[..SAID / 2]).await.unwrap();
    // Everything has left the backend: what the client has not got yet is ours to give.
    let _stream = timeout(SOON, all_said).await.unwrap().unwrap();
    client.read_exact(&mut heard[SAID / 2..SAID - 1]).await.unwrap();
    service.publish(&[(dying, Class::TlsTimeout, Treatment::Reset)]);
    let last = timeout(SOON, client.read_exact(&mut heard[SAID - 1..])).await.unwrap();
    last.unwrap();
    let end = timeout(SOON, client.read_exact(&mut [0])).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    service.end().await;
}

#[tokio::test]
async fn new_connections_are_spread_over_all_that_are_served() {
    let mut service = service("127.0.0.1:0", 100);
    let mut backends = Vec::new();
    for name in [b'a', b'b', b'c'] {
        backends.push(backend(name, &service.tasks, &service.shutdown).await);
    }
    service.publish(&backends.iter().map(|b| (*b, READY.0, READY.1)).collect::<Vec<_>>());
    let mut open: Vec<(u8, TcpStream)> = Vec::new();
    for _ in 0..30 {
        let mut client = TcpStream::connect(service.address).await.unwrap();
        let mut name = [0];
        client.read_exact(&mut name).await.unwrap();
        open.push((name[0], client));
    }
    for name in [b'a', b'b', b'c'] {
        assert_eq!(open.iter().filter(|(n, _)| *n == name).count(), 10);
    }
    service.end().await;
}

#[tokio::test]
async fn a_drain_closes_the_listener_and_lets_open_connections_finish() {
    let mut service = service("127.0.0.1:0", 100);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut open = TcpStream::connect(service.address).await.unwrap();
    open.read_exact(&mut [0]).await.unwrap();
    service.shutdown.drain.cancel();
    while TcpStream::connect(service.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    open.write_all(b"x").await.unwrap();
    timeout(SOON, open.read_exact(&mut [0])).await.unwrap().unwrap();
    service.end().await;
}

/// The limit is the whole process's, and this file is the only test binary that lowers it; under
/// nextest each test has a process of its own.
#[tokio::test]
async fn without_file_descriptors_it_neither_spins_nor_stops() {
    let mut service = service("127.0.0.1:0", 10_000);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let before = getrlimit(Resource::Nofile);
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(TcpStream::connect(service.address).await.unwrap());
    }
    for client in &mut clients {
        client.read_exact(&mut [0]).await.unwrap();
    }
    // Room for the client below and nothing else: accept has no descriptor left.
    let used = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    setrlimit(Resource::Nofile, Rlimit { current: Some(used), maximum: before.maximum }).unwrap();
    // It may be told before its own connect has returned.
    let error = timeout(SOON, service.who()).await.expect("told, not held waiting");
    assert_eq!(error.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    setrlimit(Resource::Nofile, before).unwrap();
    let who = timeout(SOON, service.who()).await.expect("served again");
    assert_eq!(who.unwrap(), b'a');
    drop(clients);
    service.end().await;
}

#[test]
fn an_address_in_use_is_named() {
    let bind = |address: SocketAddr| {
        Listener::bind(ListenAddress::new(address).into(), &RelayConfig::default(), THREADS)
    };
    let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let error = bind(first.address()).unwrap_err().to_string();
    assert!(error.contains(&first.address().to_string()) && error.contains("in use"), "{error}");
}

#[tokio::test]
async fn what_is_shed_is_idle_and_no_more_than_was_asked_for() {
    let mut service = service("127.0.0.1:0", 100);
    let (a, b) = (
        backend(b'a', &service.tasks, &service.shutdown).await,
        backend(b'b', &service.tasks, &service.shutdown).await,
    );
    service.publish(&[(a, READY.0, READY.1)]);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = TcpStream::connect(service.address).await.unwrap();
        client.read_exact(&mut [0]).await.unwrap();
        clients.push(client);
    }
    service.publish(&[(a, READY.0, READY.1), (b, READY.0, READY.1)]);
    let busy = &mut clients[0];
    let began = Instant::now();
    let overloaded = service.writer.snapshot().members()[0].backend.clone();
    let (mut asked, mut shed) = (false, 0);
    while shed < 2 {
        // It is in use all the time.
        busy.write_all(b"x").await.unwrap();
        busy.read_exact(&mut [0]).await.unwrap();
        if !asked && began.elapsed() > 2 * SHED_IDLE {
            asked = true;
            overloaded.shed(2);
            service.writer.sweep();
        }
        shed = 6 - overloaded.active();
        assert!(began.elapsed() < SOON, "nothing is shed");
    }
    // It stays at that.
    service.writer.sweep();
    busy.write_all(b"x").await.unwrap();
    timeout(SOON, busy.read_exact(&mut [0])).await.unwrap().unwrap();
    assert_eq!(overloaded.active(), 4);
    service.end().await;
}

/// Of TEST-NET-1 (RFC 5737): no host has it.
const ABSENT: &str = "192.0.2.1:6443";

fn bind(address: &str, port: BindPort, freebind: bool) -> Result<Listener, BindError> {
    let address = ListenAddress::new(address.parse().unwrap());
    Listener::bind(Bind { address, port, freebind }, &RelayConfig::default(), THREADS)
}

#[test]
fn an_address_that_the_host_does_not_have_is_bound_only_if_that_is_asked_for() {
    // 2001:db8::/32 is for documentation (RFC 3849).
    for absent in [ABSENT, "[2001:db8::1]:6443"] {
        let error = bind(absent, BindPort::Own, false).unwrap_err();
        assert!(matches!(error, BindError::NotLocal { .. }), "{error}");
        let listener = bind(absent, BindPort::Own, true).unwrap();
        assert_eq!(listener.address().to_string(), absent);
        assert_eq!(listener.bound(), listener.address());
        // Beside somebody who has the port.
        let beside = bind(absent, BindPort::Chosen, true).unwrap();
        assert_eq!(beside.address(), listener.address());
        assert_eq!(beside.bound().ip(), listener.bound().ip());
        assert!(![0, 6443].contains(&beside.bound().port()));
        let error = bind(absent, BindPort::Own, true).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error}");
    }
}

#[tokio::test]
async fn clients_are_served_at_the_port_that_the_kernel_chose() {
    let mut service = service("127.0.0.1:0", 100);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let known = service.address.to_string();
    let beside = bind(&known, BindPort::Chosen, false).unwrap();
    assert_eq!(beside.address(), service.address);
    assert_ne!(beside.bound(), service.address);
    service.address = beside.bound();
    service.plane.serve(beside, &service.balancer);
    for _ in 0..2 * THREADS {
        assert_eq!(service.who().await.unwrap(), b'a');
    }
    service.end().await;
}

/// For so long whoever turns up at an address that has left is reset.
const LEAVING: Duration = Duration::from_millis(200);

/// Much less than what is owed is waited for elsewhere, and more than a busy machine takes.
const AT_ONCE: Duration = Duration::from_millis(500);

async fn client_of(service: &Service, ip: &str) -> TcpStream {
    let address = SocketAddr::new(ip.parse().unwrap(), service.address.port());
    let mut client = TcpStream::connect(address).await.unwrap();
    timeout(SOON, client.read_exact(&mut [0])).await.unwrap().unwrap();
    client
}

async fn goes_on(client: &mut TcpStream) {
    client.write_all(b"x").await.unwrap();
    let mut byte = [0];
    timeout(SOON, client.read_exact(&mut byte)).await.unwrap().unwrap();
    assert_eq!(&byte, b"x");
}

/// Reads all that there is, up to the reset.
async fn was_reset(client: &mut TcpStream) {
    let read = timeout(SOON, client.read_to_end(&mut Vec::new())).await.unwrap();
    assert_eq!(read.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

fn leaves(service: &Service, addresses: &[&str]) {
    let addresses: Vec<IpAddr> = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
    // As from a thread that knows no runtime.
    let plane = service.plane.clone();
    std::thread::spawn(move || plane.end_connections(&addresses)).join().unwrap();
}

#[tokio::test]
async fn an_address_that_leaves_takes_its_connections_with_it_and_no_others() {
    let mut service = service("0.0.0.0:0", 1000);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let (mut gone, mut stay) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        gone.push(client_of(&service, "127.0.0.2").await);
        stay.push(client_of(&service, "127.0.0.1").await);
    }
    let began = Instant::now();
    // IPv4 in IPv6 form is plain IPv4; and there may be addresses that nobody came to.
    leaves(&service, &["::ffff:127.0.0.2", "127.0.0.3", "::1"]);
    for client in &mut gone {
        was_reset(client).await;
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    for client in &mut stay {
        goes_on(client).await;
    }
    assert_eq!(service.plane.open(), stay.len());
    // It has come back, and is an address as any other.
    tokio::time::sleep_until(began + 2 * LEAVING).await;
    goes_on(&mut client_of(&service, "127.0.0.2").await).await;
    service.end().await;
}

#[tokio::test]
async fn an_address_of_ipv6_leaves_as_one_of_ipv4_does() {
    let mut service = service("[::]:0", 100);
    let a = backend(b'a', &service.tasks, &service.shutdown).await;
    service.publish(&[(a, READY.0, READY.1)]);
    let mut client = client_of(&service, "::1").await;
    leaves(&service, &["127.0.0.1", "fd00::1"]);
    goes_on(&mut client).await;
    leaves(&service, &["::1"]);
    was_reset(&mut client).await;
    service.end().await;
}

#[tokio::test]
async fn who_reads_nothing_is_not_waited_for_when_his_address_leaves() {
    let mut service = service("127.0.0.1:0", 100);
    let (full, is_full) = tokio::sync::oneshot::channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let talkative = listener.local_addr().unwrap();
    service.tasks.spawn("talkative", async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let piece = vec![7; 256 * 1024];
        let half_a_second = Duration::from_millis(500);
        while timeout(half_a_second, stream.write_all(&piece)).await.is_ok() {}
        full.send(()).unwrap();
        // The backend's side is reset as well.
        let error = timeout(SOON, stream.write_all(&piece)).await.unwrap().unwrap_err();
        assert!(
            [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe].contains(&error.kind()),
            "{error}"
        );
    });
    service.publish(&[(talkative, READY.0, READY.1)]);
    let mut client = client_of(&service, "127.0.0.1").await;
    timeout(SOON, is_full).await.unwrap().unwrap();
    let began = Instant::now();
    leaves(&service, &["127.0.0.1"]);
    while service.plane.open() > 0 {
        assert!(began.elapsed() < SOON, "it is waited for");
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
    was_reset(&mut client).await;
    service.end().await;
}

#[tokio::test]
async fn who_has_no_backend_yet_leaves_with_his_address_too() {
    let mut service = service("127.0.0.1:0", 100);
    let silent = accepting(&service.tasks, &service.shutdown, Some).await;
    let (full, _queue) = full_queue().await;
    for backend in [silent, full] {
        service.publish(&[(backend, READY.0, READY.1)]);
        let accepted = service.balancer.accepted();
        let mut client = TcpStream::connect(service.address).await.unwrap();
        while service.balancer.accepted() == accepted {
            tokio::task::yield_now().await;
        }
        let began = Instant::now();
        leaves(&service, &["127.0.0.1"]);
        was_reset(&mut client).await;
        assert!(began.elapsed() < AT_ONCE, "{:?}", began.elapsed());
        // From here on whoever comes is no longer one of those who were on their way.
        tokio::time::sleep_until(began + 2 * LEAVING).await;
    }
    assert_eq!(service.plane.open(), 0);
    service.end().await;
}

#[tokio::test]
async fn threads_that_have_nothing_to_do_beat_where_somebody_watches() {
    const WITHIN: Duration = Duration::from_millis(500);
    let service = service("127.0.0.1:0", 100);
    let began = Instant::now();
    while service.plane.beats(WITHIN) {
        assert!(began.elapsed() < SOON, "nobody watches, and still they wake");
        tokio::task::yield_now().await;
    }
    service.plane.watch();
    while !service.plane.beats(WITHIN) {
        assert!(began.elapsed() < SOON, "they do not beat");
        tokio::task::yield_now().await;
    }
    let watched = Instant::now();
    while watched.elapsed() < Duration::from_secs(1) {
        assert!(service.plane.beats(WITHIN));
        tokio::task::yield_now().await;
    }
    let plane = service.plane.clone();
    service.end().await;
    assert!(plane.beats(WITHIN), "they have ended in order, and hold nothing up");
}

/// Blocks whoever wakes it.
struct Blocks {
    entered: mpsc::SyncSender<()>,
    until: std::sync::Mutex<mpsc::Receiver<()>>,
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        self.entered.send(()).unwrap();
        // An error is an end too: the test has failed.
        self.until.lock().unwrap().recv().unwrap_or(());
    }
}

#[tokio::test]
async fn a_thread_that_is_stuck_does_not_beat() {
    const WITHIN: Duration = Duration::from_millis(300);
    let mut service = service("127.0.0.1:0", 100);
    let gone = refusing().await;
    service.publish(&[(gone, READY.0, READY.1)]);
    service.plane.watch();
    // A data thread wakes the prober of a backend that refuses: so a waker can hold it up.
    let (entered, is_stuck) = mpsc::sync_channel(1);
    let (release, until) = mpsc::channel();
    let waker = Waker::from(Arc::new(Blocks { entered, until: std::sync::Mutex::new(until) }));
    let signs = service.signs[&gone].clone();
    let mut asked = pin!(signs.asked_to_look());
    assert!(asked.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    let client = TcpStream::connect(service.address).await.unwrap();
    is_stuck.recv_timeout(SOON).unwrap();
    let stuck = Instant::now();
    while service.plane.beats(WITHIN) {
        assert!(stuck.elapsed() < SOON, "a thread stands still and beats");
        tokio::task::yield_now().await;
    }
    // It had beaten until then.
    assert!(stuck.elapsed() >= WITHIN / 2, "{:?}", stuck.elapsed());
    release.send(()).unwrap();
    while !service.plane.beats(WITHIN) {
        assert!(stuck.elapsed() < SOON, "it goes on and does not beat");
        tokio::task::yield_now().await;
    }
    drop(client);
    service.end().await;
}
