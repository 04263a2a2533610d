//! One member: its host, its etcd and its kube-apiserver, and their command lines.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::etcd;
use super::membership::MembershipError;
use super::options::Options;
use crate::assets::Assets;
use crate::certificates::{CertificateError, Certificates};
use crate::host::{EnterError, Host};
use crate::https::{Connection, HttpsError, Identity, IdentityError, debug, in_one_line};
use crate::network::NetworkError;
use crate::process::{Process, ProcessError};

/// Why a control plane, or a member of it, did not start.
#[derive(thiserror::Error)]
pub enum StartError {
    /// A host was not made.
    #[error("could not make a host")]
    Network(#[from] NetworkError),
    /// A host could not be entered.
    #[error("could not look at a host from inside")]
    Enter(#[from] EnterError),
    /// The certificates were not made.
    #[error("could not make the certificates")]
    Certificates(#[from] CertificateError),
    /// The certificates are no good.
    #[error("could not use the certificates")]
    Identity(#[from] IdentityError),
    /// A process was not started.
    #[error("could not start a process")]
    Process(#[from] ProcessError),
    /// A process ended instead of becoming ready.
    #[error("{name} has ended; the end of its log:\n{log}")]
    Ended {
        /// Which process.
        name: String,
        /// The end of its log.
        log: String,
    },
    /// A kube-apiserver runs but does not say that it is ready.
    #[error("{name} was not ready after {after:?} ({last}); the end of its log:\n{log}")]
    NotReady {
        /// Which process.
        name: String,
        /// How long it was waited for.
        after: Duration,
        /// What it said last.
        last: String,
        /// The end of its log.
        log: String,
    },
    /// The EndpointSlice does not list who is ready.
    #[error("the members are not all in the EndpointSlice default/kubernetes")]
    Endpoints(#[from] MembershipError),
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(self, f)
    }
}

#[derive(Debug)]
pub(super) struct Node {
    host: Host,
    assets: Assets,
    apiserver_flags: Vec<String>,
    etcd: Option<Process>,
    apiserver: Option<Process>,
}

impl Node {
    pub(super) fn new(
        host: Host,
        assets: &Assets,
        certificates: &Certificates,
        options: &Options,
    ) -> Self {
        let apiserver_flags = apiserver_flags(&host, certificates, options);
        Self { host, assets: assets.clone(), apiserver_flags, etcd: None, apiserver: None }
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn etcd(&self) -> Option<&Process> {
        self.etcd.as_ref()
    }

    pub(super) fn apiserver(&self) -> Option<&Process> {
        self.apiserver.as_ref()
    }

    /// Takes its kube-apiserver from it, for who ends it.
    pub(super) fn take_apiserver(&mut self) -> Option<Process> {
        self.apiserver.take()
    }

    pub(super) fn give_apiserver(&mut self, apiserver: Process) {
        self.apiserver = Some(apiserver);
    }

    pub(super) fn start_etcd(&mut self, initial_cluster: &str) -> Result<(), ProcessError> {
        let mut command = self.assets.etcd.on(&self.host);
        command.args(etcd::flags(&self.host, initial_cluster)).env("GOGC", GOGC);
        self.etcd = Some(self.host.spawn("etcd", command)?);
        Ok(())
    }

    /// Starts kube-apiserver; one that ran before is killed.
    pub(super) fn start_apiserver(&mut self) -> Result<(), ProcessError> {
        self.apiserver = None;
        let mut command = self.assets.kube_apiserver.on(&self.host);
        command.args(&self.apiserver_flags).env("GOGC", GOGC);
        self.apiserver = Some(self.host.spawn("kube-apiserver", command)?);
        Ok(())
    }

    pub(super) fn apiserver_log(&self) -> String {
        self.apiserver.as_ref().map(Process::log_tail).unwrap_or_default()
    }

    /// Waits until `/readyz` says 200, asked on the host itself: a cut link does not hide it.
    pub(super) fn wait_ready(&self, admin: &Identity, limit: Duration) -> Result<(), StartError> {
        let processes: Vec<&Process> = self.etcd.iter().chain(&self.apiserver).collect();
        self.host.block_on(async {
            let deadline = Instant::now() + limit;
            loop {
                if let Some(ended) = processes.iter().find(|process| !process.is_running()) {
                    let (name, log) = (ended.name().to_owned(), ended.log_tail());
                    return Err(StartError::Ended { name, log });
                }
                let last = match timeout(ANSWER, readyz(admin)).await {
                    Ok(Ok(())) => return Ok(()),
                    Ok(Err(error)) => in_one_line(&error),
                    Err(elapsed) => elapsed.to_string(),
                };
                if Instant::now() >= deadline {
                    let name = format!("kube-apiserver of {}", self.host.name());
                    let log = self.apiserver_log();
                    return Err(StartError::NotReady { name, after: limit, last, log });
                }
                sleep(PAUSE).await;
            }
        })?
    }
}

async fn readyz(admin: &Identity) -> Result<(), HttpsError> {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    Connection::secure(here, admin).await?.get("/readyz").await.map(drop)
}

fn apiserver_flags(host: &Host, certificates: &Certificates, options: &Options) -> Vec<String> {
    let path = |path: PathBuf| path.display().to_string();
    let serving = certificates.credentials(host.name());
    let mut flags: Vec<String> = [
        ("advertise-address", host.ipv4().to_string()),
        // Both families.
        ("bind-address", "::".to_owned()),
        ("secure-port", PORT.to_string()),
        ("etcd-servers", etcd::CLIENT_URL.to_owned()),
        ("client-ca-file", path(certificates.ca())),
        ("tls-cert-file", path(serving.certificate)),
        ("tls-private-key-file", path(serving.key)),
        ("cert-dir", certificates.directory().display().to_string()),
        ("service-account-issuer", "https://kubernetes.default.svc.cluster.local".to_owned()),
        ("service-account-key-file", path(certificates.service_account_public_key())),
        ("service-account-signing-key-file", path(certificates.service_account_key())),
        ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("anonymous-auth", options.anonymous.to_string()),
        ("shutdown-delay-duration", format!("{}ms", options.shutdown_delay.as_millis())),
        // No controller makes service accounts here, and no test that starts a pod can run it.
        ("disable-admission-plugins", "ServiceAccount".to_owned()),
        ("profiling", "false".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| format!("--{name}={value}"))
    .collect();
    flags.extend(options.apiserver_flags.iter().cloned());
    flags
}

pub(super) const PORT: u16 = 6443;

/// Go collects garbage four times less often: starting is mostly that, and memory is there.
const GOGC: &str = "400";

/// How long one `/readyz` may take, and the pause after it.
const ANSWER: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
