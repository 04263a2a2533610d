//! A process that freezes while its answer is awaited.

use std::sync::Arc;
use std::time::Duration;

use evenkeel_lab::{ControlPlane, Fault, Options};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::{self, Instant};
use tokio_rustls::TlsAcceptor;

use super::server::{head, settings, status, tls_server};
use super::*;

#[tokio::test]
async fn a_freeze_in_the_middle_of_an_answer_is_silence() {
    let options = Options { api_servers: 1, argocd_servers: 0, ..Options::default() };
    let lab = ControlPlane::start(options).await.unwrap();
    let config = HealthConfig {
        probe: Probe::KubeApiserver(KubeApiserverProbe::default()),
        ..HealthConfig::default()
    };
    lab.set_fault(0, Fault::SilentAnswers).await;
    let trust = trust_in(lab.ca_pem());
    let started = Instant::now();
    let freeze = async {
        time::sleep(Duration::from_millis(200)).await;
        lab.set_fault(0, Fault::Frozen).await;
    };
    let (attempt, ()) = tokio::join!(probe(&config, &trust, lab.api_server(0).address()), freeze);
    assert_eq!(
        told(&attempt),
        (Class::TlsTimeout, "no answer yet, and beside it: no TLS handshake within 1s")
    );
    assert_eq!(phases(&attempt).last(), Some(&(PhaseName::Answer, false)));
    assert_eq!(steps(&attempt), [("/readyz", None)]);
    assert!(started.elapsed() < Duration::from_secs(2), "{attempt:?}");
}

#[tokio::test]
async fn a_server_that_stops_listening_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings()));
    let serve_one = async move {
        let (stream, _) = listener.accept().await.unwrap();
        drop(listener);
        let mut stream = acceptor.accept(stream).await.unwrap();
        // The answer never comes.
        while head(&mut stream).await.is_some() {}
    };
    let config = kube();
    let trust = nobody();
    let (attempt, ()) = tokio::join!(probe(&config, &trust, address), serve_one);
    assert_eq!(attempt.outcome.class, Class::Refused, "{attempt:?}");
    assert!(attempt.outcome.took < Duration::from_secs(1), "{attempt:?}");
}

#[tokio::test]
async fn a_slow_answer_of_a_process_that_lives_is_waited_for() {
    let address = tls_server(settings(), |mut stream| async move {
        while head(&mut stream).await.is_some() {
            time::sleep(Duration::from_millis(1500)).await;
            stream.write_all(status("200 OK").as_bytes()).await.unwrap();
        }
    })
    .await;
    let attempt = probe(&https("/"), &nobody(), address).await;
    assert_eq!(told(&attempt), (Class::Ready, "200 OK"));
    assert!(attempt.outcome.took >= Duration::from_millis(1500));
}

#[tokio::test]
async fn a_freeze_between_two_questions_is_silence() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(settings()));
    let serve_one = async {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        head(&mut stream).await;
        stream.write_all(status("500 No").as_bytes()).await.unwrap();
        // The next question is not answered, and no further connection accepted.
        while head(&mut stream).await.is_some() {}
    };
    let config = kube();
    let trust = nobody();
    let (attempt, ()) = tokio::join!(probe(&config, &trust, address), serve_one);
    assert_eq!(attempt.outcome.class, Class::TlsTimeout, "{attempt:?}");
    assert_eq!(steps(&attempt)[0], ("/readyz", Some(500)));
}
