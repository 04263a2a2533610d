use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::*;
use crate::config::AdminListen;
use crate::metrics::tests::local;
use crate::readiness::Check;
use crate::status::{EventStatus, Status};

struct Fake;

impl Observe for Fake {
    fn status(&self) -> Status {
        crate::status::tests::sample()
    }

    fn readiness(&self) -> Vec<Check> {
        vec![Check::ok("config")]
    }

    fn events(&self, _: u64) -> Vec<EventStatus> {
        Vec::new()
    }
}

fn server(listen: AdminListen) -> Server {
    let (_recorder, prometheus) = local();
    Server::new(AdminConfig { listen }, prometheus, Arc::new(Fake))
}

fn any_port() -> AdminListen {
    "127.0.0.1:0".parse().unwrap()
}

#[tokio::test]
async fn a_client_is_answered_over_a_socket_until_it_is_told_to_stop() {
    let server = server(any_port()).bind().await.unwrap();
    let address = server.address().unwrap();
    let stop = CancellationToken::new();
    let client = async {
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nok") {
            assert_ne!(client.read_buf(&mut answer).await.unwrap(), 0);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
        // The connection stays open and idle: it must not hold the end up.
        stop.cancel();
        assert_eq!(client.read_buf(&mut answer).await.unwrap(), 0);
    };
    tokio::join!(server.run(stop.clone()), client);
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_page_of_another_name_gets_nothing() {
    let server = server(any_port()).bind().await.unwrap();
    let address = server.address().unwrap();
    let stop = CancellationToken::new();
    let client = async {
        let mut client = TcpStream::connect(address).await.unwrap();
        let request =
            b"GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 421 "), "{answer}");
        assert!(!answer.contains("services"), "{answer}");
        stop.cancel();
    };
    tokio::join!(server.run(stop.clone()), client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_go_on_asking_is_let_go() {
    let half_a_head: &[u8] = b"GET /livez HTTP/1.1\r\nHost: local";
    let one_question: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for sent in [b"", half_a_head, one_question] {
        let server = server(any_port()).bind().await.unwrap();
        let address = server.address().unwrap();
        let stop = CancellationToken::new();
        let client = async {
            let mut client = TcpStream::connect(address).await.unwrap();
            let began = Instant::now();
            client.write_all(sent).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert!(began.elapsed() < HEAD_TIMEOUT * 2, "{:?}", began.elapsed());
            stop.cancel();
        };
        tokio::join!(server.run(stop.clone()), client);
    }
}

#[tokio::test]
async fn a_taken_port_is_told_what_to_do() {
    let first = server(any_port()).bind().await.unwrap();
    let taken = AdminListen::On(first.address().unwrap());
    let error = server(taken).bind().await.unwrap_err();
    assert!(matches!(error, BindError::Taken(_)), "{error}");
    assert!(error.to_string().contains("admin.listen"), "{error}");
}

#[tokio::test]
async fn what_is_off_listens_nowhere_and_still_ends() {
    let server = server(AdminListen::Off).bind().await.unwrap();
    assert_eq!(server.address(), None);
    let stop = CancellationToken::new();
    stop.cancel();
    server.run(stop).await;
}
