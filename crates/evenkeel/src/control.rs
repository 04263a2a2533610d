//! What changes the running process: a socket beside the admin endpoint, which itself changes
//! nothing.
//!
//! It is an abstract socket (unix(7)), so there is no file to be left behind or to be writable; its
//! name is made of the address of the admin endpoint, so that whoever finds the one finds the other.
//! The kernel tells who asks: only root and the user of the process are heard.
//!
//! One line of JSON goes in, one comes back.

use std::io;
use std::net::SocketAddr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net as unix;
use std::time::Duration;

use evenkeel_core::shutdown::{Shutdown, Tasks};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use crate::vip::{Moved, RunningVip};

/// The longest line, in bytes.
const LINE: u64 = 4096;

/// How long a question and its answer may take: a move takes an interval and a second.
const PATIENCE: Duration = Duration::from_secs(60);

/// What can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) enum Ask {
    /// A planned move of a VIP; of the only one, if it is not named.
    Move {
        /// Which.
        vip: Option<String>,
    },
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// It is done.
    Done(String),
    /// It is not, and nothing has changed.
    Refused(String),
}

fn name(admin: SocketAddr) -> io::Result<unix::SocketAddr> {
    unix::SocketAddr::from_abstract_name(format!("evenkeel {admin}"))
}

/// Hears what is asked until the process ends.
///
/// # Errors
/// If the socket cannot be bound.
pub(crate) fn start(
    admin: SocketAddr,
    vips: Vec<RunningVip>,
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> io::Result<()> {
    let listener = unix::UnixListener::bind_addr(&name(admin)?)?;
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    let stop = shutdown.drain.clone();
    tasks.spawn("control", async move {
        // One after the other: whoever asks is a person.
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let heard = match accepted {
                Ok((stream, _)) => timeout(PATIENCE, serve(stream, &vips)).await,
                Err(error) => {
                    // Out of descriptors, most likely, and the client still waits.
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    Ok(Err(error))
                }
            };
            if let Ok(Err(error)) = heard {
                tracing::debug!(%error, "control");
            }
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream, vips: &[RunningVip]) -> io::Result<()> {
    let (own, theirs) = (rustix::process::geteuid().as_raw(), stream.peer_cred()?.uid());
    let mut stream = BufReader::new(stream);
    // Read also what is refused: who writes to a socket that is closed already has an error before
    // he has the answer.
    let mut line = String::new();
    (&mut stream).take(LINE).read_line(&mut line).await?;
    let answer = if theirs == 0 || theirs == own {
        match serde_json::from_str(&line) {
            Ok(ask) => answer(ask, vips).await,
            Err(error) => Answer::Refused(format!("not understood: {error}")),
        }
    } else {
        Answer::Refused("only root and the user that evenkeel runs as may ask for that".to_owned())
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await
}

async fn answer(ask: Ask, vips: &[RunningVip]) -> Answer {
    let Ask::Move { vip: wanted } = ask;
    let vip = match (&wanted, vips) {
        (_, []) => return Answer::Refused("this evenkeel has no `vips`".to_owned()),
        (None, [only]) => only,
        (None, _) => return Answer::Refused(format!("which VIP? {}", names(vips))),
        (Some(wanted), _) => match vips.iter().find(|vip| vip.config.name == *wanted) {
            Some(vip) => vip,
            None => return Answer::Refused(format!("no VIP `{wanted}`: {}", names(vips))),
        },
    };
    let name = &vip.config.name;
    if !vip.config.elects() {
        return Answer::Refused(format!(
            "{name}: in the mode route every node that serves has it; to take this one out, end evenkeel here"
        ));
    }
    match vip.move_away().await {
        Moved::Away => {
            let owner = vip.view.borrow().peer.as_ref().map(|(owner, _)| owner.clone());
            let owner = owner.unwrap_or_else(|| "another node".to_owned());
            Answer::Done(format!("{name}: {owner} has taken over"))
        }
        Moved::NotHere => {
            let view = vip.view.borrow();
            let owner = match &view.peer {
                Some((owner, _)) => format!("{owner} has it: ask for the move there"),
                None => format!("it is {}: {}", view.state.as_str(), view.why),
            };
            Answer::Refused(format!("{name} is not on this node; {owner}"))
        }
        Moved::NobodyTookOver => Answer::Refused(format!(
            "{name}: no other node took it over, so it stays; see `evenkeel status` on the others"
        )),
    }
}

fn names(vips: &[RunningVip]) -> String {
    let names: Vec<&str> = vips.iter().map(|vip| vip.config.name.as_str()).collect();
    format!("there are {}", names.join(", "))
}

/// Asks the running process.
///
/// # Errors
/// If nobody answers.
pub(crate) async fn ask(admin: SocketAddr, ask: &Ask) -> io::Result<Answer> {
    let stream = unix::UnixStream::connect_addr(&name(admin)?)?;
    stream.set_nonblocking(true)?;
    let mut stream = BufReader::new(UnixStream::from_std(stream)?);
    let mut line = serde_json::to_vec(ask)?;
    line.push(b'\n');
    stream.get_mut().write_all(&line).await?;
    let mut line = String::new();
    let mut stream = stream.take(LINE);
    let answered = timeout(PATIENCE, stream.read_line(&mut line)).await;
    answered.map_err(|_elapsed| io::ErrorKind::TimedOut)??;
    Ok(serde_json::from_str(&line)?)
}
