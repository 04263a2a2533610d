//! The metrics of a VIP's thread.

use metrics::{Counter, counter, describe_counter};

use crate::packet::Rejected;

/// Gives every metric of this crate its help text.
pub fn describe() {
    describe_counter!("evenkeel_vip_adverts_sent_total", "VRRP adverts sent");
    describe_counter!(
        "evenkeel_vip_adverts_received_total",
        "VRRP adverts of other routers received"
    );
    describe_counter!(
        "evenkeel_vip_adverts_rejected_total",
        "VRRP packets that were not accepted, by the check that they failed"
    );
    describe_counter!(
        "evenkeel_vip_announcements_total",
        "Announcements by gratuitous ARP or neighbour advertisement"
    );
    describe_counter!(
        "evenkeel_vip_untold_total",
        "Reports of a VIP's thread that were dropped, because nobody read them in time"
    );
}

/// The counters of one VIP; handles, made once.
pub(crate) struct Counters {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    pub(crate) announced: Counter,
    pub(crate) untold: Counter,
    rejected: Vec<(&'static str, Counter)>,
}

/// Adverts of our VRID for other addresses.
pub(crate) const FOREIGN: &str = "foreign_addresses";
/// Adverts of nobody that the config names, where it must name them.
pub(crate) const STRANGER: &str = "stranger";
/// Adverts of another VRID, and our own that came back.
pub(crate) const OTHER_VRID: &str = "other_vrid";

impl Counters {
    pub(crate) fn new(vip: &str) -> Self {
        let rejected = Rejected::ALL
            .iter()
            .map(|rejected| rejected.as_str())
            .chain([FOREIGN, OTHER_VRID, STRANGER])
            .map(|reason| {
                let counter = counter!("evenkeel_vip_adverts_rejected_total", "vip" => vip.to_owned(), "reason" => reason);
                (reason, counter)
            })
            .collect();
        Self {
            sent: counter!("evenkeel_vip_adverts_sent_total", "vip" => vip.to_owned()),
            received: counter!("evenkeel_vip_adverts_received_total", "vip" => vip.to_owned()),
            announced: counter!("evenkeel_vip_announcements_total", "vip" => vip.to_owned()),
            untold: counter!("evenkeel_vip_untold_total", "vip" => vip.to_owned()),
            rejected,
        }
    }

    pub(crate) fn rejected(&self, reason: &'static str) {
        if let Some((_, counter)) = self.rejected.iter().find(|(known, _)| *known == reason) {
            counter.increment(1);
        }
    }
}
