//! GET requests over one connection, HTTP/1.1.
//!
//! GET only: the verb that RBAC sees is the method, and `system:public-info-viewer` may `get`, so
//! that an anonymous HEAD is answered with 403.

use std::pin::pin;
use std::time::Duration;

use evenkeel_core::health::Class;
use evenkeel_core::units::Span;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::header::{AUTHORIZATION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time;

use super::failure;
use super::handshake::Tls;
use super::target::Target;
use crate::attempt::Seen;

/// The longest body that is read; a longer one is left, and its status counts.
const BODY_LIMIT: usize = 16 * 1024;

/// The longest head that is accepted.
const HEAD_LIMIT: usize = 16 * 1024;

/// How long closing in good order may take.
const FAREWELL: Duration = Duration::from_millis(50);

/// A connection over which questions are asked, one at a time.
pub(super) struct Exchange {
    sender: SendRequest<Empty<Bytes>>,
    /// `None` once it has ended.
    connection: Option<Box<Connection<TokioIo<Tls>, Empty<Bytes>>>>,
}

/// An answer, complete.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// Empty if it was too long.
    pub(super) body: Bytes,
}

impl Answer {
    /// The words for an answer.
    pub(super) fn tell(&self) -> String {
        // `StatusCode` words a known status as `200 OK`.
        self.status.to_string()
    }
}

impl Exchange {
    pub(super) async fn new(stream: Tls) -> Result<Self, Seen> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure::http(&error))?;
        Ok(Self { sender, connection: Some(Box::new(connection)) })
    }

    /// Asks for `path`. After an error nothing more can be asked.
    pub(super) async fn get(&mut self, target: &Target<'_>, path: &str) -> Result<Answer, Seen> {
        let request = request(target, path)?;
        self.send(request).await.map_err(|error| failure::http(&error))
    }

    /// Ends the connection in good order.
    pub(super) async fn close(self) {
        drop(self.sender);
        if let Some(connection) = self.connection {
            // However it ends, the connection is dropped and so closed.
            drop(time::timeout(FAREWELL, connection).await);
        }
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Answer, hyper::Error> {
        let sender = &mut self.sender;
        let mut answer = pin!(async move {
            sender.ready().await?;
            read(sender.send_request(request).await?).await
        });
        let Some(connection) = &mut self.connection else { return answer.await };
        let ended = tokio::select! {
            biased;
            answer = &mut answer => return answer,
            ended = connection => ended,
        };
        // Dropped, since the request waits as long as the connection is there, ended or not.
        self.connection = None;
        // What has been read may hold a whole answer. If not, the connection knows best why.
        match (answer.await, ended) {
            (Ok(answer), Ok(()) | Err(_)) => Ok(answer),
            (Err(_), Err(error)) => Err(error),
            (Err(error), Ok(())) => Err(error),
        }
    }
}

/// Waits for an answer, and gives up after a time.
pub(super) async fn answer_within(
    within: Span,
    answering: impl Future<Output = Result<Answer, Seen>>,
) -> Result<Answer, Seen> {
    match time::timeout(within.duration(), answering).await {
        Ok(answer) => answer,
        Err(_elapsed) => Err(Seen::new(Class::AnswerTimeout, format!("no answer within {within}"))),
    }
}

fn request(target: &Target<'_>, path: &str) -> Result<Request<Empty<Bytes>>, Seen> {
    let mut request = Request::get(path)
        .body(Empty::new())
        .map_err(|_invalid| Seen::new(Class::ProbeFault, "`path` is not a path"))?;
    let headers = request.headers_mut();
    headers.insert(HOST, target.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(OUR_NAME));
    if let Some(token) = &target.token {
        headers.insert(AUTHORIZATION, token.clone());
    }
    Ok(request)
}

/// By this a probe is known in an audit log.
const OUR_NAME: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (probe)");

async fn read(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let status = response.status();
    match Limited::new(response.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => Ok(Answer { status, body: body.to_bytes() }),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => Err(*error),
            Err(other) => {
                debug_assert!(other.is::<LengthLimitError>(), "the one other failure there is");
                Ok(Answer { status, body: Bytes::new() })
            }
        },
    }
}
