//! Opens a connection to the first member that completes TLS. The name in the URL does not matter.

use std::fmt;
use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use evenkeel_core::health::printable;
use futures::future::BoxFuture;
use hyper::Uri;
use tower::{BoxError, Service, ServiceExt as _};

use crate::members::Members;

/// Longest wait for one member to accept.
pub(super) const TCP_TIMEOUT: Duration = Duration::from_secs(1);
/// Longest wait for one member to accept and complete TLS: one whose process is frozen accepts,
/// since its kernel does, and then is silent.
const TLS_TIMEOUT: Duration = Duration::from_secs(2);

/// A connector for hyper: `tls` connects to one address, this one to whichever member answers.
#[derive(Clone)]
pub(super) struct Connect<C> {
    tls: C,
    members: Members,
}

/// Why no member was connected to.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    /// There is nobody to ask.
    #[error("no API server is known")]
    NoMembers,
    /// All were tried.
    #[error("no API server can be reached: {}", Attempts(.0))]
    AllFailed(Vec<(SocketAddr, String)>),
}

struct Attempts<'a>(&'a [(SocketAddr, String)]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (address, why)) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{address} {why}")?;
        }
        Ok(())
    }
}

impl<C> Connect<C> {
    pub(super) fn new(tls: C, members: Members) -> Self {
        Self { tls, members }
    }
}

impl<C> Service<Uri> for Connect<C>
where
    C: Service<Uri, Error: Into<BoxError>, Future: Send> + Clone + Send + 'static,
    C::Response: Send,
{
    type Response = C::Response;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<C::Response, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { tls, members } = self.clone();
        Box::pin(async move {
            let mut failed = Vec::new();
            for address in members.in_order() {
                match attempt(tls.clone(), address).await {
                    Ok(connection) => return Ok(connection),
                    Err(why) => failed.push((address, why)),
                }
            }
            Err(if failed.is_empty() {
                ConnectError::NoMembers
            } else {
                ConnectError::AllFailed(failed)
            })
        })
    }
}

async fn attempt<C>(tls: C, address: SocketAddr) -> Result<C::Response, String>
where
    C: Service<Uri, Error: Into<BoxError>>,
{
    let url = Uri::builder().scheme("https").authority(address.to_string()).path_and_query("/");
    let url = url.build().map_err(|error| error.to_string())?;
    match tokio::time::timeout(TLS_TIMEOUT, tls.oneshot(url)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => {
            let error: BoxError = error.into();
            Err(printable(&format!("({})", innermost(error.as_ref()))))
        }
        Err(_elapsed) => Err(format!("(silent for {TLS_TIMEOUT:?})")),
    }
}

/// What it comes down to: hyper wraps twice, and only the last says what happened.
fn innermost<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a dyn std::error::Error {
    let mut error: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
