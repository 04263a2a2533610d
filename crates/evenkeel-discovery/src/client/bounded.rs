//! Bounds the wait for an answer, notes when one came, and passes over a member that gave none.

use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use hyper::{Request, Response, StatusCode};
use tokio::sync::watch;
use tokio::time::Instant;
use tower::{BoxError, Service};

use crate::members::Members;

/// Longest wait for the head of an answer, connecting included: nine silent members take nine
/// seconds to walk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);

/// The outermost layer of the client.
pub(super) struct Bounded<S> {
    service: S,
    members: Members,
    answered: watch::Sender<Option<Instant>>,
}

/// No answer came in time.
#[derive(Debug, thiserror::Error)]
#[error("the API server did not answer within {ANSWER_TIMEOUT:?}")]
pub(super) struct NoAnswer;

impl<S> Bounded<S> {
    pub(super) fn new(
        service: S,
        members: Members,
        answered: watch::Sender<Option<Instant>>,
    ) -> Self {
        Self { service, members, answered }
    }
}

impl<S, B, T> Service<Request<B>> for Bounded<S>
where
    S: Service<Request<B>, Response = Response<T>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<T>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<T>, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.service.call(request);
        let members = self.members.clone();
        let answered = self.answered.clone();
        Box::pin(async move {
            let answer = tokio::time::timeout(ANSWER_TIMEOUT, answer).await;
            let answer = answer.unwrap_or_else(|_elapsed| Err(NoAnswer.into()));
            match &answer {
                Ok(response) if response.status().is_success() => {
                    answered.send_replace(Some(Instant::now()));
                }
                // The next may have its etcd, or be less busy.
                Ok(response)
                    if response.status().is_server_error()
                        || response.status() == StatusCode::TOO_MANY_REQUESTS =>
                {
                    members.pass_over_first();
                }
                // 401, 403, 404 and 410 are answers: another member says the same.
                Ok(_) => {}
                Err(_) => members.pass_over_first(),
            }
            answer
        })
    }
}
