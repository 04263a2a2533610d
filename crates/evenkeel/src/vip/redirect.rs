//! How clients of a VIP come to us on a host where somebody else has the port.
//!
//! A kube-apiserver on 0.0.0.0:6443 keeps everybody else from binding VIP:6443 (EADDRINUSE, also
//! with `SO_REUSEPORT`). So we listen on the VIP with a port that the kernel chooses, and nftables
//! lead clients of VIP:6443 there, of this host and from outside, as long as this host has the
//! VIP. What is for the node's own addresses goes to the API server as before.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_core::shutdown::{Shutdown, Tasks};
use evenkeel_proxy::{Bind, BindError, BindPort, ListenAddress, Listener, RelayConfig};
use evenkeel_vip::config::{Redirect, VipConfig};
use evenkeel_vip::redirect::{Mapping, Redirect as Table, RedirectError};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

/// How often it is seen to that the rules are there: other programs may flush all tables.
const CHECKED: Duration = Duration::from_secs(1);

/// Binds the address of a listener, which may be a VIP's.
///
/// # Errors
/// As [`Listener::bind`].
pub(crate) fn bind(
    address: ListenAddress,
    vips: &[VipConfig],
    on_this_host: &[SocketAddr],
    relay: &RelayConfig,
    threads: usize,
) -> Result<Listener, BindError> {
    let ip = address.address().ip();
    let Some(vip) = vips.iter().find(|vip| vip.addresses.contains(&ip)) else {
        return Listener::bind(address.into(), relay, threads);
    };
    let port = address.address().port();
    let own = Bind { address, freebind: true, port: BindPort::Own };
    let chosen = Bind { port: BindPort::Chosen, ..own };
    match vip.redirect {
        Redirect::Never => Listener::bind(own, relay, threads),
        Redirect::Always => Listener::bind(chosen, relay, threads),
        // The server there may not have begun to listen: we must not take its port from it.
        Redirect::Auto if on_this_host.iter().any(|endpoint| endpoint.port() == port) => {
            Listener::bind(chosen, relay, threads)
        }
        Redirect::Auto => match Listener::bind(own, relay, threads) {
            Err(BindError::InUse { .. } | BindError::Lent { .. }) => {
                Listener::bind(chosen, relay, threads)
            }
            bound => bound,
        },
    }
}

/// Whether the rules are there, for the class of the node.
pub(crate) type Installed = watch::Receiver<Result<(), String>>;

/// Leads clients of each address to the port that it is bound to, until the end of the process or
/// until it is killed: the kernel removes the rules with the socket that made them.
pub(crate) fn start(
    redirected: &[(SocketAddr, SocketAddr)],
    tasks: &Tasks,
    shutdown: &Shutdown,
) -> Option<Installed> {
    if redirected.is_empty() {
        return None;
    }
    let mappings: Vec<Mapping> = redirected
        .iter()
        .map(|(address, bound)| Mapping {
            address: address.ip(),
            port: address.port(),
            to: bound.port(),
        })
        .collect();
    for (address, bound) in redirected {
        tracing::info!(%address, %bound, "clients are led to another port: an API server has that one here");
    }
    let mut table = None;
    let first = install(&mut table, &mappings);
    if let Err(error) = &first {
        tracing::error!(%error, "clients of the VIP are not led to us");
    }
    let (sender, installed) = watch::channel(first);
    let stop = shutdown.abort.clone();
    tasks.spawn("redirect", async move {
        let mut ticks = interval(CHECKED);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = install(&mut table, &mappings);
            sender.send_if_modified(|before| {
                let changed = *before != now;
                match &now {
                    Ok(()) if changed => tracing::info!("clients of the VIP are led to us again"),
                    Err(error) if changed => {
                        tracing::error!(%error, "clients of the VIP are not led to us");
                    }
                    Ok(()) | Err(_) => {}
                }
                *before = now;
                changed
            });
        }
    });
    Some(installed)
}

/// Sees to it that the rules are there.
fn install(table: &mut Option<Table>, mappings: &[Mapping]) -> Result<(), String> {
    let is_new = table.is_none();
    let there = if let Some(there) = table {
        there
    } else {
        let name = std::process::id().to_string();
        table.insert(Table::open(&name).map_err(with_causes)?)
    };
    match there.present() {
        Ok(true) => return Ok(()),
        Ok(false) if is_new => {}
        Ok(false) => tracing::warn!("somebody removed the rules that lead clients to us"),
        Err(error) => tracing::warn!(%error, "the rules that lead clients to us"),
    }
    there.install(mappings).map_err(with_causes)
}

fn with_causes(error: RedirectError) -> String {
    format!("{:#}", anyhow::Error::from(error))
}
