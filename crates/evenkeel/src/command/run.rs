//! `evenkeel run`: balances until it is told to end.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use evenkeel_proxy::describe as describe_proxy;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

use crate::args::{Args, RunArgs};
use crate::balancer::{Ended, LoadBalancer};
use crate::config::{API_VERSION, Config, ConfigError, warnings};
use crate::credentials::{self, PodEnvironment};
use crate::exit::Exit;
use crate::log;
use crate::signals::Signals;

pub(super) fn run(args: &Args, run: &RunArgs) -> anyhow::Result<Exit> {
    let pod = PodEnvironment {
        host: run.pod.kubernetes_service_host.clone(),
        port: run.pod.kubernetes_service_port.clone(),
    };
    let (config, hash) = config(run, &pod)?;
    log::set_up(args, &config.log);
    for warning in warnings(&config) {
        tracing::warn!("{}", warning.0);
    }
    raise_descriptor_limit(&config);
    warn_of_short_queues();
    super::control()?.block_on(balance(config, hash, pod))
}

async fn balance(config: Config, hash: String, pod: PodEnvironment) -> anyhow::Result<Exit> {
    // First of all, so that no signal finds us unprepared, and no metric handle is made in vain.
    let mut signals = Signals::new().context("signals")?;
    let prometheus = evenkeel_admin::metrics::install_recorder().context("metrics")?;
    describe_metrics(&hash);

    let balancer = LoadBalancer::start(config, hash, prometheus, pod).await?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        services = balancer.services.len(),
        admin = balancer.admin.map_or_else(|| "off".to_owned(), |a| a.to_string()),
        "balancing"
    );
    let drain = balancer.shutdown.drain.clone();
    let signal = tokio::select! {
        signal = signals.end() => Some(signal),
        () = drain.cancelled() => None,
    };
    let early = balancer.ended_early();
    if let Some(signal) = signal {
        tracing::info!(signal, "draining: a second signal ends it at once");
    } else {
        tracing::error!(task = early.unwrap_or("unknown"), "draining: a task ended early");
    }
    let ended = balancer
        .end(async {
            signals.end().await;
        })
        .await;
    tracing::info!(ended = ?ended, "ended");
    Ok(match (early, ended) {
        (Some(_), _) => Exit::Failure,
        (None, Ended::Hurried) => Exit::Undrained,
        (None, Ended::Drained | Ended::TimedOut) => Exit::Done,
    })
}

pub(super) fn describe_metrics(hash: &str) {
    evenkeel_admin::metrics::describe();
    evenkeel_admin::metrics::set_build_info(env!("CARGO_PKG_VERSION"), "unknown");
    describe_proxy();
    evenkeel_health::describe();
    evenkeel_discovery::metrics::describe();
    crate::metrics::describe();
    crate::vip::describe();
    evenkeel_vip::describe();
    metrics::gauge!("evenkeel_config_info", "hash" => hash.to_owned()).set(1.0);
}

/// The config of the file, or the one that the kubeconfig stands for.
fn config(run: &RunArgs, pod: &PodEnvironment) -> anyhow::Result<(Config, String)> {
    if let Some(path) = &run.config {
        let (config, file) = Config::load(path)?;
        return Ok((config, hash(&file.bytes)));
    }
    let kubeconfig = run.kubeconfig.as_deref().context("--config or --kubeconfig")?;
    let text = of_kubeconfig(kubeconfig, run).to_string();
    let config = Config::parse("(command line)", text.as_bytes()).map_err(ConfigError::from)?;
    // Named by hand, so it must be there: a typo is better told now than in the log.
    for service in &config.services {
        if let Some(credentials) = &service.credentials {
            credentials::read(credentials, pod)?;
        }
    }
    Ok((config, hash(text.as_bytes())))
}

fn of_kubeconfig(kubeconfig: &Path, run: &RunArgs) -> serde_json::Value {
    let default = SocketAddr::from(([0, 0, 0, 0], 6443));
    let mut credentials = json!({ "file": kubeconfig });
    if let Some(context) = &run.context {
        credentials["context"] = json!(context);
    }
    let mut config = json!({
        "apiVersion": API_VERSION,
        "kind": "LoadBalancer",
        "services": [{
            "name": "kube-apiserver",
            "preset": "kube-apiserver",
            "listen": {"addresses": [run.listen.unwrap_or(default)]},
            "credentials": {"kubeconfig": credentials},
            "sources": [{"endpointSlice": {}}],
        }],
    });
    if let Some(admin) = run.admin_listen {
        config["admin"] = json!({ "listen": admin });
    }
    config
}

/// Twelve digits that tell one config from another; the same on every node.
pub(super) fn hash(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{:012x}", hasher.finish() & 0xffff_ffff_ffff)
}

/// Raises the soft limit of file descriptors to the hard one, and says if that is too few.
fn raise_descriptor_limit(config: &Config) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of file descriptors cannot be raised");
    }
    let connections: u64 =
        config.services.iter().map(|service| u64::from(service.listen.max_connections)).sum();
    // Two a connection; the rest for pipes, listeners, probes and the admin endpoint.
    let wanted = connections.saturating_mul(2).saturating_add(512);
    if let Some(limit) = getrlimit(Resource::Nofile).current
        && limit < wanted
    {
        tracing::warn!(
            limit,
            wanted,
            "fewer file descriptors than listen.maxConnections may need: raise LimitNOFILE, or lower maxConnections"
        );
    }
}

/// Handshakes that the kernel should queue: after a failure thousands of clients come at once.
const HERD: u64 = 8192;

/// Says if the kernel would cut the queue of our listeners short.
fn warn_of_short_queues() {
    for key in ["net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog"] {
        let file = format!("/proc/sys/{}", key.replace('.', "/"));
        let length = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok());
        if let Some(length) = length.filter(|length: &u64| *length < HERD) {
            tracing::warn!(
                key,
                length,
                "a short queue: when many clients come at once, some wait a second or more; raise it to {HERD}"
            );
        }
    }
}
