//! The VIPs of the process: what their threads are told, and what they tell.
//!
//! ```text
//! View of each service ──> score ──> Ladder ──> Vip::set_class ──┐
//!                                                                v
//! `vip move`, the end of the process ──> orders ──────────> the thread of the VIP
//!                                                                │ reports
//!                         log, timeline, metrics, status <───────┘
//! ```

mod claims;
mod hook;
pub(crate) mod redirect;
mod score;
mod told;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::shutdown::{Shutdown, Tasks};
use evenkeel_core::timeline::Timeline;
use evenkeel_proxy::DataPlane;
use evenkeel_vip::class::{Class, Ladder};
use evenkeel_vip::config::{LastSurvivor, VipConfig};
use evenkeel_vip::router::StateName;
use evenkeel_vip::thread::{self, BEAT, Vip};
use futures::future::select_all;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::claims::Claims;
use self::redirect::Installed;
use self::score::{Rules, Standing, score};
use self::told::Teller;
pub(crate) use self::told::{VipView, describe, owns};
use crate::config::ServiceConfig;
use crate::service::{Service, View};

/// How often a VIP is told the class of its node.
const SCORED: Duration = Duration::from_millis(250);

/// The longest a hand-over takes beside one interval: the margin of the router, the end of
/// connections, and a busy machine.
const HAND_OVER: Duration = Duration::from_secs(1);

/// How long a thread may take to let go at the very end.
const LETTING_GO: Duration = Duration::from_secs(1);

/// A VIP that runs. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct RunningVip {
    pub(crate) config: Arc<VipConfig>,
    pub(crate) view: watch::Receiver<VipView>,
    thread: Arc<Vip>,
    ended: watch::Receiver<bool>,
}

/// What a VIP takes of the rest of the process.
#[derive(Debug)]
pub(crate) struct Around<'a> {
    pub(crate) services: &'a [Service],
    pub(crate) data_plane: &'a DataPlane,
    pub(crate) tasks: &'a Tasks,
    pub(crate) shutdown: &'a Shutdown,
    pub(crate) timeline: &'a Timeline,
    /// Whether clients are led to us, where that is needed.
    pub(crate) redirect: Option<Installed>,
}

/// What became of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Another node has the address.
    Away,
    /// This node had nothing to hand over.
    NotHere,
    /// No other node took it over; it stays.
    NobodyTookOver,
}

impl RunningVip {
    /// Starts the thread of a VIP and what it needs.
    ///
    /// # Errors
    /// If the kernel has no descriptors or threads for it.
    pub(crate) fn start(config: VipConfig, around: &Around<'_>) -> io::Result<Self> {
        let config = Arc::new(config);
        around.data_plane.watch();
        let plane = Box::new(Plane(around.data_plane.clone()));
        let (thread, reports, end) = Vip::start((*config).clone(), plane)?;
        let thread = Arc::new(thread);
        let (view_sender, view) = watch::channel(VipView::new());
        let teller = Arc::new(Teller::new(&config.name, around.timeline.clone(), view_sender));
        let (ended_sender, ended) = watch::channel(false);
        let drain = around.shutdown.drain.clone();
        around.tasks.spawn("vip reports", follow(reports, teller.clone()));
        hook::start(&config, &view, &teller, around);
        let until_ended = until_ended(end, ended_sender, view.clone(), drain);
        around.tasks.spawn_essential("vip thread", around.shutdown, until_ended);
        let is_redirected = around
            .services
            .iter()
            .flat_map(|service| &service.redirected)
            .any(|(address, _)| config.addresses.contains(&address.ip()));
        let rules = Rules {
            keeps: config.last_survivor == LastSurvivor::Keep,
            many_owners: !config.elects(),
        };
        let views = around.services.iter().filter(|service| listens(&service.config, &config));
        let scorer = Scorer {
            views: views.map(|service| service.view.clone()).collect(),
            thread: thread.clone(),
            teller,
            redirect: around.redirect.clone().filter(|_| is_redirected),
            rules,
        };
        let stop = ended.clone();
        around.tasks.spawn("vip class", scorer.run(stop));
        Ok(Self { config, view, thread, ended })
    }

    /// Hands the address over, if this node has it.
    pub(crate) async fn move_away(&self) -> Moved {
        let mut view = self.view.clone();
        let (state, refusals) = {
            let view = view.borrow_and_update();
            (view.state, view.refusals)
        };
        if state != StateName::Owner {
            return Moved::NotHere;
        }
        self.thread.move_away();
        let away = view.wait_for(|view| !owns(view.state) || view.refusals != refusals);
        match timeout(self.config.interval() + HAND_OVER, away).await {
            Ok(Ok(view)) if !owns(view.state) => Moved::Away,
            Ok(Ok(_) | Err(_)) | Err(_) => Moved::NobodyTookOver,
        }
    }

    /// Hands the address over before the listeners close; without a successor it stays.
    pub(crate) async fn hand_over(&self) {
        let mut view = self.view.clone();
        let refusals = view.borrow_and_update().refusals;
        self.thread.end();
        let over =
            view.wait_for(|view| view.state == StateName::Ended || view.refusals != refusals);
        if timeout(self.config.interval() + HAND_OVER, over).await.is_err() {
            tracing::warn!(vip = %self.config.name, "the hand-over takes too long: it goes on by itself");
        }
    }

    /// Lets go of the address and waits for the thread.
    pub(crate) async fn close(&self) {
        self.thread.close();
        let mut ended = self.ended.clone();
        let over = ended.wait_for(|ended| *ended);
        if timeout(LETTING_GO, over).await.is_err() {
            tracing::warn!(vip = %self.config.name, "its thread does not end; the kernel takes the address");
        }
    }
}

/// Whether clients of the VIP come to this service.
pub(crate) fn listens(service: &ServiceConfig, vip: &VipConfig) -> bool {
    service.listen.addresses.iter().any(|listener| {
        let ip = listener.address().ip();
        vip.addresses.iter().any(|address| {
            ip == *address || (ip.is_unspecified() && ip.is_ipv4() == address.is_ipv4())
        })
    })
}

/// The data plane as the thread of a VIP sees it.
struct Plane(DataPlane);

impl thread::DataPlane for Plane {
    fn beats(&self) -> bool {
        self.0.beats(BEAT)
    }

    fn end_connections(&self, addresses: &[IpAddr]) {
        self.0.end_connections(addresses);
    }

    fn is_ending(&self) -> bool {
        self.0.is_ending()
    }
}

async fn follow(mut reports: mpsc::Receiver<thread::Report>, teller: Arc<Teller>) {
    while let Some(report) = reports.recv().await {
        teller.tell(&report);
    }
}

async fn until_ended(
    end: oneshot::Receiver<()>,
    ended: watch::Sender<bool>,
    mut view: watch::Receiver<VipView>,
    drain: CancellationToken,
) {
    if end.await.is_err() {
        // The sender is dropped, which is what it is for.
    }
    // What it has reported is still being read. If it does not say that it is over, it has failed.
    let over = view.wait_for(|view| view.state == StateName::Ended);
    let in_order = matches!(timeout(LETTING_GO, over).await, Ok(Ok(_)));
    if in_order {
        ended.send_replace(true);
        // It was handed over, which is what it was told; the rest of the process is not through yet.
        drain.cancelled().await;
    }
    ended.send_replace(true);
}

/// Waits until what is known of any of the services changes.
async fn any_changed(views: &mut [watch::Receiver<View>]) {
    let changes = views.iter_mut().map(|view| {
        Box::pin(async {
            if view.changed().await.is_err() {
                // The service is over, and so is this soon.
                std::future::pending::<()>().await;
            }
        })
    });
    let changes: Vec<_> = changes.collect();
    if changes.is_empty() {
        std::future::pending::<()>().await;
    } else {
        select_all(changes).await;
    }
}

/// Finds out what this node could do with the address, again and again.
struct Scorer {
    views: Vec<watch::Receiver<View>>,
    thread: Arc<Vip>,
    teller: Arc<Teller>,
    redirect: Option<Installed>,
    rules: Rules,
}

impl Scorer {
    async fn run(mut self, mut ended: watch::Receiver<bool>) {
        let (mut ladder, start) = (Ladder::default(), Instant::now());
        let mut ticks = interval(SCORED);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut damped = false;
        loop {
            tokio::select! {
                _over = ended.wait_for(|ended| *ended) => return,
                _tick = ticks.tick() => {}
                () = any_changed(&mut self.views) => {}
            }
            let standings: Vec<Standing> =
                self.views.iter_mut().map(|view| Standing::of(&view.borrow_and_update())).collect();
            let Some((seen, why)) = score(&standings, self.rules) else { continue };
            let (seen, why) = if self.is_led() {
                (seen, why)
            } else {
                (seen.min(Class::Degraded), "nftables refuse to lead clients to us")
            };
            let class = ladder.step(seen, start.elapsed());
            self.thread.set_class(class);
            let why = if class == seen { why } else { "what was seen last has not lasted yet" };
            self.teller.class(class, why, class == seen);
            if let Some(penalty) = ladder.penalty().filter(|_| !damped) {
                self.teller.event(format!(
                    "this node goes up and down: it counts as better only after {} s",
                    penalty.as_secs()
                ));
            }
            damped = ladder.penalty().is_some();
        }
    }

    fn is_led(&self) -> bool {
        self.redirect.as_ref().is_none_or(|installed| installed.borrow().is_ok())
    }
}
