//! The config: from a file's text to a value that is valid as a whole.
//!
//! ```text
//! text -> tree::Node      every value with its place; only this folder knows the YAML library
//!      -> preset          what the service's preset fills in
//!      -> read            typed values; every mistake is noted, cut out, and reading goes on
//!      -> garde           ranges
//!      -> check           what spans tables
//!      -> Config
//! ```

mod check;
mod complete;
mod credentials;
mod failover;
mod mistake;
mod read;
mod syntax;
mod tree;
mod words;

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use evenkeel_admin::config::AdminConfig;
use evenkeel_core::tolerance::Quorum;
use evenkeel_core::units::{Span, between, is_name};
use evenkeel_discovery::source::Source;
use evenkeel_health::HealthConfig;
use evenkeel_proxy::{ConnectConfig, DataPlaneConfig, ListenConfig, Policy, RelayConfig};
use evenkeel_vip::config::VipConfig;
use garde::Validate;
use serde::{Deserialize, Serialize};

pub(crate) use self::check::{is_local, warnings};
pub(crate) use self::credentials::{CredentialsConfig, FileCredentials, KubeconfigCredentials};
pub(crate) use self::failover::{DrainConfig, FailoverConfig, RebalanceMode};
use self::mistake::Mistake;
pub(crate) use self::mistake::Mistakes;
use self::tree::{Node, Step, Value};
use crate::preset::Preset;

/// The one version that there is.
pub(crate) const API_VERSION: &str = "evenkeel.dev/v1alpha1";

/// A config file of evenkeel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "evenkeel config")]
pub(crate) struct Config {
    /// `evenkeel.dev/v1alpha1`.
    #[garde(skip)]
    pub(crate) api_version: ApiVersion,
    /// `LoadBalancer`.
    #[garde(skip)]
    pub(crate) kind: Kind,
    /// What is logged, and how.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) log: LogConfig,
    /// How the process goes down.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) shutdown: ShutdownConfig,
    /// The endpoint for people and Prometheus.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) admin: AdminConfig,
    /// What carries all services.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) data_plane: DataPlaneConfig,
    /// Addresses that move to a node that serves. Default none.
    #[serde(default)]
    #[garde(length(max = 16), dive)]
    pub(crate) vips: Vec<VipConfig>,
    /// What is balanced; at least one.
    #[garde(length(min = 1), dive)]
    pub(crate) services: Vec<ServiceConfig>,
}

/// The version of the config's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) enum ApiVersion {
    /// The first.
    #[serde(rename = "evenkeel.dev/v1alpha1")]
    V1Alpha1,
}

/// What the file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub(crate) enum Kind {
    /// A load balancer.
    LoadBalancer,
}

/// What is logged, and how: the key `log`.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct LogConfig {
    /// The least severe events that are logged. Default `info`: one line a change of state, none
    /// a connection or probe.
    #[garde(skip)]
    pub(crate) level: LogLevel,
    /// `auto` is text on a terminal and JSON elsewhere. Default `auto`.
    #[garde(skip)]
    pub(crate) format: LogFormat,
}

/// How severe an event must be to be logged.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LogLevel {
    /// Someone must act.
    Error,
    /// Degraded but serving.
    Warn,
    /// Changes of state.
    #[default]
    Info,
    /// One event a connection or probe.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a log line.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
    clap::ValueEnum,
)]
#[serde(rename_all = "camelCase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// How the process goes down: the key `shutdown`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ShutdownConfig {
    /// How long open connections may go on after SIGTERM; then they are reset. From `0s` to
    /// `24h`; default `30s`. A static pod's `terminationGracePeriodSeconds` must be longer.
    #[garde(custom(between(Span::from_secs(0), Span::from_secs(24 * 3600))))]
    pub(crate) drain_timeout: Span,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { drain_timeout: Span::from_secs(30) }
    }
}

/// A service: a named thing we balance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ServiceConfig {
    /// Its name in logs, metrics and status: lower-case letters, digits and `-`, up to 63.
    #[garde(custom(is_name))]
    pub(crate) name: String,
    /// Fills in what is right for the kind of server behind it; every key that is written wins
    /// over it. Default `tcp`.
    #[serde(default)]
    #[garde(skip)]
    pub(crate) preset: Preset,
    /// Where it listens.
    #[garde(dive)]
    pub(crate) listen: ListenConfig,
    /// Where its endpoints come from; at least one. What several name is united.
    #[garde(length(min = 1), dive)]
    pub(crate) sources: Vec<Source>,
    /// What the endpoints are known by and are shown. Default none: their identity is then not
    /// verified.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) credentials: Option<CredentialsConfig>,
    /// How its endpoints are probed.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) health: HealthConfig,
    /// What is done about endpoints that fail and come back.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) failover: FailoverConfig,
    /// How the backend side of a connection is opened.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) connect: ConnectConfig,
    /// How an open connection is kept.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) relay: RelayConfig,
    /// By which rule a backend is picked. Default `{leastConnections: {}}`.
    #[serde(default)]
    #[garde(dive)]
    pub(crate) policy: Policy,
    /// Whether the endpoint on this host goes before all others: for control-plane nodes, whose own
    /// API server answers without a trip over the network. As long as it is ready, and its minor
    /// version is not older than that of the rest. Default `false`.
    #[serde(default)]
    #[garde(skip)]
    pub(crate) local_first: bool,
    /// How many backends must be ready for the service to work, which is what `status` counts the
    /// failure tolerance from: `none` (one is enough) or `stacked` (a majority, since each API
    /// server stands for the etcd member on its node). Default `none`; with the preset
    /// `kube-apiserver`, `stacked`.
    #[serde(default)]
    #[garde(skip)]
    pub(crate) quorum: Quorum,
    /// How many members the service has, where that is more than its sources name. From 1 to 99;
    /// default: as many as were ever named since the start.
    #[serde(default)]
    #[schemars(range(min = 1, max = 99))]
    #[garde(inner(range(min = 1, max = 99)))]
    pub(crate) members: Option<u32>,
}

/// Why a file is no config.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {file}")]
    Unreadable {
        file: String,
        #[source]
        source: std::io::Error,
    },
    /// It is no config.
    #[error(transparent)]
    Wrong(#[from] Mistakes),
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, or with all that is wrong with it.
    pub(crate) fn load(path: &Path) -> Result<(Self, ConfigFile), ConfigError> {
        let file = path.display().to_string();
        let bytes = read_bounded(path)
            .map_err(|source| ConfigError::Unreadable { file: file.clone(), source })?;
        let config = Self::parse(&file, &bytes)?;
        Ok((config, ConfigFile { file, bytes }))
    }

    /// Reads the bytes of a file that is called `file`.
    ///
    /// # Errors
    /// With every mistake, in the order of lines.
    pub(crate) fn parse(file: &str, bytes: &[u8]) -> Result<Self, Mistakes> {
        let mut mistakes = Vec::new();
        let config = Self::parse_noting(bytes, &mut mistakes);
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            Some(_) | None => {
                let text = String::from_utf8_lossy(bytes);
                Err(Mistakes::new(file, text.trim_start_matches('\u{feff}'), mistakes))
            }
        }
    }

    fn parse_noting(bytes: &[u8], mistakes: &mut Vec<Mistake>) -> Option<Self> {
        let mut root = match Node::read(bytes, mistakes) {
            Ok(root) => root,
            Err(mistake) => {
                mistakes.push(mistake);
                return None;
            }
        };
        complete::complete(&mut root);
        let config: Self = read::read(&mut root, mistakes)?;
        if let Err(report) = config.validate() {
            for (path, error) in report.iter() {
                let steps = steps(path);
                let (node, _) = root.find(&steps);
                // What is too short for having been cut, or made up, is no mistake of its own.
                if node.pruned.is_empty() && !node.made_up {
                    mistakes.push(Mistake::new(node.place, in_words(error.message(), node)));
                }
            }
        }
        check::check(&config, &root, mistakes);
        Some(config)
    }

    /// The config as YAML, with everything that presets and defaults fill in.
    ///
    /// # Errors
    /// If a value cannot be written, which a test excludes.
    pub(crate) fn to_yaml(&self) -> anyhow::Result<String> {
        // By way of JSON, whose objects have one form in YAML whatever serde's attributes say.
        let value = serde_json::to_value(self)?;
        Ok(serde_saphyr::to_string(&without_nulls(value))?)
    }
}

/// The file that a config was read from.
#[derive(Debug)]
pub(crate) struct ConfigFile {
    pub(crate) file: String,
    pub(crate) bytes: Vec<u8>,
}

/// A finding that does not make the config invalid.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Warning(pub(crate) String);

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warning: {}", self.0)
    }
}

/// Reads a file, and of one that is too large only enough to know it.
fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(tree::LARGEST).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What garde says of a node, with what is written there: its own rules do not name the value.
fn in_words(message: &str, node: &Node) -> String {
    match (&node.value, message) {
        (Value::Sequence(items), _) if items.is_empty() => {
            "the list is empty: write at least one".to_owned()
        }
        (Value::Integer(_, written) | Value::Text(written), _)
            if message.starts_with("lower than") || message.starts_with("greater than") =>
        {
            format!("`{written}` is {message}")
        }
        _ => message.to_owned(),
    }
}

fn without_nulls(value: serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(entries) => entries
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key, without_nulls(value)))
            .collect(),
        serde_json::Value::Array(items) => items.into_iter().map(without_nulls).collect(),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => value,
    }
}

/// The steps of a garde path, whose names are those of Rust's fields.
fn steps(path: &garde::Path) -> Vec<Step> {
    let text = path.to_string();
    let mut steps = Vec::new();
    for part in text.split('.') {
        let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
        if !name.is_empty() {
            steps.push(Step::Key(camel_case(name)));
        }
        for index in indices.split(['[', ']']).filter_map(|index| index.parse().ok()) {
            steps.push(Step::Index(index));
        }
    }
    steps
}

fn camel_case(name: &str) -> String {
    let mut result = String::new();
    let mut upper = false;
    for c in name.chars() {
        if c == '_' {
            upper = true;
        } else if upper {
            result.push(c.to_ascii_uppercase());
            upper = false;
        } else {
            result.push(c);
        }
    }
    result
}

#[cfg(test)]
mod tests;
