//! What a VIP's thread reports, as log lines, events, metrics and status.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use evenkeel_core::timeline::Timeline;
use evenkeel_vip::class::Class;
use evenkeel_vip::router::{Mac, StateName, Told};
use evenkeel_vip::thread::Report;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge};
use tokio::sync::watch;
use tokio::time::Instant;

/// What is known of a VIP; for status.
#[derive(Clone, Debug)]
pub(crate) struct VipView {
    pub(crate) state: StateName,
    pub(crate) since: Instant,
    pub(crate) why: String,
    /// The interface, once it is known.
    pub(crate) interface: Option<String>,
    pub(crate) rank: Option<u8>,
    /// Who is heard as the owner, where that is not this node.
    pub(crate) peer: Option<(String, Class)>,
    pub(crate) class: Option<Class>,
    pub(crate) class_why: String,
    /// Somebody else uses the address too, as far as is known.
    pub(crate) rival: Option<(String, Instant)>,
    pub(crate) trouble: Option<(String, Instant)>,
    /// What the provider's hook has found last.
    pub(crate) hook: Option<String>,
    /// How often a move was answered: with nobody to take over, or nothing to hand over.
    pub(crate) refusals: u64,
}

impl VipView {
    pub(super) fn new() -> Self {
        Self {
            state: StateName::Down,
            since: Instant::now(),
            why: "it starts".to_owned(),
            interface: None,
            rank: None,
            peer: None,
            class: None,
            class_why: "nothing is known of its backends yet".to_owned(),
            rival: None,
            trouble: None,
            hook: None,
            refusals: 0,
        }
    }
}

/// Tells people what a thread reports.
#[derive(Debug)]
pub(super) struct Teller {
    vip: String,
    timeline: Timeline,
    view: watch::Sender<VipView>,
    /// What was told lately. A lock: it is taken once a second at most.
    told: Mutex<Vec<(String, Instant)>>,
}

/// How long the same is no news.
const NEWS_AGAIN: Duration = Duration::from_secs(600);
/// News that are kept in mind.
const MOST_NEWS: usize = 64;

impl Teller {
    pub(super) fn new(vip: &str, timeline: Timeline, view: watch::Sender<VipView>) -> Self {
        Self { vip: vip.to_owned(), timeline, view, told: Mutex::new(Vec::new()) }
    }

    pub(super) fn tell(&self, report: &Report) {
        let vip = &self.vip;
        match report {
            Report::Told(told) => self.told(told),
            Report::On { interface, elected } => {
                let (rank, vrid) = elected.unzip();
                tracing::info!(%vip, %interface, rank, vrid, "vip on its interface");
                let (state, before) = {
                    let view = self.view.borrow();
                    (view.state, view.interface.clone())
                };
                if let Some(before) = before.filter(|before| before != interface) {
                    self.owned(StateName::Down, &before);
                }
                self.owned(state, interface);
                self.view.send_modify(|view| {
                    view.interface = Some(interface.clone());
                    view.rank = rank;
                    view.trouble = None;
                });
            }
            Report::Trouble { what, error } => {
                let trouble = format!("{what}: {error}");
                if self.is_news(&trouble) {
                    tracing::warn!(%vip, what, error, "vip: the kernel refuses");
                    self.event(format!("could not {trouble}"));
                }
                self.view.send_modify(|view| view.trouble = Some((trouble, Instant::now())));
            }
            Report::ForeignAdvert { source } => {
                tracing::warn!(%vip, %source, "another VRRP group has our VRID, with other addresses: set another `vrid`");
                self.event(format!(
                    "{source} uses our VRID for other addresses: set another `vrid` here or there"
                ));
            }
        }
    }

    fn told(&self, told: &Told) {
        let vip = &self.vip;
        match told {
            Told::State(state, why) => {
                let state_name = state.as_str();
                tracing::info!(%vip, state = state_name, reason = %why, "vip");
                self.event(format!("{state_name}: {why}"));
                let interface = self.view.borrow().interface.clone();
                if let Some(interface) = interface {
                    self.owned(*state, &interface);
                }
                counter!(
                    "evenkeel_vip_transitions_total",
                    "vip" => vip.clone(), "to" => state_name
                )
                .increment(1);
                self.view.send_modify(|view| {
                    view.state = *state;
                    view.since = Instant::now();
                    view.why = why.to_string();
                    if owns(*state) {
                        view.peer = None;
                    }
                });
            }
            Told::Peer(peer) => self.view.send_modify(|view| {
                view.peer = peer.map(|peer| (peer.source.to_string(), peer.class));
            }),
            Told::Lesser { source, class } => {
                self.conflict("advert");
                let what = format!("{source} ({class}) held it too, and must give way");
                if self.is_news(&what) {
                    tracing::warn!(%vip, %source, %class, "another owner was heard, which must give way");
                    self.event(what);
                }
            }
            Told::Rival { mac, yields } => {
                let mac = Mac(*mac);
                let then = if *yields { "we give way" } else { "we stay" };
                self.conflict("announcement");
                let what = format!("{mac} uses the address too, without adverts: {then}");
                if self.is_news(&what) {
                    tracing::warn!(%vip, %mac, then, "somebody else uses the address, whose adverts are not heard: does a firewall drop protocol 112?");
                    self.event(what);
                }
                self.view.send_modify(|view| view.rival = Some((mac.to_string(), Instant::now())));
            }
            Told::Taken(mac) => {
                let mac = Mac(*mac);
                let what = format!("not claimed: {mac} answers for the address");
                if self.is_news(&what) {
                    tracing::warn!(%vip, %mac, "not claimed: somebody answers for the address");
                    self.event(what);
                }
                self.view.send_modify(|view| view.rival = Some((mac.to_string(), Instant::now())));
            }
            Told::AddedAgain => {
                tracing::warn!(%vip, "somebody removed the address from the interface: added again");
                self.event("somebody removed the address: added again".to_owned());
                counter!("evenkeel_vip_added_again_total", "vip" => vip.clone()).increment(1);
            }
            Told::NotMoved => self.view.send_modify(|view| view.refusals += 1),
            Told::NobodyTookOver => {
                tracing::warn!(%vip, "no other node took the address over");
                self.event("offered, and nobody took it over".to_owned());
                self.view.send_modify(|view| view.refusals += 1);
            }
        }
    }

    /// Whether this was not told lately: what lasts comes again each second.
    fn is_news(&self, what: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|(_, at)| at.elapsed() < NEWS_AGAIN);
        let is_news = !told.iter().any(|(known, _)| known == what);
        if is_news && told.len() < MOST_NEWS {
            told.push((what.to_owned(), Instant::now()));
        }
        is_news
    }

    /// A class is known that is another than before.
    pub(super) fn class(&self, class: Class, why: &str, holds: bool) {
        let before = self.view.borrow().class;
        if before == Some(class) && holds && self.view.borrow().class_why != why {
            self.view.send_modify(|view| why.clone_into(&mut view.class_why));
        }
        gauge!("evenkeel_vip_class", "vip" => self.vip.clone()).set(match class {
            Class::Fault => 0.0,
            Class::LastResort => 1.0,
            Class::Degraded => 2.0,
            Class::Healthy => 3.0,
        });
        if before == Some(class) {
            return;
        }
        let vip = &self.vip;
        tracing::info!(%vip, %class, reason = why, "vip class");
        self.event(format!("this node is {class}: {why}"));
        self.view.send_modify(|view| {
            view.class = Some(class);
            why.clone_into(&mut view.class_why);
        });
    }

    /// What the provider's hook has found.
    pub(super) fn hook(&self, found: String) {
        self.view.send_modify(|view| view.hook = Some(found));
    }

    pub(super) fn event(&self, what: String) {
        self.timeline.push(SystemTime::now(), &format!("vip {}", self.vip), None, what);
    }

    fn conflict(&self, by: &'static str) {
        counter!("evenkeel_vip_conflicts_total", "vip" => self.vip.clone(), "by" => by)
            .increment(1);
    }

    fn owned(&self, state: StateName, interface: &str) {
        let labels = [("vip", self.vip.clone()), ("interface", interface.to_owned())];
        gauge!("evenkeel_vip_owned", &labels).set(if owns(state) { 1.0 } else { 0.0 });
    }
}

/// Whether the address is on this node.
pub(crate) fn owns(state: StateName) -> bool {
    match state {
        StateName::Owner | StateName::Yielding => true,
        StateName::Down | StateName::Backup | StateName::Ended => false,
    }
}

/// Gives the metrics their help text.
pub(crate) fn describe() {
    describe_gauge!("evenkeel_vip_owned", "1 while this node has the address");
    describe_gauge!(
        "evenkeel_vip_class",
        "What this node could do with the address: 3 healthy, 2 degraded, 1 last resort, 0 fault"
    );
    describe_counter!("evenkeel_vip_transitions_total", "Changes of a VIP's state on this node");
    describe_counter!(
        "evenkeel_vip_hook_calls_total",
        "Calls of a provider's hook, by what was asked and how it ended"
    );
    describe_histogram!(
        "evenkeel_vip_hook_call_duration_seconds",
        "How long the calls of a provider's hook took"
    );
    describe_counter!(
        "evenkeel_vip_conflicts_total",
        "How often somebody else used the address too, by how that was heard"
    );
    describe_counter!(
        "evenkeel_vip_added_again_total",
        "How often somebody removed the address from the interface"
    );
}
