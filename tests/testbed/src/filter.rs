//! What the switch does not let pass, as rules of `nft` in its namespace.
//!
//! The program `nft` and not netlink: a test that fails is retraced by typing the same words.

use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::Host;
use crate::network::Network;

/// Why the switch did not take a rule.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// `nft` could not be started, or not be told.
    #[error("could not run `nft` (Debian: nftables)")]
    Run(#[source] io::Error),
    /// It refused.
    #[error("`nft` refused {rules:?}: {answer}")]
    Refused {
        /// What it was told.
        rules: String,
        /// What it wrote to standard error.
        answer: String,
    },
}

/// A rule that is in force until it is dropped or [lifted](Filter::lift).
#[derive(Debug)]
pub struct Filter {
    bridge: String,
    table: String,
}

impl Filter {
    /// Takes the rule away.
    ///
    /// # Errors
    /// If `nft` refuses, for example because the network is gone.
    pub fn lift(mut self) -> Result<(), FilterError> {
        self.remove()
    }

    fn remove(&mut self) -> Result<(), FilterError> {
        match std::mem::take(&mut self.table) {
            table if table.is_empty() => Ok(()),
            table => nft(&self.bridge, &format!("delete table {table}")),
        }
    }
}

impl Drop for Filter {
    fn drop(&mut self) {
        // If the network is gone, then so is the rule.
        drop(self.remove());
    }
}

impl Network {
    /// Drops all that a host sends or is sent, at its port: it keeps its carrier and is told
    /// nothing. See [`Host::cut`] for a pulled cable.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn silence(&self, host: &Host) -> Result<Filter, FilterError> {
        let name = host.name();
        // At the port and not at the bridge, which learns where a sender is before it forwards.
        let chain = |hook: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} device \"{name}\" priority 0; \
                 policy drop; }}"
            )
        };
        self.filter("netdev", &[chain("ingress"), chain("egress")].join("\n"))
    }

    /// Lets nothing pass between the hosts of one side and those of the other.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn part(&self, side: &[&Host], other: &[&Host]) -> Result<Filter, FilterError> {
        let (side, other) = (ports(side), ports(other));
        self.forbid(&format!(
            "iifname {side} oifname {other} drop; iifname {other} oifname {side} drop"
        ))
    }

    /// Lets nothing pass from one host to another; the way back stays open.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn deafen(&self, from: &Host, to: &Host) -> Result<Filter, FilterError> {
        self.forbid(&format!("iifname {} oifname {} drop", ports(&[from]), ports(&[to])))
    }

    /// Lets no VRRP pass (protocol 112 of IPv4 and of IPv6), but all else.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn forbid_vrrp(&self) -> Result<Filter, FilterError> {
        self.forbid("ip protocol 112 drop; ip6 nexthdr 112 drop")
    }

    /// Lets VRRP pass from one host to another, and none that is for all (224.0.0.18, `ff02::12`), as
    /// switches do that lose multicast.
    ///
    /// # Errors
    /// If `nft` refuses.
    pub fn forbid_vrrp_multicast(&self) -> Result<Filter, FilterError> {
        self.forbid("ip daddr 224.0.0.18 drop; ip6 daddr ff02::12 drop")
    }

    fn forbid(&self, rules: &str) -> Result<Filter, FilterError> {
        self.filter(
            "bridge",
            &format!("chain pass {{ type filter hook forward priority 0; {rules}; }}"),
        )
    }

    fn filter(&self, family: &str, chains: &str) -> Result<Filter, FilterError> {
        static COUNT: AtomicU32 = AtomicU32::new(1);

        let table = format!("{family} filter-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let bridge = self.bridge();
        nft(&bridge, &format!("table {table} {{\n{chains}\n}}\n"))?;
        Ok(Filter { bridge, table })
    }
}

/// A set of ports; each is named like its host.
fn ports(hosts: &[&Host]) -> String {
    let names: Vec<String> = hosts.iter().map(|host| format!("\"{}\"", host.name())).collect();
    format!("{{ {} }}", names.join(", "))
}

/// Tells `nft` something in the namespace of a bridge.
fn nft(bridge: &str, rules: &str) -> Result<(), FilterError> {
    let mut child = Command::new("ip")
        .args(["netns", "exec", bridge, "nft", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(FilterError::Run)?;
    // Dropped at the end of the statement, which is what ends its input.
    let written = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(rules.as_bytes()));
    let output = child.wait_with_output().map_err(FilterError::Run)?;
    if output.status.success() {
        return written.map_err(FilterError::Run);
    }
    let answer = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(FilterError::Refused { rules: rules.to_owned(), answer })
}
