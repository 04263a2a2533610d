//! The key `vips`.

use std::net::IpAddr;
use std::time::Duration;

use evenkeel_core::units::{Span, between, is_name};
use garde::Validate;
use serde::{Deserialize, Serialize};

use crate::addresses::LATE_EXPIRY;
use crate::class::{Class, Rank};
use crate::hook::HookConfig;
use crate::packet::Checksum;
use crate::router::SILENT_INTERVALS;
use crate::thread::BEAT;

/// An address that moves to a node that serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct VipConfig {
    /// Its name in logs, metrics and status: lower-case letters, digits and `-`, up to 63.
    #[garde(custom(is_name))]
    pub name: String,
    /// The addresses, without a prefix; those of one VIP, IPv4 and IPv6, move together. From 1 to 8.
    #[garde(length(min = 1, max = 8))]
    pub addresses: Vec<IpAddr>,
    /// The interface that holds them. Default: the one in whose subnet the first address lies; in the
    /// mode `route`, `lo`.
    #[serde(default)]
    #[garde(inner(custom(interface_name)))]
    pub interface: Option<String>,
    /// How the network learns who has it. Default `{l2: {}}`.
    #[serde(default)]
    #[garde(dive)]
    pub mode: Mode,
    /// What a node does that reaches neither a majority of the members of the VIP's services nor any
    /// ready backend: `release` the address, since there may be an owner on the other side of a
    /// partition, or `keep` it. Default `release`.
    #[serde(default)]
    #[garde(skip)]
    pub last_survivor: LastSurvivor,
    /// Whether clients of the VIP are led to a port of evenkeel's own by nftables, because an API
    /// server has the same port on this host: `auto` does where a static endpoint is this host
    /// itself with that port, or the port is taken; `always`; `never`. Default `auto`.
    #[serde(default)]
    #[garde(skip)]
    pub redirect: Redirect,
    /// How long the kernel keeps the address when evenkeel is killed or hangs: whole seconds, from
    /// `1s` to `10s`; default `1s`.
    #[serde(default = "default_lifetime")]
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(10))), custom(whole_seconds))]
    pub lifetime: Span,
}

fn default_lifetime() -> Span {
    Span::from_secs(1)
}

/// How the network learns who has the address: the key `mode`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// One node of a network segment is elected by VRRPv3 and announces it by ARP and neighbour
    /// discovery. The default.
    L2(#[garde(dive)] L2Config),
    /// Every node that serves has it, for a routing daemon to announce.
    Route(#[garde(dive)] RouteConfig),
    /// One node is elected by VRRPv3 among peers, and has a provider move the address to it.
    Hook(#[garde(dive)] HookConfig),
}

impl Default for Mode {
    fn default() -> Self {
        Self::L2(L2Config::default())
    }
}

/// The mode `l2`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct L2Config {
    /// The VRRP group, one for each VIP of a network segment: 1 to 255. Default: the last number of
    /// the first address.
    #[schemars(range(min = 1, max = 255))]
    #[garde(inner(range(min = 1, max = 255)))]
    pub vrid: Option<u8>,
    /// Which of several nodes that serve takes over first: the greater, the sooner; it never takes
    /// the address from a node that serves. From 0 to 47; default: by the node's own address.
    #[schemars(range(min = 0, max = 47))]
    #[garde(inner(range(min = 0, max = Rank::MOST)))]
    pub rank: Option<u8>,
    /// Time between two adverts of the owner: hundredths of a second, `10ms` to `40s`; default
    /// `100ms`. Without an advert for a little more than three of them another node takes over.
    #[garde(custom(between(Span::from_millis(10), Span::from_secs(40))), custom(centiseconds))]
    pub interval: Span,
    /// Nodes that are sent adverts one by one, beside those that hear multicast: for networks that
    /// drop multicast. The file may be the same everywhere: a node does not send to itself.
    /// Default none.
    #[garde(length(max = 32))]
    pub peers: Vec<IpAddr>,
    /// The checksum of IPv4 adverts: `keepalived`, as that and others understand RFC 5798, or
    /// `rfc9568`. Either is accepted. Default `keepalived`.
    #[garde(skip)]
    pub checksum: Checksum,
    /// What the owner does when something that is not evenkeel uses the address too: `defend`, by
    /// announcing it again, or `yield`. Default `defend`.
    #[garde(skip)]
    pub conflict: Conflict,
}

impl Default for L2Config {
    fn default() -> Self {
        Self {
            vrid: None,
            rank: None,
            interval: Span::from_millis(100),
            peers: Vec::new(),
            checksum: Checksum::default(),
            conflict: Conflict::default(),
        }
    }
}

/// The mode `route`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RouteConfig {}

/// What a node does that is cut off: the key `lastSurvivor`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum LastSurvivor {
    /// It gives the address up.
    #[default]
    Release,
    /// It keeps it.
    Keep,
}

/// Whether clients are led to another port: the key `redirect`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Redirect {
    /// Where it is needed.
    #[default]
    Auto,
    /// They are.
    Always,
    /// They are not.
    Never,
}

/// What the owner does about a stranger: the key `conflict`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum Conflict {
    /// It announces the address again.
    #[default]
    Defend,
    /// It gives way.
    Yield,
}

impl VipConfig {
    /// The VRRP group: as set, or the last number of the first address, and 1 where that is 0.
    pub fn vrid(&self) -> u8 {
        let set = match &self.mode {
            Mode::L2(l2) => l2.vrid,
            Mode::Hook(hook) => hook.vrid,
            Mode::Route(_) => None,
        };
        let last = match self.addresses.first() {
            Some(IpAddr::V4(address)) => address.octets()[3],
            Some(IpAddr::V6(address)) => address.octets()[15],
            None => 1,
        };
        set.unwrap_or_else(|| last.max(1))
    }

    /// The rank that is set, if one is.
    pub fn rank(&self) -> Option<Rank> {
        let set = match &self.mode {
            Mode::L2(l2) => l2.rank,
            Mode::Hook(hook) => hook.rank,
            Mode::Route(_) => None,
        };
        set.and_then(Rank::new)
    }

    /// The nodes that are sent adverts one by one.
    pub fn peers(&self) -> &[IpAddr] {
        match &self.mode {
            Mode::L2(l2) => &l2.peers,
            Mode::Hook(hook) => &hook.peers,
            Mode::Route(_) => &[],
        }
    }

    /// Whether one of several nodes is elected.
    pub fn elects(&self) -> bool {
        match self.mode {
            Mode::L2(_) | Mode::Hook(_) => true,
            Mode::Route(_) => false,
        }
    }

    /// Whether the addresses are put on an interface of the owner.
    pub fn assigns(&self) -> bool {
        match &self.mode {
            Mode::L2(_) | Mode::Route(_) => true,
            Mode::Hook(hook) => hook.assign,
        }
    }

    /// How long it takes at most until another node that serves has the address, after the owner was
    /// heard last: three intervals and the longest skew of a healthy node (RFC 9568, 6.1). `None`
    /// where nobody is elected.
    pub fn taken_over_within(&self) -> Option<Duration> {
        let least = Class::Healthy.priority(Rank::default());
        let skew = self.interval() * (256 - u32::from(least)) / 256;
        self.elects().then(|| self.interval() * SILENT_INTERVALS + skew)
    }

    /// How long it takes at most until another node has the address of one whose data plane hangs:
    /// it is not renewed any more, and handed over before the kernel takes it.
    pub fn hung_within(&self) -> Duration {
        BEAT + self.lifetime.duration() + self.taken_over_within().unwrap_or_default()
    }

    /// How long the kernel of an owner that was killed answers for the address at most.
    pub fn gone_within(&self) -> Duration {
        self.lifetime.duration() + LATE_EXPIRY
    }

    /// The mode's name, as in the config.
    pub fn mode_name(&self) -> &'static str {
        match self.mode {
            Mode::L2(_) => "l2",
            Mode::Route(_) => "route",
            Mode::Hook(_) => "hook",
        }
    }

    /// The time between two adverts.
    pub fn interval(&self) -> Duration {
        match &self.mode {
            Mode::L2(l2) => l2.interval.duration(),
            Mode::Hook(hook) => hook.interval.duration(),
            Mode::Route(_) => L2Config::default().interval.duration(),
        }
    }
}

/// The longest name of an interface (IFNAMSIZ - 1, netdevice(7)).
const INTERFACE_NAME: usize = 15;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn interface_name(name: &str, (): &()) -> garde::Result {
    let legal = |c: char| c.is_ascii_graphic() && c != '/';
    if (1..=INTERFACE_NAME).contains(&name.len()) && name.chars().all(legal) {
        return Ok(());
    }
    Err(garde::Error::new(format!("`{name}` is no name of an interface: up to 15 characters")))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
fn whole_seconds(span: &Span, (): &()) -> garde::Result {
    if span.duration().subsec_nanos() == 0 {
        return Ok(());
    }
    Err(garde::Error::new(format!("{span}: the kernel counts whole seconds")))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's signature")]
pub(crate) fn centiseconds(span: &Span, (): &()) -> garde::Result {
    if span.duration().subsec_nanos().is_multiple_of(10_000_000) {
        return Ok(());
    }
    Err(garde::Error::new(format!("{span}: VRRP counts hundredths of a second")))
}
