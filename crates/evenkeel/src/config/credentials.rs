//! The key `services[].credentials`.

use std::path::PathBuf;

use garde::Validate;
use serde::{Deserialize, Serialize};

/// What a service's endpoints are known by, and what they are shown of us: the key `credentials`.
/// The files are followed: a change is used within half a minute, without a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum CredentialsConfig {
    /// From a kubeconfig: its CA, and its client certificate or token.
    Kubeconfig(#[garde(dive)] KubeconfigCredentials),
    /// From files of their own.
    Files(#[garde(dive)] FileCredentials),
    /// From the service account of the pod that evenkeel runs in.
    InCluster(#[garde(dive)] InClusterCredentials),
}

/// The settings of `kubeconfig`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub(crate) struct KubeconfigCredentials {
    /// The kubeconfig's path.
    pub(crate) file: PathBuf,
    /// The context to use. Default: the file's current one.
    #[serde(default)]
    pub(crate) context: Option<String>,
}

/// The settings of `files`; every file is PEM, but the token.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub(crate) struct FileCredentials {
    /// The cluster's CA, for example `/etc/kubernetes/pki/ca.crt`. Default none: the identity of
    /// the endpoints is not verified.
    pub(crate) ca: Option<PathBuf>,
    /// Our client certificate; goes with `key`. Default none.
    pub(crate) certificate: Option<PathBuf>,
    /// The private key of `certificate`. Default none.
    pub(crate) key: Option<PathBuf>,
    /// A bearer token, used where there is no client certificate. Default none.
    pub(crate) token: Option<PathBuf>,
}

/// The settings of `inCluster`: none.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, Validate, schemars::JsonSchema,
)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[garde(allow_unvalidated)]
pub(crate) struct InClusterCredentials {}

impl CredentialsConfig {
    /// Whether a CA comes with it, as far as the config tells.
    pub(crate) fn has_ca(&self) -> bool {
        match self {
            Self::Kubeconfig(_) | Self::InCluster(_) => true,
            Self::Files(files) => files.ca.is_some(),
        }
    }
}
