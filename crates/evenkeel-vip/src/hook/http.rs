//! A hook that is a server on this host: `POST /acquire`, `POST /release`, `GET /owner`.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::str::FromStr;
use std::time::Duration;

use garde::Validate;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST, USER_AGENT};
use hyper::{Method, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::net::TcpStream;
use tokio::time;

use super::request::{ANSWER_LIMIT, NotAnOwner, Operation, Request, last_words, owner};

/// A server on this host that moves the address: the key `http`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpHook {
    /// Where it listens, and the path before `/acquire`, `/release` and `/owner`. Plain HTTP to a
    /// loopback address, for a sidecar or a relay: who needs TLS, a name or a secret to reach it
    /// has an `exec` hook, which brings a certificate store and credentials of its own.
    #[garde(skip)]
    pub url: HookUrl,
}

/// The URL of a server on this host: `http://127.0.0.1:9000` or `http://[::1]:9000/vip`.
#[derive(Clone, PartialEq, Eq)]
pub struct HookUrl {
    address: SocketAddr,
    /// Without a slash at its end.
    path: String,
}

/// Why a text is not the URL of a hook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HookUrlError {
    /// It needs TLS, or is nothing for HTTP.
    #[error("`{0}` is not plain HTTP: call a server elsewhere by an `exec` hook")]
    NotHttp(String),
    /// A name, which would have to be resolved.
    #[error("`{0}` does not name an IP address: write http://127.0.0.1:9000")]
    NotAnAddress(String),
    /// No port.
    #[error("`{0}` has no port: write http://127.0.0.1:9000")]
    NoPort(String),
    /// Another host, which plain HTTP must not reach.
    #[error("`{0}` is not on this host: call a server elsewhere by an `exec` hook")]
    NotLocal(String),
    /// A query, which is ours.
    #[error("`{0}` has a query")]
    Query(String),
    /// Nonsense.
    #[error("`{0}` is not a URL: write http://127.0.0.1:9000")]
    NotAUrl(String),
}

impl FromStr for HookUrl {
    type Err = HookUrlError;

    fn from_str(text: &str) -> Result<Self, HookUrlError> {
        let told = || text.to_owned();
        let url: Uri = text.parse().map_err(|_invalid| HookUrlError::NotAUrl(told()))?;
        match url.scheme_str() {
            Some("http") => {}
            Some(_) => return Err(HookUrlError::NotHttp(told())),
            None => return Err(HookUrlError::NotAUrl(told())),
        }
        let host = url.host().unwrap_or_default();
        let ip: IpAddr = host
            .trim_matches(['[', ']'])
            .parse()
            .map_err(|_name| HookUrlError::NotAnAddress(told()))?;
        let port = url.port_u16().filter(|port| *port != 0);
        let port = port.ok_or_else(|| HookUrlError::NoPort(told()))?;
        if !ip.is_loopback() {
            return Err(HookUrlError::NotLocal(told()));
        }
        if url.query().is_some() {
            return Err(HookUrlError::Query(told()));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        Ok(Self { address: SocketAddr::new(ip, port), path })
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for HookUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for HookUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for HookUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "HookUrl".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A URL on this host: http, a loopback address, a port.",
            "pattern": "^http://(127(\\.[0-9]{1,3}){3}|\\[::1\\]):[0-9]+(/[^?#]*)?$",
            "examples": ["http://127.0.0.1:9000", "http://[::1]:9000/vip"],
        })
    }
}

/// Why a call of a server failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// It did not take the connection.
    #[error("could not connect to {address}")]
    Connect { address: SocketAddr, source: io::Error },
    /// It did not answer in time.
    #[error("no answer within {after:?}")]
    Timeout { after: Duration },
    /// It answered no HTTP, or closed the connection.
    #[error("it did not answer")]
    Exchange(#[source] hyper::Error),
    /// Its answer ended early, or is too long.
    #[error("its answer could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It says that it failed.
    #[error("{status}{}", .said.as_ref().map(|said| format!(": {said}")).unwrap_or_default())]
    Failed { status: StatusCode, said: Option<String> },
    /// The answer to `owner` is no JSON of ours.
    #[error("its answer is not {{\"owner\": NAME or null}}")]
    Json(#[source] serde_json::Error),
    /// The answer to `owner` is no name.
    #[error(transparent)]
    Answer(#[from] NotAnOwner),
    /// The node's name cannot be said.
    #[error("could not make the request")]
    Request(#[source] hyper::http::Error),
}

/// What is asked, as JSON; of `owner` as a query.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    vip: IpAddr,
    node: &'a str,
    epoch: u64,
    deadline_ms: u64,
}

/// The answer to `owner`. What else is in it is for others.
#[derive(Deserialize)]
struct OwnerIs {
    owner: Option<String>,
}

/// The longest head that is accepted, in bytes; hyper takes no less than 8 KiB.
const HEAD_LIMIT: usize = 16 * 1024;

const OUR_NAME: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (hook)");

impl HttpHook {
    /// Asks the server once, over a connection of its own. Dropped, it closes that.
    pub(super) async fn call(&self, request: &Request) -> Result<Option<String>, HttpError> {
        let after = Duration::from_millis(request.deadline_ms);
        let asking = Box::pin(ask(&self.url, request));
        let (status, body) = match time::timeout(after, asking).await {
            Ok(answer) => answer?,
            Err(_elapsed) => return Err(HttpError::Timeout { after }),
        };
        if !status.is_success() {
            return Err(HttpError::Failed { status, said: last_words(&body) });
        }
        match request.operation {
            Operation::Acquire | Operation::Release => Ok(None),
            Operation::Owner if body.is_empty() => Ok(None),
            Operation::Owner => {
                let answer: OwnerIs = serde_json::from_slice(&body).map_err(HttpError::Json)?;
                Ok(owner(answer.owner.unwrap_or_default().as_bytes())?)
            }
        }
    }
}

async fn ask(url: &HookUrl, request: &Request) -> Result<(StatusCode, Bytes), HttpError> {
    let address = url.address;
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| HttpError::Connect { address, source })?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_LIMIT)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(HttpError::Exchange)?;
    let asked = question(url, request)?;
    let mut answer = pin!(async move {
        read(sender.send_request(asked).await.map_err(HttpError::Exchange)?).await
    });
    let mut connection = Some(Box::pin(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        Some(ended) = async { Some(connection.as_mut()?.await) } => {
            // Dropped, since the answer waits as long as the connection is there.
            drop(connection.take());
            match (answer.await, ended) {
                // What was read may hold a whole answer.
                (Ok(answer), Ok(()) | Err(_)) => Ok(answer),
                (Err(_), Err(error)) => Err(HttpError::Exchange(error)),
                (Err(error), Ok(())) => Err(error),
            }
        }
    }
}

fn question(url: &HookUrl, request: &Request) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let Request { operation, vip, ref node, epoch, deadline_ms } = *request;
    let path = &url.path;
    let (method, target, body) = match operation {
        Operation::Acquire | Operation::Release => {
            let asked = Asked { vip, node, epoch, deadline_ms };
            let body = serde_json::to_vec(&asked).map_err(HttpError::Json)?;
            (Method::POST, format!("{path}/{operation}"), body)
        }
        Operation::Owner => {
            let node = escaped(node);
            let query = format!("vip={vip}&node={node}&epoch={epoch}&deadlineMs={deadline_ms}");
            (Method::GET, format!("{path}/{operation}?{query}"), Vec::new())
        }
    };
    hyper::Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, url.address.to_string())
        .header(USER_AGENT, OUR_NAME)
        .header(CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .map_err(HttpError::Request)
}

/// A value as it stands in a query: RFC 3986's unreserved characters, the others as `%XX`.
fn escaped(value: &str) -> String {
    let escape = |byte: u8| match byte {
        b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    value.bytes().map(escape).collect()
}

async fn read(response: Response<Incoming>) -> Result<(StatusCode, Bytes), HttpError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    match body {
        Ok(body) => Ok((status, body.to_bytes())),
        // What it failed with is worth more than why its words could not be read.
        Err(_) if !status.is_success() => Ok((status, Bytes::new())),
        Err(error) => Err(HttpError::Body(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_url_is_told_how_to_be_right() {
        let error = |text: &str| text.parse::<HookUrl>().unwrap_err().to_string();
        for (text, expected) in [
            ("https://127.0.0.1:9000", "is not plain HTTP: call a server elsewhere by an `exec`"),
            ("http://localhost:9000", "does not name an IP address: write http://127.0.0.1:9000"),
            ("http://127.0.0.1", "has no port"),
            ("http://127.0.0.1:0", "has no port"),
            ("http://10.0.0.1:9000", "is not on this host"),
            ("http://127.0.0.1:9000/?x=1", "has a query"),
            ("127.0.0.1:9000", "is not a URL"),
            ("/hooks", "is not a URL"),
            ("", "is not a URL"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let url: HookUrl = "http://[::1]:9000/vip/".parse().unwrap();
        assert_eq!(url.to_string(), "http://[::1]:9000/vip");
    }

    #[test]
    fn a_query_takes_any_name() {
        assert_eq!(escaped("cp-1.example_~"), "cp-1.example_~");
        assert_eq!(escaped("a b&ü"), "a%20b%26%C3%BC");
    }
}
