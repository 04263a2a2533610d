//! The closed list of loads, each a row of the tables.

use crate::order::Work;

/// One load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What the tables call it.
    pub(crate) title: &'static str,
    /// What is done.
    pub(crate) work: Work,
    /// Over how many connections at once.
    pub(crate) connections: usize,
    /// Inside TLS or not.
    pub(crate) secure: bool,
    /// Whether packets are as small as on a wire without offloads.
    pub(crate) small_packets: bool,
    /// Whether the one-minute version has it.
    pub(crate) in_a_minute: bool,
}

/// What a load is counted in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unit {
    /// 10^9 bytes.
    Gigabyte,
    /// A request with its answer.
    Request,
    /// A connection, opened.
    Connection,
}

impl Load {
    /// What it is counted in.
    pub(crate) fn unit(&self) -> Unit {
        match self.work {
            Work::Down { .. } | Work::Up => Unit::Gigabyte,
            Work::Ping { .. } | Work::Open { .. } => Unit::Request,
            Work::Connect { .. } | Work::Hold { .. } => Unit::Connection,
        }
    }

    /// The load of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        LOADS.iter().find(|load| load.name == name)
    }

    const fn new(name: &'static str, title: &'static str, connections: usize, work: Work) -> Self {
        Self {
            name,
            title,
            work,
            connections,
            secure: false,
            small_packets: false,
            in_a_minute: false,
        }
    }

    const fn secure(self) -> Self {
        Self { secure: true, ..self }
    }

    const fn small_packets(self) -> Self {
        Self { small_packets: true, ..self }
    }

    const fn in_a_minute(self) -> Self {
        Self { in_a_minute: true, ..self }
    }
}

/// All of them, in the order of the tables.
pub(crate) const LOADS: &[Load] = &[
    Load::new("down-1", "bulk down, 1 connection", 1, FILE).in_a_minute(),
    Load::new("down-32", "bulk down, 32 connections", 32, FILE).in_a_minute(),
    Load::new("up-32", "bulk up, 32 connections", 32, Work::Up).in_a_minute(),
    Load::new("down-32-memory", "bulk down by send, 32 connections", 32, MEMORY),
    Load::new("down-32-small", "bulk down, 32 connections, MTU 1500", 32, FILE).small_packets(),
    Load::new("ping", "128 B both ways, 64 connections", 64, SMALL).in_a_minute(),
    Load::new("ping-1", "128 B both ways, 1 connection", 1, SMALL).in_a_minute(),
    Load::new("ping-4k", "4 KiB both ways, 64 connections", 64, ping(4 << 10, 4 << 10)),
    Load::new("answer-16k", "256 B -> 16 KiB, 64 connections", 64, ping(256, 16 << 10)),
    Load::new("answer-64k", "256 B -> 64 KiB, 64 connections", 64, ping(256, 64 << 10)),
    Load::new("answer-256k", "256 B -> 256 KiB, 64 connections", 64, ping(256, 256 << 10)),
    Load::new("answer-1m", "256 B -> 1 MiB, 64 connections", 64, ping(256, 1 << 20)),
    Load::new("open", "128 B by the clock, 2000/s", 64, OPEN),
    Load::new("connect", "connect, 128 B, close; 64 at a time", 64, CONNECT).in_a_minute(),
    Load::new("herd", "4000 connect at once, held", 4000, HERD),
    Load::new("tls-down-32", "bulk down in TLS, 32 connections", 32, FILE).secure(),
    Load::new("tls-ping", "128 B both ways in TLS, 64 connections", 64, SMALL).secure(),
    Load::new("tls-connect", "TLS handshake, 128 B, close; 64 at a time", 64, CONNECT).secure(),
];

const fn ping(request: u64, answer: u64) -> Work {
    Work::Ping { request, answer }
}

const FILE: Work = Work::Down { from_memory: false };
const MEMORY: Work = Work::Down { from_memory: true };
const SMALL: Work = ping(128, 128);
const OPEN: Work = Work::Open { request: 128, answer: 128, rate: 2000 };
const CONNECT: Work = Work::Connect { request: 128, answer: 128 };
const HERD: Work = Work::Hold { request: 128, answer: 128, total: 4000 };

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_load_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = LOADS.iter().map(|load| load.name).collect();
        assert_eq!(names.len(), LOADS.len());
    }
}
