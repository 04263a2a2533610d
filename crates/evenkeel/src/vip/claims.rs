//! That no two processes of a host move the same address: each would take it from the other.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use evenkeel_vip::config::VipConfig;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// Names that only one process of a network namespace can have (abstract sockets, unix(7)); the kernel
/// frees them with the process, however it ends.
#[derive(Debug)]
pub(crate) struct Claims {
    _names: Vec<UnixListener>,
}

impl Claims {
    /// Takes the names of a VIP's addresses.
    ///
    /// # Errors
    /// `AddrInUse` if another evenkeel has one. Other users of the host cannot keep us from it.
    pub(crate) fn of(vip: &VipConfig) -> io::Result<Self> {
        let mut names = Vec::with_capacity(vip.addresses.len());
        for address in &vip.addresses {
            let name = format!("evenkeel vip {address}");
            match UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?) {
                Ok(listener) => names.push(listener),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => match owner(&name) {
                    Some(pid) => {
                        let what = format!(
                            "{address} is moved by another evenkeel on this host already, process {pid}"
                        );
                        return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
                    }
                    None => {
                        tracing::warn!(%address, "somebody has taken the name by which two evenkeels on a host would notice each other");
                    }
                },
                Err(error) => return Err(error),
            }
        }
        Ok(Self { _names: names })
    }
}

/// The process that has the name, if it is root's or of our own user. Nobody accepts there, so this
/// must not wait for it.
fn owner(name: &str) -> Option<i32> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
    let name = SocketAddrUnix::new_abstract_name(name.as_bytes()).ok()?;
    connect(&socket, &name).ok()?;
    let theirs = socket_peercred(&socket).ok()?;
    let is_one_of_us = theirs.uid.is_root() || theirs.uid == rustix::process::geteuid();
    is_one_of_us.then(|| theirs.pid.as_raw_nonzero().get())
}
