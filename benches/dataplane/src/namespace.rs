//! A network namespace of its own, with the settings that a measurement needs, and a directory for
//! what is written meanwhile. Both are removed at the end.
//!
//! The name of both is `ekbench<pid>`. One whose pid no longer lives was left by a bench that was
//! killed, and the next bench removes it, with what still runs there.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use evenkeel_bench::failed::{Doing, Failed};

/// The namespace that this thread is in. Dropped, it takes with it what runs there.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one and moves this thread, so also what it starts, into it.
    pub(crate) fn enter() -> Result<Self, Failed> {
        for name in left() {
            remove(&name);
        }
        let namespace = Self { name: format!("{PREFIX}{}", std::process::id()) };
        let name = namespace.name();
        fs::create_dir(namespace.directory()).doing(|| "make a directory")?;
        ip(&format!("netns add {name}"))?;
        let file = File::open(Path::new(NAMESPACES).join(name)).doing(|| "open the namespace")?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .doing(|| "move into the namespace")?;
        namespace.set_packets(Packets::Large)?;
        ip(&format!("-n {name} link set lo up"))?;
        for (key, value) in KERNEL {
            fs::write(format!("/proc/sys/net/{key}"), value)
                .doing(|| format!("set net/{key} to {value}"))?;
        }
        check_congestion_control()?;
        Ok(namespace)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Where to write.
    pub(crate) fn directory(&self) -> PathBuf {
        directory(&self.name)
    }

    /// Says how large a packet is from now on.
    pub(crate) fn set_packets(&self, packets: Packets) -> Result<(), Failed> {
        let (mtu, size, segments) = match packets {
            Packets::Large => (65_536, 65_536, 65_535),
            Packets::Small => (1500, 1500, 1),
        };
        let name = &self.name;
        ip(&format!(
            "-n {name} link set dev lo mtu {mtu} gso_max_size {size} gso_max_segs {segments}"
        ))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// The closed set of loopbacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Packets {
    /// As loopback is: one packet of 64 KiB a segment.
    Large,
    /// As on a wire without offloads: 1448 bytes each.
    Small,
}

/// Ends what runs in a namespace, and removes it and its directory. What cannot be done the next bench tries again.
pub(crate) fn remove(name: &str) {
    let pids = Command::new("ip").args(["netns", "pids", name]).output();
    let pids = pids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let own = std::process::id().to_string();
    for pid in pids.unwrap_or_default().split_whitespace().filter(|pid| *pid != own) {
        if let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) {
            // An error says that it has ended by itself meanwhile.
            kill_process(pid, Signal::KILL).unwrap_or_default();
        }
    }
    drop(ip(&format!("netns delete {name}")));
    drop(fs::remove_dir_all(directory(name)));
}

fn directory(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// bbr on loopback would measure its pacing timers.
fn check_congestion_control() -> Result<(), Failed> {
    let path = "/proc/sys/net/ipv4/tcp_congestion_control";
    let text = fs::read_to_string(path).doing(|| format!("read {path}"))?;
    match text.trim() {
        "reno" | "cubic" => Ok(()),
        other => {
            let told = format!("{other} paces, or is not known not to");
            Err(Failed::because("measure with this congestion control", told))
        }
    }
}

fn ip(line: &str) -> Result<(), Failed> {
    let doing = || format!("run `ip {line}`");
    let output = Command::new("ip").args(line.split_whitespace()).output().doing(doing)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failed::because(doing(), String::from_utf8_lossy(&output.stderr).trim()))
}

fn left() -> Vec<String> {
    let places = [Path::new(NAMESPACES), &std::env::temp_dir()].map(fs::read_dir);
    let entries = places.into_iter().filter_map(Result::ok).flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|pid| !Path::new("/proc").join(pid).exists()))
        .collect()
}

/// The pid in a name. None: it is not one of ours.
fn owner(name: &str) -> Option<&str> {
    let pid = name.strip_prefix(PREFIX)?;
    pid.parse::<u32>().ok().map(|_| pid)
}

const PREFIX: &str = "ekbench";
const NAMESPACES: &str = "/run/netns";

/// Below `/proc/sys/net`. A closed connection must not keep its port from the
/// thousands that follow it each second.
const KERNEL: [(&str, &str); 6] = [
    ("ipv4/tcp_congestion_control", "reno"),
    ("core/somaxconn", "65535"),
    ("ipv4/tcp_max_syn_backlog", "65535"),
    ("ipv4/ip_local_port_range", "10000 65535"),
    ("ipv4/tcp_max_tw_buckets", "3000"),
    ("ipv4/tcp_tw_reuse", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_names_are_its() {
        assert_eq!(owner("ekbench12"), Some("12"));
        for name in ["ekbench", "ekbench12-a", "ek12-1-br", "blue"] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
