//! Asks the running process over its admin endpoint.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// On loopback; it answers at once or not at all.
const TIMEOUT: Duration = Duration::from_secs(5);

/// More than the status of nine services with nine backends each.
const LARGEST: usize = 16 * 1024 * 1024;

/// The process is not there, or does not answer.
#[derive(Debug, thiserror::Error)]
#[error("no evenkeel answers on {admin}: is it running, and is that its `admin.listen`?")]
pub(crate) struct Unreachable {
    pub(crate) admin: SocketAddr,
}

/// The status and body of a GET.
///
/// # Errors
/// [`Unreachable`], with the cause below it, if there is no answer.
pub(crate) async fn ask(admin: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let asked = timeout(TIMEOUT, get(admin, path)).await.context("no answer within 5s");
    asked.and_then(|answer| answer).map_err(|error| error.context(Unreachable { admin }))
}

async fn get(admin: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(path)
        .header(hyper::header::HOST, admin.to_string())
        .header(hyper::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LARGEST).collect().await;
        let body = body.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((status, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        closed = &mut connection => {
            closed?;
            exchange.await
        }
    }
}
