//! Envoy's TCP proxy.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::kind::Site;

/// Envoy, as the binary at a path.
#[derive(Clone, Debug)]
pub struct Envoy {
    /// The binary.
    pub binary: PathBuf,
}

impl Envoy {
    pub(crate) fn command(&self, site: &Site<'_>) -> io::Result<Command> {
        let address = |address: &SocketAddr| {
            let (ip, port) = (address.ip(), address.port());
            format!("{{socket_address: {{address: \"{ip}\", port_value: {port}}}}}")
        };
        let endpoint = |backend| format!("\n        - endpoint: {{address: {}}}", address(backend));
        let endpoints: String = site.backends.iter().map(endpoint).collect::<Vec<_>>().concat();
        let config =
            CONFIG.replace("{address}", &address(&site.listen)).replace("{endpoints}", &endpoints);
        let path = site.write("envoy.yaml", &config)?;
        let mut command = Command::new(&self.binary);
        command
            .args(["--disable-hot-restart", "--log-level", "warning", "--concurrency"])
            .arg(site.threads.unwrap_or(2).to_string())
            .arg("-c")
            .arg(path);
        Ok(command)
    }
}

const CONFIG: &str = r#"static_resources:
  listeners:
  - name: trap
    address: {address}
    enable_reuse_port: true
    tcp_backlog_size: 4096
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: trap
          cluster: trap
          idle_timeout: 0s
          max_connect_attempts: 3
  clusters:
  - name: trap
    type: STATIC
    connect_timeout: 2s
    circuit_breakers:
      thresholds:
      - {max_connections: 100000, max_pending_requests: 100000, max_requests: 100000}
    load_assignment:
      cluster_name: trap
      endpoints:
      - lb_endpoints:{endpoints}
"#;
