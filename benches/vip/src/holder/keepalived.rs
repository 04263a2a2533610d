//! keepalived: its two configurations, an instance each family.

use std::fs;
use std::process::Command;

use evenkeel_testbed::Host;
use rustix::process::Pid;

use super::Programs;
use crate::row::{VIP4, VIP6};
use evenkeel_bench::failed::{Doing, Failed};

/// How it is set up.
#[derive(Debug)]
pub(crate) struct Manner {
    name: &'static str,
    global: &'static str,
    /// By the place of the host.
    priorities: [u8; 3],
    instance: &'static str,
}

/// What its manual begins with: nothing that has a default is said.
pub(crate) const DEFAULT: Manner =
    Manner { name: "default", global: "", priorities: [150, 100, 50], instance: "" };

/// What its manual has for who must be fast and must not flap.
///
/// - A real-time priority, with so generous a limit of its CPU time that the kernel does not kill it
///   in the middle of a take-over.
/// - `nopreempt`: who comes back leaves the address where it is.
/// - Skews of 5, 8 and 12 ms apart, so that one of the standbys is always first.
/// - Announced five times at once, a second later again, and every ten seconds.
pub(crate) const TUNED: Manner = Manner {
    name: "tuned",
    global: "
    vrrp_version 3
    vrrp_rt_priority 50
    vrrp_rlimit_rttime 10000000
    vrrp_priority -20
    vrrp_no_swap
    vrrp_garp_master_delay 1
    vrrp_garp_master_repeat 5
    vrrp_garp_master_refresh 10
    vrrp_garp_master_refresh_repeat 1",
    priorities: [254, 238, 222],
    instance: "
    nopreempt
    advert_int 0.1",
};

/// A command that runs it on a host.
pub(crate) fn command(
    host: &Host,
    programs: &Programs,
    manner: &Manner,
    place: usize,
) -> Result<Command, Failed> {
    let priority = manner.priorities.get(place).copied().unwrap_or(1);
    let path = |what: &str| host.directory().join(format!("{}-{what}", host.name()));
    let config = path(&format!("keepalived-{}.conf", manner.name));
    fs::write(&config, text(manner, priority)).doing(|| format!("write {}", config.display()))?;
    let mut command = host.command(&programs.keepalived);
    command.args(["--dont-fork", "--log-console", "--log-detail", "--dump-conf", "--vrrp"]);
    command.arg("--use-file").arg(config).arg("--pid").arg(path(PARENT));
    command.arg("--vrrp_pid").arg(path(CHILD));
    Ok(command)
}

/// The process that speaks VRRP. None: it does not run.
pub(crate) fn child(host: &Host) -> Option<Pid> {
    let path = host.directory().join(format!("{}-{CHILD}", host.name()));
    Pid::from_raw(fs::read_to_string(path).ok()?.trim().parse().ok()?)
}

fn text(manner: &Manner, priority: u8) -> String {
    let Manner { name: _, global, priorities: _, instance } = manner;
    let family = |family: &str, router: u8, vip: &str| {
        format!(
            "vrrp_instance {family} {{
    state BACKUP
    interface eth0
    virtual_router_id {router}
    priority {priority}{instance}
    virtual_ipaddress {{
        {vip}
    }}
}}
"
        )
    };
    let instances = [family("ipv4", 51, &VIP4.to_string()), family("ipv6", 52, &VIP6.to_string())];
    format!("global_defs {{{global}\n}}\n{}", instances.concat())
}

const PARENT: &str = "keepalived.pid";
const CHILD: &str = "keepalived-vrrp.pid";
