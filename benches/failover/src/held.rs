//! How many connections of a balancer a member has, as the kernel of the member knows it.
//!
//! That is asked of no balancer, so it holds for all alike: a fault that befalls a member without
//! connections would measure nothing.

use std::fs;
use std::net::Ipv4Addr;

use evenkeel_testbed::{ControlPlane, Member};

use evenkeel_bench::failed::{Doing, Failed};

/// How many established connections each member has from `client`.
pub(crate) fn by_member(plane: &ControlPlane, client: Ipv4Addr) -> Result<[usize; 3], Failed> {
    let mut held = [0; 3];
    for (member, held) in Member::ALL.into_iter().zip(&mut held) {
        // kube-apiserver listens on `::`, so its IPv4 connections are among those of IPv6.
        let table = plane.host(member).within(|| fs::read_to_string("/proc/thread-self/net/tcp6"));
        let table = table.doing(|| "enter the host of a member")?;
        let table = table.doing(|| "read the connections of a member")?;
        *held = count(&table, plane.address(member).port(), client);
    }
    Ok(held)
}

/// How many lines of `/proc/net/tcp6` are established connections of `client` to `port`.
fn count(table: &str, port: u16, client: Ipv4Addr) -> usize {
    let local = format!(":{port:04X}");
    // An address is four words, and each is shown as this machine reads it.
    let words = [[0; 4], [0; 4], [0, 0, 0xFF, 0xFF], client.octets()].map(u32::from_ne_bytes);
    let remote = words.map(|word| format!("{word:08X}")).concat() + ":";
    let is_meant = |line: &&str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|word| word.ends_with(&local))
            && words.next().is_some_and(|word| word.starts_with(&remote))
            && words.next() == Some(ESTABLISHED)
    };
    table.lines().filter(is_meant).count()
}

const ESTABLISHED: &str = "01";

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
  sl  local_address                         remote_address                        st tx_queue
   0: 00000000000000000000000000000000:192B 00000000000000000000000000000000:0000 0A 00000000
   1: 0000000000000000FFFF00000B00000A:192B 0000000000000000FFFF00001500000A:D2F4 01 00000000
   2: 0000000000000000FFFF00000B00000A:192B 0000000000000000FFFF00001500000A:D2F6 01 00000000
   3: 0000000000000000FFFF00000B00000A:192B 0000000000000000FFFF00001500000A:D2F8 06 00000000
   4: 0000000000000000FFFF00000B00000A:192B 0000000000000000FFFF00001600000A:D2FA 01 00000000
   5: 0000000000000000FFFF00000B00000A:094C 0000000000000000FFFF00001500000A:D2FC 01 00000000
";

    #[test]
    fn only_what_is_established_from_the_balancer_counts() {
        assert_eq!(count(TABLE, 6443, Ipv4Addr::new(10, 0, 0, 21)), 2);
        assert_eq!(count(TABLE, 6443, Ipv4Addr::new(10, 0, 0, 22)), 1);
        assert_eq!(count(TABLE, 6443, Ipv4Addr::new(10, 0, 0, 23)), 0);
    }
}
