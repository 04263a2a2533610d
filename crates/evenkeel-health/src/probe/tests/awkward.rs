//! Servers that do not do what is expected of them.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::server::{answering, demanding, head, path, server, settings, status, tls_server};
use super::*;
use crate::full_queue::FullQueue;

#[tokio::test]
async fn a_port_on_which_nobody_listens_refuses() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for config in [tcp(), tls(), https("/"), kube()] {
        let attempt = probe(&config, &nobody(), address).await;
        assert_eq!(attempt.outcome.class, Class::Refused);
        assert_eq!(phases(&attempt), [(PhaseName::Connect, false)]);
    }
}

#[tokio::test]
async fn a_connect_that_hangs_times_out() {
    let queue = FullQueue::new();
    let attempt = probe(&tcp(), &nobody(), queue.address).await;
    assert_eq!(told(&attempt), (Class::ConnectTimeout, "no connection within 1s200ms"));
}

#[tokio::test]
async fn a_listener_that_never_accepts_is_silent() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let attempt = probe(&tls(), &nobody(), listener.local_addr().unwrap()).await;
    assert_eq!(told(&attempt), (Class::TlsTimeout, "no TLS handshake within 600ms"));
}

#[tokio::test]
async fn one_that_closes_is_closed_in_whichever_phase() {
    let at_once = server(|stream| async { drop(stream) }).await;
    let after_hello = server(|mut stream| async move {
        stream.read_u8().await.unwrap();
    })
    .await;
    for address in [at_once, after_hello] {
        let attempt = probe(&kube(), &nobody(), address).await;
        assert_eq!(attempt.outcome.class, Class::Closed, "{attempt:?}");
        assert!(attempt.outcome.detail.contains("handshake"), "{attempt:?}");
    }
    let after_handshake = tls_server(settings(), |stream| async { drop(stream) }).await;
    let after_request = tls_server(settings(), |mut stream| async move {
        head(&mut stream).await;
    })
    .await;
    let in_answer = answering(|_| {
        Some("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 9\r\n\r\no".into())
    })
    .await;
    for address in [after_handshake, after_request, in_answer] {
        for config in [https("/"), kube()] {
            let attempt = probe(&config, &nobody(), address).await;
            assert_eq!(attempt.outcome.class, Class::Closed, "{attempt:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_tls_or_no_http_is_garbled() {
    let plain = server(|mut stream| async move {
        stream.read_u8().await.unwrap();
        stream.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    })
    .await;
    let no_http = answering(|_| Some("SSH-2.0-OpenSSH_9.9\r\n".into())).await;
    let endless =
        answering(|_| Some(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "x".repeat(100_000)))).await;
    for address in [plain, no_http, endless] {
        let attempt = probe(&https("/"), &nobody(), address).await;
        assert_eq!(attempt.outcome.class, Class::Garbled, "{attempt:?}");
    }
}

#[tokio::test]
async fn a_client_certificate_that_is_demanded_is_a_refusal() {
    // In TLS 1.3 the refusal comes when for us the handshake is complete. Asked often, since it
    // races with our request.
    let address = tls_server(demanding(&rustls::version::TLS13), |_| async {}).await;
    for _ in 0..30 {
        let attempt = probe(&https("/"), &nobody(), address).await;
        assert_eq!(
            told(&attempt),
            (Class::TlsRefused, "it refused the handshake: CertificateRequired")
        );
    }
    let address = tls_server(demanding(&rustls::version::TLS12), |_| async {}).await;
    let attempt = probe(&https("/"), &nobody(), address).await;
    assert_eq!(attempt.outcome.class, Class::TlsRefused, "{attempt:?}");
    assert_eq!(phases(&attempt), [(PhaseName::Connect, true), (PhaseName::Tls, false)]);
}

#[tokio::test]
async fn a_server_without_our_protocol_refuses() {
    let mut settings = settings();
    settings.alpn_protocols = vec![b"h2".to_vec()];
    let address = tls_server(settings, |_| async {}).await;
    let attempt = probe(&tls(), &nobody(), address).await;
    assert_eq!(
        told(&attempt),
        (Class::TlsRefused, "it refused the handshake: NoApplicationProtocol")
    );
}

#[tokio::test]
async fn the_request_is_a_plain_get() {
    let (heads, mut received) = mpsc::channel(1);
    let mut settings = settings();
    settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let address = tls_server(settings, move |mut stream| {
        let heads = heads.clone();
        async move {
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
            heads.send(head(&mut stream).await.unwrap()).await.unwrap();
            stream.write_all(status("200 OK").as_bytes()).await.unwrap();
        }
    })
    .await;
    assert_eq!(probe(&kube(), &nobody(), address).await.outcome.class, Class::Ready);
    assert_eq!(
        received.recv().await.unwrap(),
        "GET /readyz HTTP/1.1\r\nhost: kubernetes.default.svc\r\nuser-agent: evenkeel/0.1.0 (probe)\r\n\r\n"
    );
    assert_eq!(probe(&https("/a?b"), &nobody(), address).await.outcome.class, Class::Ready);
    let head = received.recv().await.unwrap();
    assert_eq!(path(&head), "/a?b");
    assert!(head.contains(&format!("host: {address}\r\n")), "{head}");
}

#[tokio::test]
async fn an_answer_counts_once_it_is_whole() {
    let stalled = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\no";
    let address = answering(|_| Some(stalled.into())).await;
    let attempt = probe(&https("/"), &nobody(), address).await;
    assert_eq!(attempt.outcome.class, Class::AnswerTimeout);
}

#[tokio::test]
async fn of_an_answer_that_is_too_long_the_status_counts() {
    let long = |status| {
        let length = 100_000;
        format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{}", "x".repeat(length))
    };
    let address = answering(move |path| match path {
        "/readyz" | "/livez" => Some(long("500 Internal Server Error")),
        "/yes" => Some(long("200 OK")),
        _ => Some(status("200 OK")),
    })
    .await;
    assert_eq!(probe(&https("/yes"), &nobody(), address).await.outcome.class, Class::Ready);
    // And the next question is asked on another connection.
    assert_eq!(probe(&kube(), &nobody(), address).await.outcome.class, Class::EtcdUnready);
}

#[tokio::test]
async fn a_server_that_keeps_no_connection_is_asked_on_another() {
    let address = answering(|path| {
        let status = if path == "/livez" { "200 OK" } else { "500 No" };
        Some(format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"))
    })
    .await;
    let attempt = probe(&kube(), &nobody(), address).await;
    assert_eq!(attempt.outcome.class, Class::Starting);
    assert_eq!(steps(&attempt).len(), 4);
}

#[tokio::test]
async fn a_shutdown_with_etcd_down_too_is_a_shutdown() {
    let address = answering(|path| {
        let both = path.contains("shutdown") && path.contains("etcd-readiness");
        Some(status(if both { "200 OK" } else { "500 No" }))
    })
    .await;
    assert_eq!(probe(&kube(), &nobody(), address).await.outcome.class, Class::ShuttingDown);
}

#[tokio::test]
async fn after_a_500_no_failing_question_makes_it_silent() {
    let hangs = answering(|path| (path == "/readyz").then(|| status("500 No"))).await;
    let started = Instant::now();
    let attempt = probe(&kube(), &nobody(), hangs).await;
    assert_eq!(told(&attempt), (Class::Broken, "500 Internal Server Error"));
    assert_eq!(steps(&attempt)[1].1, None);
    assert!(started.elapsed() < Duration::from_secs(3));

    let closes = answering(|path| {
        Some(if path == "/readyz" { status("500 No") } else { "connection: close".into() })
    })
    .await;
    let attempt = probe(&kube(), &nobody(), closes).await;
    assert_eq!(attempt.outcome.class, Class::Broken);
    assert_eq!(steps(&attempt).len(), 4);
}

#[tokio::test]
async fn the_text_of_an_answer_is_fit_to_print() {
    let body = format!("[-]\x1b[2Jetcd failed: no\r\n[-]{} failed\n", "x".repeat(400));
    let address = answering(move |path| {
        let status = if path == "/readyz" { "500 No" } else { "200 OK" };
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
    })
    .await;
    let attempt = probe(&kube(), &nobody(), address).await;
    assert!(attempt.outcome.detail.starts_with("500 [-] [2Jetcd failed, [-]xxx"), "{attempt:?}");
    assert!(attempt.outcome.detail.len() <= 200);
}

#[tokio::test]
async fn a_handshake_is_closed_in_good_order() {
    let (ends, mut ended) = mpsc::channel(1);
    let address = tls_server(settings(), move |mut stream| {
        let ends = ends.clone();
        async move {
            let mut rest = Vec::new();
            ends.send(stream.read_to_end(&mut rest).await).await.unwrap();
        }
    })
    .await;
    assert_eq!(probe(&tls(), &nobody(), address).await.outcome.class, Class::Ready);
    // Neither a reset nor a close without close_notify, which would be an error.
    assert_eq!(ended.recv().await.unwrap().unwrap(), 0);
}
