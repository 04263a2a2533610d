//! The hooks of a VIP: told whether this node is the elected owner, and what they tell.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::shutdown::Shutdown;
use evenkeel_vip::config::{Mode, VipConfig};
use evenkeel_vip::hook::{CallEnd, Hook, HookReport, HookTold};
use evenkeel_vip::router::StateName;
use metrics::{counter, histogram};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Around;
use super::told::{Teller, VipView};

/// Reports that may wait.
const REPORTS: usize = 64;

/// Starts a hook for each address of the VIP, if its mode has hooks.
pub(super) fn start(
    config: &VipConfig,
    view: &watch::Receiver<VipView>,
    teller: &Arc<Teller>,
    around: &Around<'_>,
) {
    let Mode::Hook(hook) = &config.mode else { return };
    let (reports, told) = mpsc::channel(REPORTS);
    let (wanted, elected) = watch::channel(false);
    let shutdown = Shutdown {
        drain: around.shutdown.drain.clone(),
        abort: around.shutdown.abort.child_token(),
    };
    let election = elect(view.clone(), wanted, shutdown.abort.clone());
    around.tasks.spawn("hook election", election);
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for address in &config.addresses {
        let hook = Hook::new(hook, *address, &node, reports.clone(), fastrand::u64(..));
        around.tasks.spawn("hook", hook.run(elected.clone(), shutdown.clone()));
    }
    around.tasks.spawn("hook reports", follow(told, config.name.clone(), teller.clone()));
}

/// Says whether this node is the owner, until the VIP is over. If another has taken over by then, a
/// release would come between: nothing is called any more.
async fn elect(
    mut view: watch::Receiver<VipView>,
    wanted: watch::Sender<bool>,
    no_more: CancellationToken,
) {
    loop {
        let (state, has_successor) = {
            let view = view.borrow_and_update();
            (view.state, view.peer.is_some())
        };
        if state == StateName::Ended && has_successor {
            no_more.cancel();
            return;
        }
        let is_owner = state == StateName::Owner;
        wanted.send_if_modified(|wanted| std::mem::replace(wanted, is_owner) != is_owner);
        if state == StateName::Ended || view.changed().await.is_err() {
            return;
        }
    }
}

async fn follow(mut told: mpsc::Receiver<HookReport>, vip: String, teller: Arc<Teller>) {
    while let Some(HookReport { address, told, .. }) = told.recv().await {
        tell(&vip, address, &told, &teller);
    }
}

fn tell(vip: &str, address: IpAddr, told: &HookTold, teller: &Teller) {
    match told {
        HookTold::Called { operation, end, took } => {
            let result = match end {
                CallEnd::Done => "done",
                CallEnd::Failed => "failed",
                CallEnd::Abandoned => "abandoned",
            };
            counter!(
                "evenkeel_vip_hook_calls_total",
                "vip" => vip.to_owned(), "operation" => operation.as_str(), "result" => result
            )
            .increment(1);
            histogram!(
                "evenkeel_vip_hook_call_duration_seconds",
                "vip" => vip.to_owned(), "operation" => operation.as_str()
            )
            .record(took.as_secs_f64());
        }
        HookTold::Acquired { took, epoch } => {
            tracing::info!(vip, %address, took_ms = took.as_millis(), epoch, "hook: acquired");
            teller.event(format!("{address} acquired after {}", seconds(*took)));
            teller.hook(format!("{address} is on this node, as the provider says"));
        }
        HookTold::Failed { operation, why, retry_in } => {
            let again = retry_in.map_or_else(
                || "not tried again".to_owned(),
                |pause| format!("again in {}", seconds(pause)),
            );
            tracing::warn!(vip, %address, %operation, %why, again, "hook failed");
            teller.event(format!("{operation} of {address} failed: {why}; {again}"));
            teller.hook(format!("{operation} of {address} failed: {why}"));
        }
        HookTold::Verified => {
            teller.hook(format!("{address} is on this node, as the provider says"));
        }
        HookTold::Lost { owner } => {
            let owner = owner.as_deref().unwrap_or("nobody");
            tracing::warn!(vip, %address, owner, "hook: the address is elsewhere: acquired again");
            teller.event(format!("{address} is with {owner}, and is acquired again"));
            teller.hook(format!("{address} is with {owner}"));
        }
        HookTold::RateLimited { until } => {
            let wait = until.saturating_duration_since(Instant::now());
            tracing::error!(vip, %address, wait_s = wait.as_secs(), "hook: as many moves this hour as are allowed");
            teller.event(format!(
                "{address}: as many moves this hour as maxMovesPerHour allows; the next in {}",
                seconds(wait)
            ));
            teller.hook(format!("{address}: too many moves this hour"));
        }
        HookTold::Released { owner } => {
            let to = owner.as_ref().map_or_else(String::new, |owner| format!(": {owner} has it"));
            tracing::info!(vip, %address, owner, "hook: released");
            teller.event(format!("{address} released{to}"));
            teller.hook(format!("{address} is not on this node{to}"));
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
