//! The TCP connection of a client, as a process sees it that can be frozen and killed.
//!
//! While the server is frozen no byte is read from the socket nor written to it, so that the
//! kernel's buffers fill as they do for a stopped process. When the connection's generation is
//! over, dropping it sends a reset.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::fault::Fault;
use crate::server::Switch;

/// A connection that obeys [`Fault::Frozen`] and [`Fault::Stopped`].
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    over: CancellationToken,
    /// Two, because reading and writing may wait in different tasks.
    reading: Pause,
    writing: Pause,
}

impl Wire {
    pub(crate) fn new(
        stream: TcpStream,
        switch: &watch::Receiver<Switch>,
        over: CancellationToken,
    ) -> Self {
        let pause = || Pause { switch: switch.clone(), thawed: None };
        Self { stream, over, reading: pause(), writing: pause() }
    }

    /// Looks at the first byte that the client sent without taking it; `None` if it sent none.
    pub(crate) async fn first_byte(&mut self) -> io::Result<Option<u8>> {
        poll_fn(|cx| self.reading.poll(cx)).await;
        let mut byte = [0];
        Ok((self.stream.peek(&mut byte).await? == 1).then_some(byte[0]))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.reading.poll(cx));
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.writing.poll(cx));
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writing.poll(cx));
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writing.poll(cx));
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.over.is_cancelled()
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(error = &error as &dyn std::error::Error, "connection not reset");
        }
    }
}

/// Waits for a frozen server to thaw, in the form that `poll_*` functions need.
struct Pause {
    switch: watch::Receiver<Switch>,
    thawed: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Pause {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.thawed.is_none() {
            if self.switch.borrow().fault != Fault::Frozen {
                return Poll::Ready(());
            }
            let mut switch = self.switch.clone();
            self.thawed = Some(Box::pin(async move {
                // An error means that the lab is gone; the connection ends by its own token.
                let _gone = switch.wait_for(|now| now.fault != Fault::Frozen).await.is_err();
            }));
        }
        if let Some(thawed) = &mut self.thawed {
            ready!(thawed.as_mut().poll(cx));
            self.thawed = None;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pause").field("waits", &self.thawed.is_some()).finish_non_exhaustive()
    }
}
