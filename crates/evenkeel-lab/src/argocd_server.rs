//! The answers of argocd-server: `/healthz` over TLS, a redirect without.

use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderValue, LOCATION};
use hyper::{Request, Response, StatusCode};
use serde_json::json;

use crate::fault::Fault;
use crate::reply::{self, Body};

/// Answers a request that came without TLS by sending its client to the same place with TLS.
pub(crate) fn answer_plain(request: &Request<Incoming>) -> Response<Body> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let location = format!("https://{}{path}", host.unwrap_or("localhost"));
    let mut reply = reply::text(StatusCode::TEMPORARY_REDIRECT, Bytes::new());
    if let Ok(location) = HeaderValue::from_str(&location) {
        reply.headers_mut().insert(LOCATION, location);
    }
    reply
}

/// Answers a request. `Starting` and `EtcdLost` mean nothing here, and change nothing.
pub(crate) fn answer(request: &Request<Incoming>, fault: Fault) -> Response<Body> {
    let refused = |code| reply::text(code, Bytes::new());
    match fault {
        Fault::Broken => return refused(StatusCode::INTERNAL_SERVER_ERROR),
        Fault::Unauthorized => return refused(StatusCode::UNAUTHORIZED),
        Fault::Forbidden => return refused(StatusCode::FORBIDDEN),
        Fault::Throttled => return refused(StatusCode::TOO_MANY_REQUESTS),
        Fault::ShuttingDown | Fault::Refusing if request.uri().path() == "/healthz" => {
            return refused(StatusCode::SERVICE_UNAVAILABLE);
        }
        Fault::None
        | Fault::Stopped
        | Fault::Refusing
        | Fault::Frozen
        | Fault::ShuttingDown
        | Fault::EtcdLost
        | Fault::Starting
        | Fault::Foreign
        | Fault::SilentAnswers => {}
    }
    match request.uri().path() {
        "/healthz" => reply::text(StatusCode::OK, "ok\n"),
        "/api/version" => reply::json(&json!({"Version": "v3.6.0+lab"})),
        "/" => reply::whole(StatusCode::OK, "text/html", "<title>Argo CD</title>\n".into()),
        _ => reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}
