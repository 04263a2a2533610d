//! The keys `services[].listen`, `.connect` and `.relay`, and `dataPlane`.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::thread::available_parallelism;

use evenkeel_core::units::{Span, between};
use garde::Validate;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::first_flight::Replay;

/// What carries all services: the key `dataPlane`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct DataPlaneConfig {
    /// Threads that accept clients and move their bytes. From 1 to 256; default one for each CPU
    /// that this process may use.
    #[schemars(range(min = 1, max = 256))]
    #[garde(inner(range(min = 1, max = 256)))]
    pub threads: Option<u16>,
}

/// More threads than this share too little to be worth what each costs.
const MOST_THREADS: usize = 256;

impl DataPlaneConfig {
    /// The number of threads, 1 to 256, with the default filled in: the CPUs of this process's
    /// affinity and its cgroup's quota.
    pub fn threads(&self) -> usize {
        let threads = self
            .threads
            .map_or_else(|| available_parallelism().map_or(1, std::num::NonZero::get), usize::from);
        threads.clamp(1, MOST_THREADS)
    }
}

/// Where a service listens, and for how many clients: the key `listen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ListenConfig {
    /// The addresses to listen on: `0.0.0.0:6443` is every IPv4 address of the host, `[::]:6443`
    /// every IPv6 address.
    #[garde(length(min = 1))]
    pub addresses: Vec<ListenAddress>,
    /// Connections that may be open at once; further ones are reset at accept. From 1 to 1000000;
    /// default 16384. Each takes two file descriptors.
    #[serde(default = "default_max_connections")]
    #[garde(range(min = 1, max = 1_000_000))]
    pub max_connections: u32,
    /// Connections that may be open at once from one client; further ones are reset at accept. One
    /// client is one IPv4 address, or the /64 of an IPv6 address, so that all hosts behind a NAT
    /// or in a subnet of IPv6 are one. From 1 to 1000000; default none.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub max_connections_per_client: Option<u32>,
    /// Connections that are accepted a second; beyond it clients wait in the kernel's queue, so
    /// that a herd is paced and nobody refused. After a pause one second's worth may come at once.
    /// From 1 to 1000000; default none.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub accept_rate: Option<u32>,
    /// Connections a second from one client; further ones are reset at accept. After a pause one
    /// second's worth may come at once. From 1 to 1000000; default none.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000))]
    #[garde(inner(range(min = 1, max = 1_000_000)))]
    pub accept_rate_per_client: Option<u32>,
}

fn default_max_connections() -> u32 {
    16_384
}

impl ListenConfig {
    /// Listens on `addresses`, the rest as by default.
    pub fn on(addresses: Vec<ListenAddress>) -> Self {
        Self {
            addresses,
            max_connections: default_max_connections(),
            max_connections_per_client: None,
            accept_rate: None,
            accept_rate_per_client: None,
        }
    }
}

/// A local address and port to listen on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenAddress(SocketAddr);

/// Why a text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ListenAddressError {
    /// An IP address without a port.
    #[error("`{0}` has no port: write {with_port}", with_port = SocketAddr::new(*.0, 6443))]
    NoPort(IpAddr),
    /// A port without an IP address.
    #[error("`{0}` has no IP address: write 0.0.0.0:{port} for every IPv4 address", port = .0.trim_start_matches(':'))]
    NoAddress(String),
    /// Port 0, which nobody could know.
    #[error("port 0 in `{0}` is no port to listen on")]
    PortZero(String),
    /// Nonsense, or a name.
    #[error("`{0}` is not an IP address and port: write 0.0.0.0:6443 or [::]:6443")]
    NotAnAddress(String),
}

impl ListenAddress {
    /// An address to listen on; port 0 lets the kernel choose one.
    pub fn new(address: SocketAddr) -> Self {
        Self(address)
    }

    /// The address to bind.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for ListenAddress {
    type Err = ListenAddressError;

    fn from_str(text: &str) -> Result<Self, ListenAddressError> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            if address.port() == 0 {
                return Err(ListenAddressError::PortZero(text.to_owned()));
            }
            // IPv4 in IPv6 form is plain IPv4: an IPv6 socket of ours takes no IPv4 clients.
            return Ok(Self(match address.ip().to_canonical() {
                ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
                IpAddr::V6(_) => address,
            }));
        }
        let text = text.to_owned();
        if text.trim_start_matches(':').parse::<u16>().is_ok() {
            return Err(ListenAddressError::NoAddress(text));
        }
        match text.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(ip) => Err(ListenAddressError::NoPort(ip)),
            Err(_no_address) => Err(ListenAddressError::NotAnAddress(text)),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for ListenAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for ListenAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for ListenAddress {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ListenAddress".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A local IP address and port: 0.0.0.0:6443 or [::]:6443.",
            "examples": ["0.0.0.0:6443", "[::]:6443", "127.0.0.1:7445"],
        })
    }
}

/// How the backend side of a connection is opened: the key `connect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ConnectConfig {
    /// Wait for one backend to accept, after which the next one is tried as well: the first that
    /// accepts has the client. From `10ms` to `30s`; default `100ms`. Set it higher than the round
    /// trip to the backends.
    #[garde(custom(between(Span::from_millis(10), Span::from_secs(30))))]
    pub attempt_delay: Span,
    /// Longest wait for one backend to accept; then it is given up. From `10ms` to `30s`; default
    /// `2s`.
    #[garde(custom(between(Span::from_millis(10), Span::from_secs(30))))]
    pub attempt_timeout: Span,
    /// Longest wait for all attempts together, from the client's last byte on; then it is reset.
    /// From `10ms` to `1m`; default `5s`.
    #[garde(custom(between(Span::from_millis(10), Span::from_secs(60))))]
    pub timeout: Span,
    /// Which first bytes of a client may go to another backend, where one fails before its first
    /// byte: `clientHello` (a TLS ClientHello without early data), `anything` (up to 16 KiB; only
    /// where what a client says first may be heard twice) or `nothing`. Default `clientHello`.
    #[garde(skip)]
    pub replay: Replay,
}

impl Default for ConnectConfig {
    fn default() -> Self {
        Self {
            attempt_delay: Span::from_millis(100),
            attempt_timeout: Span::from_secs(2),
            timeout: Span::from_secs(5),
            replay: Replay::default(),
        }
    }
}

/// How an open connection is kept: the key `relay`. Where no leg is named it holds for both, the
/// client's and the backend's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RelayConfig {
    /// Resets a connection on which no byte has moved for this long. From `1s` to `24h`; default
    /// none, since a watch is silent for up to a minute and `kubectl exec` for hours.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(24 * 3600)))))]
    pub idle_timeout: Option<Span>,
    /// Resets a connection of which one side has ended, and on which no byte has moved for this
    /// long since: the other side may have missed it. One that both sides keep open is not
    /// concerned. From `1s` to `24h`; default `5m`.
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(24 * 3600))))]
    pub half_closed_timeout: Span,
    /// Silence after which the kernel asks whether the peer is still there. From `1s` to `2h`;
    /// default `15s`.
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(7200))))]
    pub keepalive_idle: Span,
    /// Pause between such questions. From `1s` to `10m`; default `5s`.
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(600))))]
    pub keepalive_interval: Span,
    /// Unanswered questions that end the connection. From 1 to 100; default 3.
    #[garde(range(min = 1, max = 100))]
    pub keepalive_count: u32,
    /// Longest wait for a peer to acknowledge what was sent (`TCP_USER_TIMEOUT`, tcp(7)); it also
    /// ends a live peer that takes nothing for so long. From `1s` to `1h`; default `30s`.
    #[garde(custom(between(Span::from_secs(1), Span::from_secs(3600))))]
    pub user_timeout: Span,
    /// The same for the client's leg alone. From `1s` to `1h`; default that of `userTimeout`.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(3600)))))]
    pub client_user_timeout: Option<Span>,
    /// The same for the backend's leg alone. From `1s` to `1h`; default that of `userTimeout`.
    #[garde(inner(custom(between(Span::from_secs(1), Span::from_secs(3600)))))]
    pub backend_user_timeout: Option<Span>,
}

impl RelayConfig {
    /// The `TCP_USER_TIMEOUT` of the client's leg.
    pub fn client_user_timeout(&self) -> Span {
        self.client_user_timeout.unwrap_or(self.user_timeout)
    }

    /// The `TCP_USER_TIMEOUT` of the backend's leg.
    pub fn backend_user_timeout(&self) -> Span {
        self.backend_user_timeout.unwrap_or(self.user_timeout)
    }
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            idle_timeout: None,
            half_closed_timeout: Span::from_secs(300),
            keepalive_idle: Span::from_secs(15),
            keepalive_interval: Span::from_secs(5),
            keepalive_count: 3,
            user_timeout: Span::from_secs(30),
            client_user_timeout: None,
            backend_user_timeout: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_address_is_told_how_to_be_right() {
        let error = |text: &str| text.parse::<ListenAddress>().unwrap_err().to_string();
        assert_eq!(error("0.0.0.0"), "`0.0.0.0` has no port: write 0.0.0.0:6443");
        assert_eq!(
            error(":6443"),
            "`:6443` has no IP address: write 0.0.0.0:6443 for every IPv4 address"
        );
        assert_eq!(error("127.0.0.1:0"), "port 0 in `127.0.0.1:0` is no port to listen on");
        assert_eq!(
            error("localhost:6443"),
            "`localhost:6443` is not an IP address and port: write 0.0.0.0:6443 or [::]:6443"
        );
        assert!("[::]:6443".parse::<ListenAddress>().is_ok());
        let mapped: ListenAddress = "[::ffff:127.0.0.1]:6443".parse().unwrap();
        assert_eq!(mapped.to_string(), "127.0.0.1:6443");
    }

    #[test]
    fn the_defaults_are_within_their_own_ranges() {
        assert!(ConnectConfig::default().validate().is_ok());
        assert!(RelayConfig::default().validate().is_ok());
        assert!(DataPlaneConfig::default().validate().is_ok());
        let listen = ListenConfig::on(vec![ListenAddress::new(([0, 0, 0, 0], 6443).into())]);
        assert!(listen.validate().is_ok());
    }

    #[test]
    fn a_leg_has_the_user_timeout_of_both_unless_it_has_its_own() {
        let both = RelayConfig { user_timeout: Span::from_secs(7), ..RelayConfig::default() };
        assert_eq!(both.client_user_timeout(), Span::from_secs(7));
        assert_eq!(both.backend_user_timeout(), Span::from_secs(7));
        let slow_clients = RelayConfig { client_user_timeout: Some(Span::from_secs(60)), ..both };
        assert_eq!(slow_clients.client_user_timeout(), Span::from_secs(60));
        assert_eq!(slow_clients.backend_user_timeout(), Span::from_secs(7));
    }

    #[test]
    fn there_is_always_a_thread_and_never_a_crowd() {
        let threads = |threads| DataPlaneConfig { threads }.threads();
        assert_eq!([Some(1), Some(3), Some(256)].map(threads), [1, 3, 256]);
        assert!((1..=MOST_THREADS).contains(&threads(None)));
        // Which the config's rules exclude, but a struct may hold.
        assert_eq!([Some(0), Some(u16::MAX)].map(threads), [1, 256]);
    }
}
