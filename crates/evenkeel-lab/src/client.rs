//! A client of one connection: TCP, TLS with verification, HTTP/1.1. For the load and the tests.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::failure::Failure;

/// One open connection to a server.
///
/// It has no task of its own: it moves only while one of its methods is awaited, and is closed
/// without ceremony when dropped.
#[derive(Debug)]
pub(crate) struct Client {
    sender: SendRequest<Empty<Bytes>>,
    connection: Pin<Box<Http>>,
    host: String,
}

impl Client {
    pub(crate) async fn connect(
        address: SocketAddr,
        tls: &TlsConnector,
        server_name: &ServerName<'static>,
    ) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await.map_err(|error| Failure::of_io(&error))?;
        stream.set_nodelay(true).map_err(|error| Failure::of_io(&error))?;
        let stream = tls
            .connect(server_name.clone(), stream)
            .await
            .map_err(|error| Failure::of_io(&error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| Failure::of_http(&error))?;
        let host = server_name.to_str().into_owned();
        Ok(Self { sender, connection: Box::pin(connection), host })
    }

    /// Asks for a path and reads the whole answer.
    pub(crate) async fn get(&mut self, path: &str) -> Result<Response<Bytes>, Failure> {
        self.send(self.request(path)).await
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> Result<Response<Bytes>, Failure> {
        let answer = self.sender.send_request(request);
        let answer = async {
            let (head, body) = answer.await?.into_parts();
            Ok(Response::from_parts(head, body.collect().await?.to_bytes()))
        };
        drive(&mut self.connection, answer).await
    }

    /// Asks for a path whose answer may have no end.
    pub(crate) async fn open(&mut self, path: &str) -> Result<Response<Incoming>, Failure> {
        let answer = self.sender.send_request(self.request(path));
        drive(&mut self.connection, answer).await
    }

    /// Reads on in such an answer; `None` at its end.
    pub(crate) async fn chunk(&mut self, body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        let chunk = async {
            loop {
                let Some(frame) = body.frame().await.transpose()? else { return Ok(None) };
                // What is no data is trailers.
                if let Ok(chunk) = frame.into_data() {
                    return Ok(Some(chunk));
                }
            }
        };
        drive(&mut self.connection, chunk).await
    }

    /// Ends the connection in good order.
    pub(crate) async fn close(self) -> Result<(), Failure> {
        drop(self.sender);
        self.connection.await.map_err(|error| Failure::of_http(&error))
    }

    pub(crate) fn request(&self, path: &str) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = path.parse().unwrap_or_default();
        if let Ok(host) = self.host.parse() {
            request.headers_mut().insert(HOST, host);
        }
        request
    }
}

/// The half of hyper's client that moves the bytes.
type Http = Connection<TokioIo<TlsStream<TcpStream>>, Empty<Bytes>>;

/// Awaits what needs the connection to move.
async fn drive<T>(
    connection: &mut Pin<Box<Http>>,
    what: impl Future<Output = Result<T, hyper::Error>>,
) -> Result<T, Failure> {
    let mut what = pin!(what);
    let done = tokio::select! {
        biased;
        done = &mut what => done,
        ended = connection => match ended {
            // The connection knows best why it ended.
            Err(error) => return Err(Failure::of_http(&error)),
            Ok(()) => what.await,
        }
    };
    done.map_err(|error| Failure::of_http(&error))
}
