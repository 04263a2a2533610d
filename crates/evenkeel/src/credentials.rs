//! Follows the files of a service's credentials: a renewed certificate or token is used without a
//! restart, and a file that cannot be read leaves what was read before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::credentials::{ClientCertificate, Credentials};
use evenkeel_discovery::access::{ClusterAccess, Server};
use evenkeel_discovery::in_cluster::{self, InClusterError};
use evenkeel_discovery::kubeconfig::{self, KubeconfigError};
use evenkeel_health::{Trust, TrustError};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::config::CredentialsConfig;

/// How often the files are looked at. A kubelet renews a token minutes before it ends.
const PERIOD: Duration = Duration::from_secs(10);

/// The two variables by which a pod knows its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodEnvironment {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<String>,
}

/// Why credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("could not read {path}", path = .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error("kubeconfig")]
    Kubeconfig(#[source] KubeconfigError),
    #[error("service account")]
    InCluster(#[source] InClusterError),
    #[error("credentials")]
    Trust(#[from] TrustError),
}

/// What a service has of its credentials now.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// For probes.
    pub(crate) trust: watch::Receiver<Arc<Trust>>,
    /// For the Kubernetes API; `None` where the credentials name no cluster.
    pub(crate) access: watch::Receiver<Option<ClusterAccess>>,
    /// What is wrong with them, in one line.
    pub(crate) trouble: watch::Receiver<Option<String>>,
}

/// Reads the credentials and follows their files.
#[derive(Debug)]
pub(crate) struct Follower {
    service: String,
    config: CredentialsConfig,
    pod: PodEnvironment,
    trust: watch::Sender<Arc<Trust>>,
    access: watch::Sender<Option<ClusterAccess>>,
    trouble: watch::Sender<Option<String>>,
}

/// The identity of a service without credentials.
///
/// # Errors
/// If the TLS library has none of what it needs.
pub(crate) fn anonymous() -> Result<Identity, CredentialsError> {
    let trust = Arc::new(Trust::new(&Credentials::default())?);
    Ok(Identity {
        trust: watch::Sender::new(trust).subscribe(),
        access: watch::Sender::new(None).subscribe(),
        trouble: watch::Sender::new(None).subscribe(),
    })
}

impl Follower {
    /// Reads the credentials once. Where that fails, the service starts without them and says so:
    /// on a node that boots the files may come later than we do.
    ///
    /// # Errors
    /// If the TLS library has none of what it needs.
    pub(crate) fn new(
        service: &str,
        config: CredentialsConfig,
        pod: PodEnvironment,
    ) -> Result<(Self, Identity), CredentialsError> {
        let follower = Self {
            service: service.to_owned(),
            config,
            pod,
            trust: watch::Sender::new(Arc::new(Trust::new(&Credentials::default())?)),
            access: watch::Sender::new(None),
            trouble: watch::Sender::new(None),
        };
        follower.look(&mut Credentials::default());
        let identity = Identity {
            trust: follower.trust.subscribe(),
            access: follower.access.subscribe(),
            trouble: follower.trouble.subscribe(),
        };
        Ok((follower, identity))
    }

    /// Follows the files until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut known = self.access.borrow().as_ref().map(|a| a.credentials.clone());
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            self.look(known.get_or_insert_default());
        }
    }

    /// Reads the files, and publishes what has changed.
    fn look(&self, known: &mut Credentials) {
        match read(&self.config, &self.pod).and_then(|access| {
            let changed = access.credentials != *known;
            let trust = if changed { Some(Trust::new(&access.credentials)?) } else { None };
            Ok((access, trust))
        }) {
            Ok((access, trust)) => {
                if let Some(trust) = trust {
                    tracing::info!(
                        service = %self.service,
                        verifies_identity = trust.verifies_identity(),
                        "credentials read"
                    );
                    *known = access.credentials.clone();
                    self.trust.send_replace(Arc::new(trust));
                }
                for unsupported in &access.unsupported {
                    let new = self
                        .access
                        .borrow()
                        .as_ref()
                        .is_none_or(|old| !old.unsupported.contains(unsupported));
                    if new {
                        tracing::warn!(service = %self.service, "{unsupported}");
                    }
                }
                self.access.send_if_modified(|old| {
                    let changed = old.as_ref() != Some(&access);
                    if changed {
                        *old = Some(access);
                    }
                    changed
                });
                self.trouble.send_if_modified(|trouble| trouble.take().is_some());
            }
            Err(error) => {
                let error = anyhow::Error::new(error);
                let text = format!("{error:#}");
                self.trouble.send_if_modified(|trouble| {
                    let new = trouble.as_ref() != Some(&text);
                    if new {
                        tracing::error!(
                            service = %self.service,
                            error = %text,
                            "credentials cannot be used; those read before stay in force"
                        );
                        *trouble = Some(text);
                    }
                    new
                });
            }
        }
    }
}

/// Reads the credentials as they are now.
///
/// # Errors
/// Says which file cannot be read or used.
pub(crate) fn read(
    config: &CredentialsConfig,
    pod: &PodEnvironment,
) -> Result<ClusterAccess, CredentialsError> {
    let file = |path: &Path| {
        std::fs::read(path)
            .map_err(|source| CredentialsError::Unreadable { path: path.to_owned(), source })
    };
    match config {
        CredentialsConfig::Kubeconfig(config) => {
            let access = kubeconfig::read(&config.file, config.context.as_deref())
                .map_err(CredentialsError::Kubeconfig)?;
            Ok(honest(access))
        }
        CredentialsConfig::InCluster(_) => {
            let directory = Path::new(in_cluster::SERVICE_ACCOUNT);
            in_cluster::read(directory, pod.host.as_deref(), pod.port.as_deref())
                .map_err(CredentialsError::InCluster)
        }
        CredentialsConfig::Files(config) => {
            let certificate = match (&config.certificate, &config.key) {
                (Some(chain), Some(key)) => {
                    Some(ClientCertificate { chain: file(chain)?, key: file(key)? })
                }
                (Some(_) | None, None) | (None, Some(_)) => None,
            };
            let token = config.token.as_deref().map(file).transpose()?;
            let credentials = Credentials {
                ca: config.ca.as_deref().map(file).transpose()?,
                certificate,
                token: token.map(|token| String::from_utf8_lossy(&token).trim().to_owned()),
            };
            Ok(ClusterAccess {
                // Files name no server: the API is asked through the endpoints alone.
                server: Server { host: String::new(), port: 6443 },
                tls_server_name: None,
                credentials,
                namespace: "default".to_owned(),
                insecure: false,
                unsupported: Vec::new(),
            })
        }
    }
}

/// A kubeconfig that says not to verify is taken at its word also where it has a CA.
fn honest(mut access: ClusterAccess) -> ClusterAccess {
    if access.insecure {
        access.credentials.ca = None;
    }
    access
}
