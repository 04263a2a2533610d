//! A network namespace of its own for a check: no port is taken, and the kernel is set the same
//! on every machine.

use std::io;
use std::process::Command;

use evenkeel_testbed::{Network, require_network};

use crate::verdict::NotChecked;

/// Whether checks get a namespace of their own.
pub(crate) fn is_possible() -> bool {
    require_network().is_ok()
}

/// Runs `check` in a namespace of its own.
pub(crate) fn within<T: Send>(check: impl FnOnce() -> T + Send) -> Result<T, NotChecked> {
    let made = |error| NotChecked::conditions("make a network namespace")(error);
    require_network()?;
    let network = Network::new().map_err(|error| made(error.into()))?;
    let host = network.host("trap").map_err(|error| made(error.into()))?;
    let run = || -> Result<T, NotChecked> {
        for (key, value) in KERNEL {
            set(key, value)?;
        }
        Ok(check())
    };
    host.within(run).map_err(|error| made(error.into()))?
}

/// Sets a kernel parameter below `net` of the namespace that this thread is in.
pub(crate) fn set(key: &str, value: &str) -> Result<(), NotChecked> {
    std::fs::write(format!("/proc/sys/net/{key}"), value)
        .map_err(|error| NotChecked::conditions("set a kernel parameter")(error.into()))
}

/// Makes every packet on loopback as small as on a wire.
pub(crate) fn make_packets_small() -> Result<(), NotChecked> {
    let words = "link set dev lo mtu 1500 gso_max_size 1500 gso_max_segs 1";
    let made = |error| NotChecked::conditions("make packets small")(error);
    let output =
        Command::new("ip").args(words.split(' ')).output().map_err(|error| made(error.into()))?;
    if output.status.success() {
        return Ok(());
    }
    let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(made(io::Error::other(answer).into()))
}

const KERNEL: [(&str, &str); 5] = [
    // bbr paces by timers, on loopback too.
    ("ipv4/tcp_congestion_control", "reno"),
    ("ipv4/ip_local_port_range", "10000 65535"),
    ("ipv4/tcp_tw_reuse", "1"),
    ("core/somaxconn", "65535"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
];
