//! The version of a kube-apiserver: whether one is behind the others.

use std::fmt;

use evenkeel_core::endpoint::Endpoint;

use super::request::{Exchange, answer_within};
use super::target::Target;
use super::{KubeApiserverProbe, Probe};
use crate::attempt::Record;
use crate::config::HealthConfig;
use crate::trust::{Trust, Verify};

/// A minor version of Kubernetes. Patches are no concern of the version skew policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// Of a `gitVersion`: `v1.37.2`, `v1.36.0+k3s1`.
    fn of(git_version: &str) -> Option<Self> {
        let mut numbers = git_version.strip_prefix('v')?.split(['.', '+', '-']);
        let mut number = || numbers.next()?.parse().ok();
        Some(Self { major: number()?, minor: number()? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Asks a kube-apiserver for `/version`, with the timeouts of `config`. `None` if it does not say:
/// it is down, or wants a credential, or the probe of `config` is not `kubeApiserver`.
///
/// # Cancel safety
/// Dropping it closes what it opened.
pub async fn version(config: &HealthConfig, trust: &Trust, endpoint: Endpoint) -> Option<Version> {
    let Probe::KubeApiserver(KubeApiserverProbe { server_name }) = &config.probe else {
        return None;
    };
    let target = Target::new(config, trust, endpoint, Some(server_name), Verify::Auto).ok()?;
    let stream = target.open(&mut Record::default()).await.ok()?;
    let mut exchange = Exchange::new(stream).await.ok()?;
    let asking = answer_within(config.answer_timeout, exchange.get(&target, "/version"));
    let answer = asking.await.ok()?;
    exchange.close().await;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    Version::of(body.get("gitVersion")?.as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minor_version_is_what_counts() {
        let of = |text| Version::of(text).map(|version| version.to_string());
        for (text, version) in [
            ("v1.37.2", Some("1.37")),
            ("v1.36.0+k3s1", Some("1.36")),
            ("v1.9.0-alpha.1", Some("1.9")),
            ("1.37.2", None),
            ("v1", None),
            ("vx.y", None),
            ("", None),
        ] {
            assert_eq!(of(text).as_deref(), version, "{text}");
        }
        assert!(Version::of("v1.9.9") < Version::of("v1.10.0"));
        assert!(Version::of("v1.37.1") == Version::of("v1.37.2"));
        assert!(None < Version::of("v1.37.2"), "who does not say is not newer than who does");
    }
}
