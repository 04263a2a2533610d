//! The key `admin`.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use garde::Validate;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Where people and Prometheus look at the process: the key `admin`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AdminConfig {
    /// The address to listen on, one of loopback, or `off`. Default `127.0.0.1:9643`.
    #[garde(custom(on_loopback))]
    pub listen: AdminListen,
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminListen {
    /// No listener.
    Off,
    /// A listener on this address.
    On(SocketAddr),
}

/// The default of `admin.listen`.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9643));

impl AdminListen {
    /// The address, if there is a listener.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::On(address) => Some(address),
        }
    }
}

impl Default for AdminListen {
    fn default() -> Self {
        Self::On(DEFAULT_LISTEN)
    }
}

/// Why a text says not where to listen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address to listen on: write {DEFAULT_LISTEN}, or off")]
pub struct AdminListenError(String);

impl FromStr for AdminListen {
    type Err = AdminListenError;

    fn from_str(text: &str) -> Result<Self, AdminListenError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        text.parse().map(Self::On).map_err(|_not_an_address| AdminListenError(text.to_owned()))
    }
}

impl fmt::Display for AdminListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(address) => address.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for AdminListen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for AdminListen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for AdminListen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AdminListen".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "An IP address of loopback with a port, or off.",
            "examples": ["127.0.0.1:9643", "[::1]:9643", "off"],
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's form of a rule")]
fn on_loopback(listen: &AdminListen, (): &()) -> garde::Result {
    match listen.address() {
        Some(address) if !address.ip().to_canonical().is_loopback() => Err(garde::Error::new(
            format!("{address} is not on loopback: what is shown there is for this host only"),
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<AdminConfig, String> {
        let config: AdminConfig = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.validate().map_err(|report| report.to_string())?;
        Ok(config)
    }

    #[test]
    fn the_default_is_a_port_on_loopback() {
        assert_eq!(parse("{}").unwrap().listen.address(), Some(DEFAULT_LISTEN));
        assert_eq!(parse(r#"{"listen": "off"}"#).unwrap().listen.address(), None);
        assert!(parse(r#"{"listen": "[::1]:9643"}"#).is_ok());
    }

    #[test]
    fn another_address_than_loopback_is_refused() {
        for address in ["0.0.0.0:9643", "10.0.0.5:9643", "[::]:9643", "[::ffff:10.0.0.5]:9643"] {
            let error = parse(&format!(r#"{{"listen": "{address}"}}"#)).unwrap_err();
            assert!(error.contains("is not on loopback"), "{address}: {error}");
        }
    }

    #[test]
    fn nonsense_is_told_what_to_write() {
        let error = parse(r#"{"listen": "9643"}"#).unwrap_err();
        assert!(error.contains("write 127.0.0.1:9643, or off"), "{error}");
        assert!(parse(r#"{"port": 9643}"#).unwrap_err().contains("unknown field `port`"));
    }

    #[test]
    fn what_is_written_reads_back() {
        for json in [r#"{"listen":"off"}"#, r#"{"listen":"127.0.0.1:1"}"#] {
            assert_eq!(serde_json::to_string(&parse(json).unwrap()).unwrap(), json);
        }
    }
}
