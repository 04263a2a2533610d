//! Builds the answers of the servers, and says what an answer's body is.

use std::convert::Infallible;

use futures::{Stream, StreamExt as _};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

/// The body of every answer: whole, or as a stream of chunks.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    whole(code, "text/plain; charset=utf-8", body.into())
}

pub(crate) fn json(body: &Value) -> Response<Body> {
    whole(StatusCode::OK, "application/json", body.to_string().into())
}

/// An error as the Kubernetes API words it.
pub(crate) fn status(code: StatusCode, message: &str) -> Response<Body> {
    let body = status_object(code, message).to_string();
    let mut reply = whole(code, "application/json", body.into());
    if code == StatusCode::TOO_MANY_REQUESTS {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    reply
}

/// The `Status` object, as an error's body or inside an `ERROR` event.
pub(crate) fn status_object(code: StatusCode, message: &str) -> Value {
    let reason = match code.as_u16() {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code.as_u16(),
    })
}

/// An answer in chunks, as long as the stream has some.
pub(crate) fn chunks(
    content_type: &'static str,
    stream: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let frames = stream.map(|chunk| Ok(Frame::data(chunk)));
    typed(StatusCode::OK, content_type, StreamBody::new(frames).boxed_unsync())
}

pub(crate) fn whole(code: StatusCode, content_type: &'static str, body: Bytes) -> Response<Body> {
    typed(code, content_type, Full::new(body).boxed_unsync())
}

fn typed(code: StatusCode, content_type: &'static str, body: Body) -> Response<Body> {
    let mut reply = Response::new(body);
    *reply.status_mut() = code;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
