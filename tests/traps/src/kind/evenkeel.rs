//! evenkeel itself.

use std::fmt::Write;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::kind::Site;

/// evenkeel, as the binary at a path.
#[derive(Clone, Debug)]
pub struct Evenkeel {
    /// The binary.
    pub binary: PathBuf,
}

impl Evenkeel {
    pub(crate) fn command(&self, site: &Site<'_>) -> io::Result<Command> {
        let mut config = String::from(HEAD);
        if let Some(threads) = site.threads {
            // Writing to a string does not fail.
            writeln!(config, "dataPlane: {{threads: {threads}}}").map_err(io::Error::other)?;
        }
        let backends: Vec<String> = site.backends.iter().map(|b| format!("{b:?}")).collect();
        config += &SERVICE.replace("{backends}", &backends.join(", "));
        let path = site.write("evenkeel.yaml", &config)?;
        let mut command = Command::new(&self.binary);
        command.arg("run").arg("--config").arg(path);
        Ok(command)
    }
}

const HEAD: &str = r#"apiVersion: evenkeel.dev/v1alpha1
kind: LoadBalancer
log: {format: text}
admin: {listen: "off"}
shutdown: {drainTimeout: 3s}
"#;

/// Probes are rare, so that what a check does to a backend is not known from them.
const SERVICE: &str = r#"services:
  - name: trap
    preset: tcp
    listen: {addresses: ["{listen}"]}
    sources: [{static: {endpoints: [{backends}]}}]
    health: {interval: 1m}
    connect: {attemptTimeout: 2s, timeout: 5s}
"#;
