//! The relay between real sockets: what each end sees.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backend::Backend;
use evenkeel_core::shutdown::Tasks;
use proptest::prelude::*;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::*;

/// Long enough on a busy machine; only a failing test waits so long.
const SOON: Duration = Duration::from_secs(20);

/// A client and a backend with a relay between them.
struct Between {
    client: TcpStream,
    backend: TcpStream,
    slot: CancellationToken,
    abort: CancellationToken,
    relayed: oneshot::Receiver<Relayed>,
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn between(idle: Option<Span>) -> Between {
    let (client, mut client_leg) = pair().await;
    let (mut backend_leg, backend) = pair().await;
    let abort = CancellationToken::new();
    let slot = Arc::new(Backend::new("127.0.0.1:1".parse().unwrap())).take_slot();
    let (send, relayed) = oneshot::channel();
    let (token, reset) = (abort.clone(), slot.reset().clone());
    Tasks::new().spawn("relay", async move {
        let relayed = relay(&mut client_leg, &mut backend_leg, idle, &slot, &token).await;
        // As serve does.
        if relayed.ended != Ended::Finished {
            crate::socket::reset(client_leg);
            crate::socket::reset(backend_leg);
        }
        send.send(relayed).unwrap();
    });
    Between { client, backend, slot: reset, abort, relayed }
}

impl Between {
    async fn ended(self) -> Relayed {
        drop((self.client, self.backend));
        timeout(SOON, self.relayed).await.unwrap().unwrap()
    }
}

fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|i| u8::try_from((i * 31 + i / 251 + seed) % 256).unwrap()).collect()
}

async fn is_reset(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let read = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("an end in time");
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset)
}

#[tokio::test]
async fn bulk_in_both_directions_arrives_whole_and_in_order() {
    let mut between = between(None).await;
    let (up, down) = (pattern(5_000_000, 1), pattern(7_000_000, 2));
    let (mut client_read, mut client_write) = between.client.split();
    let (mut backend_read, mut backend_write) = between.backend.split();
    let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
    timeout(SOON, async {
        tokio::try_join!(
            async {
                client_write.write_all(&up).await?;
                client_write.shutdown().await
            },
            async {
                backend_write.write_all(&down).await?;
                backend_write.shutdown().await
            },
            backend_read.read_to_end(&mut got_up),
            client_read.read_to_end(&mut got_down),
        )
    })
    .await
    .unwrap()
    .unwrap();
    assert!(got_up == up && got_down == down);
    let relayed = between.ended().await;
    assert_eq!(
        relayed,
        Relayed { to_backend: 5_000_000, to_client: 7_000_000, ended: Ended::Finished }
    );
}

#[tokio::test]
async fn after_the_clients_fin_the_backend_still_answers() {
    let mut between = between(None).await;
    between.client.write_all(b"question").await.unwrap();
    between.client.shutdown().await.unwrap();
    let mut question = Vec::new();
    between.backend.read_to_end(&mut question).await.unwrap();
    assert_eq!(question, b"question");
    let answer = pattern(3_000_000, 3);
    let mut got = Vec::new();
    let (written, read) = tokio::join!(between.backend.write_all(&answer), async {
        let mut piece = vec![0; answer.len()];
        let read = between.client.read_exact(&mut piece).await;
        got = piece;
        read
    });
    written.unwrap();
    read.unwrap();
    assert!(got == answer);
    between.backend.shutdown().await.unwrap();
    assert_eq!(between.client.read(&mut [0; 8]).await.unwrap(), 0);
    assert_eq!(between.ended().await.ended, Ended::Finished);
}

#[tokio::test]
async fn after_the_backends_fin_the_client_still_sends() {
    let mut between = between(None).await;
    between.backend.shutdown().await.unwrap();
    assert_eq!(between.client.read(&mut [0; 8]).await.unwrap(), 0);
    between.client.write_all(b"more").await.unwrap();
    between.client.shutdown().await.unwrap();
    let mut got = Vec::new();
    between.backend.read_to_end(&mut got).await.unwrap();
    assert_eq!(got, b"more");
    assert_eq!(between.ended().await.ended, Ended::Finished);
}

#[tokio::test]
async fn a_reset_of_the_client_reaches_the_backend_as_a_reset() {
    let mut between = between(None).await;
    SockRef::from(&between.client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(std::mem::replace(&mut between.client, pair().await.0));
    assert!(is_reset(&mut between.backend).await);
    assert_eq!(between.ended().await.ended, Ended::ClientReset);
}

#[tokio::test]
async fn a_reset_of_the_backend_reaches_the_client_as_a_reset() {
    let mut between = between(None).await;
    SockRef::from(&between.backend).set_linger(Some(Duration::ZERO)).unwrap();
    drop(std::mem::replace(&mut between.backend, pair().await.0));
    assert!(is_reset(&mut between.client).await);
    assert_eq!(between.ended().await.ended, Ended::BackendReset);
}

#[tokio::test]
async fn a_client_that_resets_after_its_fin_is_noticed() {
    let mut between = between(None).await;
    between.client.shutdown().await.unwrap();
    assert_eq!(between.backend.read(&mut [0; 8]).await.unwrap(), 0);
    SockRef::from(&between.client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(std::mem::replace(&mut between.client, pair().await.0));
    // It has read the FIN already, so that a read says no more.
    let ready = timeout(SOON, between.backend.ready(Interest::ERROR)).await;
    assert!(ready.expect("the reset in time").unwrap().is_error());
    assert_eq!(between.ended().await.ended, Ended::ClientReset);
}

#[tokio::test]
async fn what_a_backend_said_before_it_closed_arrives_though_the_upload_fails() {
    let mut between = between(None).await;
    between.client.write_all(b"start").await.unwrap();
    let mut start = [0; 5];
    between.backend.read_exact(&mut start).await.unwrap();
    between.backend.write_all(b"413 too large").await.unwrap();
    drop(std::mem::replace(&mut between.backend, pair().await.0));
    let mut answer = [0; 13];
    timeout(SOON, between.client.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"413 too large");
    // The upload goes on into nothing, and then the connection ends.
    while between.client.write_all(&[0; 1000]).await.is_ok() {
        if timeout(Duration::from_millis(1), between.client.writable()).await.is_err() {
            break;
        }
    }
    timeout(SOON, between.relayed).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_slow_reader_stops_the_sender_and_loses_nothing() {
    let mut between = between(None).await;
    let piece = pattern(100_000, 4);
    // The sender gets stuck: nothing is read for a reader that does not read.
    let mut sent = 0;
    loop {
        match timeout(Duration::from_millis(500), between.backend.write(&piece)).await {
            Ok(n) => sent += n.unwrap(),
            Err(_stuck) => break,
        }
        assert!(sent < 100_000_000, "the relay keeps all it reads");
    }
    between.backend.shutdown().await.unwrap();
    let mut got = Vec::new();
    timeout(SOON, between.client.read_to_end(&mut got)).await.unwrap().unwrap();
    assert_eq!(got.len(), sent);
}

#[tokio::test]
async fn a_backend_treated_reset_loses_its_connection_at_both_ends() {
    let mut between = between(None).await;
    between.slot.cancel();
    assert!(is_reset(&mut between.client).await);
    assert!(is_reset(&mut between.backend).await);
    assert_eq!(between.ended().await.ended, Ended::Reset);
}

#[tokio::test]
async fn an_abort_ends_it_at_both_ends() {
    let mut between = between(None).await;
    between.abort.cancel();
    assert!(is_reset(&mut between.client).await);
    assert!(is_reset(&mut between.backend).await);
    assert_eq!(between.ended().await.ended, Ended::Aborted);
}

#[tokio::test]
async fn idle_ends_it_only_where_it_is_set_and_nothing_moves() {
    let mut quiet = between(Some(Span::from_millis(200))).await;
    assert!(is_reset(&mut quiet.client).await);
    assert_eq!(quiet.ended().await.ended, Ended::Idle);

    let mut busy = between(Some(Span::from_millis(400))).await;
    for _ in 0..12 {
        busy.client.write_all(b"x").await.unwrap();
        busy.backend.read_exact(&mut [0]).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert!(busy.relayed.try_recv().is_err(), "a busy connection was cut");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_sequence_of_pieces_arrives_in_order(
        up in proptest::collection::vec(1usize..200_000, 0..12),
        down in proptest::collection::vec(1usize..200_000, 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut between = between(None).await;
            let (mut client_read, mut client_write) = between.client.split();
            let (mut backend_read, mut backend_write) = between.backend.split();
            let (mut got_up, mut got_down) = (Vec::new(), Vec::new());
            timeout(SOON, async {
                tokio::try_join!(
                    async {
                        for (i, length) in up.iter().enumerate() {
                            client_write.write_all(&pattern(*length, i)).await?;
                        }
                        client_write.shutdown().await
                    },
                    async {
                        for (i, length) in down.iter().enumerate() {
                            backend_write.write_all(&pattern(*length, i)).await?;
                        }
                        backend_write.shutdown().await
                    },
                    backend_read.read_to_end(&mut got_up),
                    client_read.read_to_end(&mut got_down),
                )
            })
            .await
            .unwrap()
            .unwrap();
            let all = |lengths: &[usize]| -> Vec<u8> {
                lengths.iter().enumerate().flat_map(|(i, l)| pattern(*l, i)).collect()
            };
            assert!(got_up == all(&up) && got_down == all(&down));
        });
    }
}
