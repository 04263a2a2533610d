//! What the demo plays on: pretend servers, the balancer before them, and clients.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use evenkeel_core::endpoint::Endpoint;
use evenkeel_lab::{ControlPlane, Load, LoadOptions, Options};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::balancer::LoadBalancer;
use crate::config::{API_VERSION, Config, ConfigError};
use crate::credentials::PodEnvironment;
use crate::service::{MemberView, Service, View};

/// How it is known that a kubeconfig is ours to overwrite.
const MARK: &str = "# Written by `evenkeel demo`, for a pretend cluster that ends with it.\n";

/// Longer than anything in the story takes, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// What others than the story's clients are left to end in.
const GRACE: Duration = Duration::from_secs(1);

pub(super) struct Stage {
    pub(super) plane: ControlPlane,
    pub(super) load: Load,
    balancer: LoadBalancer,
    kubeconfig: PathBuf,
    started: Instant,
    shown: u64,
}

impl Stage {
    /// Starts everything, and says where it is.
    ///
    /// # Errors
    /// If something cannot be started; nothing is left running then.
    pub(super) async fn set(kubeconfig: &Path, out: &mut impl Write) -> anyhow::Result<Self> {
        writeln!(
            out,
            "evenkeel demo: a pretend control plane inside this process; nothing outside 127.0.0.1 is touched\n"
        )?;
        let plane = ControlPlane::start(Options::default()).await.context("pretend servers")?;
        let [api, argocd, admin] = [16440, 16480, 9643].map(free_port);
        let [api, argocd, admin] = [api?, argocd?, admin?];
        write_kubeconfig(kubeconfig, &plane.kubeconfig(&format!("https://{api}")))?;
        let text = config(&plane, api, argocd, admin, kubeconfig).to_string();
        let config = Config::parse("(demo)", text.as_bytes()).map_err(ConfigError::from)?;
        let prometheus = evenkeel_admin::metrics::install_recorder().context("metrics")?;
        super::super::run::describe_metrics("demo");
        let balancer =
            LoadBalancer::start(config, "demo".to_owned(), prometheus, PodEnvironment::default())
                .await?;
        let load = Load::start(api, plane.ca_pem(), LoadOptions::default()).context("clients")?;

        let servers = |addresses: Vec<SocketAddr>| {
            addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" ")
        };
        writeln!(out, "  API servers  {}", servers(plane.addresses()))?;
        writeln!(out, "  ArgoCD       {}", servers(plane.argocd_addresses()))?;
        writeln!(out, "  evenkeel     {api} before the API servers, {argocd} before ArgoCD")?;
        writeln!(out, "  admin        http://{admin}/readyz, /metrics, /api/v1/status")?;
        writeln!(out, "  kubeconfig   {}", kubeconfig.display())?;
        writeln!(out, "  clients      40 new connections a second, 4 kept, 4 watches\n")?;
        let stage = Self {
            plane,
            load,
            balancer,
            kubeconfig: kubeconfig.to_owned(),
            started: Instant::now(),
            shown: 0,
        };
        Ok(stage)
    }

    /// What to try beside it.
    pub(super) fn hints(&self) -> String {
        let admin = self.balancer.admin.map_or_else(String::new, |a| format!(" --admin {a}"));
        format!(
            "  kubectl --kubeconfig {} get --raw /readyz?verbose\n  evenkeel status{admin}",
            self.kubeconfig.display()
        )
    }

    /// The API servers' service.
    fn service(&self) -> anyhow::Result<&Service> {
        self.balancer.services.first().context("no service")
    }

    /// The endpoint of an API server.
    pub(super) fn endpoint(&self, server: usize) -> Endpoint {
        Endpoint::new(self.plane.api_server(server).address())
    }

    /// The API server with the most open connections.
    pub(super) fn busiest(&self) -> usize {
        let servers = 0..self.plane.api_servers().len();
        servers.max_by_key(|server| self.plane.open_connections(*server)).unwrap_or(0)
    }

    /// Waits until `wanted` holds of the API servers' service, and shows what changes meanwhile.
    ///
    /// # Errors
    /// If it does not come to hold.
    pub(super) async fn until(
        &mut self,
        what: &str,
        out: &mut impl Write,
        wanted: impl Fn(&View) -> bool,
    ) -> anyhow::Result<Duration> {
        let mut view = self.service()?.view.clone();
        let since = Instant::now();
        loop {
            let holds = wanted(&view.borrow_and_update());
            self.show_new_events(out)?;
            if holds {
                return Ok(since.elapsed());
            }
            let left = PATIENCE.saturating_sub(since.elapsed());
            if timeout(left, view.changed()).await.is_err() {
                bail!("{what}: not within {} s", PATIENCE.as_secs());
            }
        }
    }

    /// Waits until `wanted` holds of one API server.
    ///
    /// # Errors
    /// If it does not come to hold.
    pub(super) async fn until_server(
        &mut self,
        server: usize,
        what: &str,
        out: &mut impl Write,
        wanted: impl Fn(&MemberView) -> bool,
    ) -> anyhow::Result<Duration> {
        let endpoint = self.endpoint(server);
        self.until(what, out, |view| {
            view.members.iter().any(|member| member.endpoint == endpoint && wanted(member))
        })
        .await
    }

    /// Says something, with the time.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn say(&self, out: &mut impl Write, text: &str) -> anyhow::Result<()> {
        let elapsed = self.started.elapsed();
        let (minutes, seconds) = (elapsed.as_secs() / 60, elapsed.as_secs() % 60);
        writeln!(out, " {minutes:02}:{seconds:02}.{}  {text}", elapsed.subsec_millis() / 100)?;
        out.flush()?;
        Ok(())
    }

    /// How the service stands, in words.
    pub(super) fn verdict(&self) -> anyhow::Result<String> {
        let service = self.service()?;
        let view = service.view.borrow();
        let tolerance = evenkeel_core::tolerance::Tolerance::of(
            service.config.quorum,
            view.ready(),
            view.membership,
        );
        Ok(format!("{}: {}", service.config.name, tolerance.words(service.config.quorum)))
    }

    /// Shows every change from now on.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) async fn show_events(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut view = self.service()?.view.clone();
        while view.changed().await.is_ok() {
            self.show_new_events(out)?;
        }
        Ok(())
    }

    fn show_new_events(&mut self, out: &mut impl Write) -> anyhow::Result<()> {
        for event in self.balancer.timeline.since(self.shown) {
            self.shown = event.sequence;
            let backend = event.backend.as_deref().unwrap_or(&event.service);
            let name = self.name(backend).unwrap_or(backend).to_owned();
            self.say(out, &format!("    {name}: {}", event.what))?;
        }
        Ok(())
    }

    /// The name of the pretend server at an address.
    fn name(&self, address: &str) -> Option<&str> {
        let servers = self.plane.api_servers().iter().chain(self.plane.argocd_servers());
        servers
            .into_iter()
            .find(|s| s.address().to_string() == address)
            .map(evenkeel_lab::Server::name)
    }

    /// Ends everything, and takes the kubeconfig away: its cluster is gone.
    pub(super) async fn strike(self) {
        drop(self.load.stop().await);
        // The clients of the story have gone; somebody else may still be there.
        self.balancer.end(tokio::time::sleep(GRACE)).await;
        self.plane.shutdown().await;
        if let Err(error) = std::fs::remove_file(&self.kubeconfig) {
            tracing::warn!(%error, "kubeconfig not removed");
        }
    }
}

fn config(
    plane: &ControlPlane,
    api: SocketAddr,
    argocd: SocketAddr,
    admin: SocketAddr,
    kubeconfig: &Path,
) -> serde_json::Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "LoadBalancer",
        "admin": {"listen": admin},
        "services": [
            {
                "name": "kube-apiserver",
                "preset": "kube-apiserver",
                "listen": {"addresses": [api]},
                "sources": [{"static": {"endpoints": plane.addresses()}}, {"endpointSlice": {}}],
                "credentials": {"kubeconfig": {"file": kubeconfig}},
            },
            {
                "name": "argocd-server",
                "preset": "argocd-server",
                "listen": {"addresses": [argocd]},
                "sources": [{"static": {"endpoints": plane.argocd_addresses()}}],
            },
        ],
    })
}

/// The address on loopback with this port, or where it is taken with another.
fn free_port(port: u16) -> std::io::Result<SocketAddr> {
    let loopback = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    TcpListener::bind(loopback(port)).or_else(|_taken| TcpListener::bind(loopback(0)))?.local_addr()
}

fn write_kubeconfig(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Ok(known) = std::fs::read_to_string(path)
        && !known.starts_with(MARK)
    {
        bail!("{} is not ours to overwrite: give another --kubeconfig", path.display());
    }
    std::fs::write(path, format!("{MARK}{text}"))
        .with_context(|| format!("could not write {}", path.display()))
}
