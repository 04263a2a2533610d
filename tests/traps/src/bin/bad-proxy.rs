//! A proxy with one fault that it is told, for the tests that the checks find it:
//! `bad-proxy FAULT LISTEN BACKEND...`.
//!
//! Two threads a connection, but for the fault `naive`, which is none of its own: there tokio's
//! `copy_bidirectional` moves the bytes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use tokio::task::JoinSet;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Nothing that does not come with the copying.
    Naive,
    /// One direction's end ends both.
    EndsBoth,
    /// It never waits.
    Spins,
    /// What could not be sent is sent on the next connection.
    Mixes,
    /// It reads on although nothing is taken.
    Hoards,
    /// Small pieces wait for more.
    Delays,
    /// After a short read it takes long to read again.
    Sleeps,
    /// An error ends both directions at once.
    Cuts,
    /// A client without a backend hears nothing.
    Hangs,
    /// Its one thread stays with a connection as long as that has bytes.
    Greedy,
    /// It takes a signal to end for nothing.
    Stays,
}

impl Fault {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "naive" => Self::Naive,
            "ends-both" => Self::EndsBoth,
            "spins" => Self::Spins,
            "mixes" => Self::Mixes,
            "hoards" => Self::Hoards,
            "delays" => Self::Delays,
            "sleeps" => Self::Sleeps,
            "cuts" => Self::Cuts,
            "hangs" => Self::Hangs,
            "greedy" => Self::Greedy,
            "stays" => Self::Stays,
            _ => return None,
        })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().ok_or("bad-proxy FAULT LISTEN BACKEND...");
    let fault = Fault::named(&next()?).ok_or("there is no such fault")?;
    let listen: SocketAddr = next()?.parse()?;
    let backends: Vec<SocketAddr> =
        arguments.map(|backend| backend.parse()).collect::<Result<_, _>>()?;
    match fault {
        Fault::Naive => naive(listen, &backends)?,
        Fault::Stays => stays(listen, &backends)?,
        Fault::Greedy => greedy(listen, &backends)?,
        Fault::EndsBoth
        | Fault::Spins
        | Fault::Mixes
        | Fault::Hoards
        | Fault::Delays
        | Fault::Sleeps
        | Fault::Cuts
        | Fault::Hangs => serve(fault, listen, &backends)?,
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn naive(listen: SocketAddr, backends: &[SocketAddr]) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _address) = listener.accept().await?;
        client.set_nodelay(true)?;
        let backends = backends.to_vec();
        connections.spawn(async move {
            let mut backend = tokio::net::TcpStream::connect(&backends[..]).await?;
            backend.set_nodelay(true)?;
            tokio::io::copy_bidirectional(&mut client, &mut backend).await
        });
    }
}

fn stays(listen: SocketAddr, backends: &[SocketAddr]) -> io::Result<()> {
    let backends = backends.to_vec();
    // The first of them fails where the process has better things to do than to serve.
    let serving = thread::spawn(move || serve(Fault::Stays, listen, &backends));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        let mut signals = signal(SignalKind::terminate())?;
        while signals.recv().await.is_some() && !serving.is_finished() {}
        Ok(())
    })
}

fn greedy(listen: SocketAddr, backends: &[SocketAddr]) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    let mut directions: Vec<(TcpStream, TcpStream)> = Vec::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        if let Ok((client, _address)) = listener.accept() {
            let backend = TcpStream::connect(backends)?;
            for stream in [&client, &backend] {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_millis(1)))?;
            }
            directions.push((client.try_clone()?, backend.try_clone()?));
            directions.push((backend, client));
        }
        directions.retain_mut(|(from, to)| {
            let mut moved = 0;
            while moved < LONG {
                match from.read(&mut buffer) {
                    Ok(0) => return false,
                    Ok(read) if to.write_all(&buffer[..read]).is_ok() => moved += read,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Ok(_) | Err(_) => return false,
                }
            }
            true
        });
    }
}

/// What could not be sent, with [`Fault::Mixes`].
type Leftover = Arc<Mutex<Vec<u8>>>;

fn serve(fault: Fault, listen: SocketAddr, backends: &[SocketAddr]) -> io::Result<()> {
    let listener = TcpListener::bind(listen)?;
    let leftover = Leftover::default();
    let mut hanging = Vec::new();
    for client in listener.incoming() {
        let client = client?;
        let Ok(backend) = TcpStream::connect(backends) else {
            if fault == Fault::Hangs {
                hanging.push(client);
            }
            continue;
        };
        client.set_nodelay(true)?;
        backend.set_nodelay(true)?;
        for (from, to) in [(&client, &backend), (&backend, &client)] {
            let pump = Pump {
                fault,
                from: from.try_clone()?,
                to: to.try_clone()?,
                leftover: Arc::clone(&leftover),
            };
            thread::spawn(move || pump.run());
        }
    }
    Ok(())
}

/// One direction of one connection.
struct Pump {
    fault: Fault,
    from: TcpStream,
    to: TcpStream,
    leftover: Leftover,
}

impl Pump {
    fn run(mut self) {
        let moved = match self.fault {
            Fault::Hoards => self.hoard(),
            Fault::Naive
            | Fault::EndsBoth
            | Fault::Spins
            | Fault::Mixes
            | Fault::Delays
            | Fault::Sleeps
            | Fault::Cuts
            | Fault::Hangs
            | Fault::Greedy
            | Fault::Stays => self.pump(),
        };
        if moved.is_err() && self.fault == Fault::Cuts {
            for end in [&self.from, &self.to] {
                drop(SockRef::from(end).set_linger(Some(Duration::ZERO)));
                drop(end.shutdown(Shutdown::Both));
            }
        } else if self.fault == Fault::EndsBoth {
            drop(self.from.shutdown(Shutdown::Both));
            drop(self.to.shutdown(Shutdown::Both));
        } else {
            // A reset becomes a proper end.
            drop(self.to.shutdown(Shutdown::Write));
        }
    }

    fn pump(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        if self.fault == Fault::Spins {
            self.from.set_nonblocking(true)?;
        }
        loop {
            let read = match self.from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            if self.fault == Fault::Mixes && read == BUFFER {
                let mut leftover = self.leftover.lock().unwrap_or_else(PoisonError::into_inner);
                self.to.write_all(&leftover)?;
                leftover.clear();
            }
            if self.fault == Fault::Delays && read < SMALL {
                thread::park_timeout(Duration::from_millis(200));
            }
            if let Err(error) = self.write(&buffer[..read]) {
                if self.fault == Fault::Mixes {
                    let mut leftover = self.leftover.lock().unwrap_or_else(PoisonError::into_inner);
                    leftover.extend_from_slice(&buffer[..SMALL]);
                }
                return Err(error);
            }
            if self.fault == Fault::Sleeps && read < BUFFER {
                thread::park_timeout(Duration::from_secs(8));
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.to.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all there is, and sends as it can.
    fn hoard(&mut self) -> io::Result<()> {
        let (keep, kept) = mpsc::channel::<Vec<u8>>();
        let mut to = self.to.try_clone()?;
        let sending = thread::spawn(move || {
            kept.into_iter().try_for_each(|bytes| to.write_all(&bytes)).map(|()| to)
        });
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = self.from.read(&mut buffer)?;
            if read == 0 || keep.send(buffer[..read].to_vec()).is_err() {
                break;
            }
        }
        drop(keep);
        drop(sending.join());
        Ok(())
    }
}

const BUFFER: usize = 64 * 1024;

const SMALL: usize = 16;

const LONG: usize = 128 << 20;
