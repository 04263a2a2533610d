//! Whether an endpoint is alive while its answer is awaited.
//!
//! An API server whose etcd hangs takes seconds to answer, so an answer is awaited for seconds.
//! A process that freezes meanwhile must not profit from that: beside the waiting, TLS handshakes
//! are asked of it as often as it is probed otherwise, and the first that fails ends the attempt.
//!
//! ```text
//! request ------------------------------------------------> AnswerTimeout: alive, unready
//!          pause, handshake ok, pause, handshake times out -> TlsTimeout: silent
//! ```

use evenkeel_core::health::Class;
use tokio::time;

use super::handshake;
use super::target::Target;
use crate::attempt::Seen;

/// Waits for `answer` as long as the endpoint shows that it is alive.
pub(super) async fn beside<T>(
    target: &Target<'_>,
    answer: impl Future<Output = Result<T, Seen>>,
) -> Result<T, Seen> {
    tokio::select! {
        biased;
        answer = answer => answer,
        seen = failure_of_life(target) => Err(seen),
    }
}

/// Asks for handshakes until one fails.
async fn failure_of_life(target: &Target<'_>) -> Seen {
    let pause = target.config.interval.min(target.config.tls_timeout);
    loop {
        time::sleep(pause.duration()).await;
        match target.open_another().await {
            Ok(stream) => handshake::close(stream).await,
            // Says nothing about the endpoint.
            Err(seen) if seen.class == Class::ProbeFault => {}
            Err(seen) => {
                let detail = format!("no answer yet, and beside it: {}", seen.detail);
                return Seen::new(seen.class, detail);
            }
        }
    }
}
