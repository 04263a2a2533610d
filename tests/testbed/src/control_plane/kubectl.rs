//! The real kubectl, run on a host of the network.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use super::ControlPlane;
use crate::certificates::User;
use crate::host::Host;

/// Why kubectl did not run.
#[derive(Debug, thiserror::Error)]
pub enum KubectlError {
    /// The kubeconfig could not be written.
    #[error("could not write {path}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It was not started.
    #[error("could not run kubectl")]
    Run(#[source] io::Error),
}

impl ControlPlane {
    /// Writes a kubeconfig in which `user` reaches the cluster at `server`, for example
    /// `https://10.0.0.100:6443`, and answers its path. It is JSON, hence also YAML.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn kubeconfig(&self, server: &str, user: User) -> Result<PathBuf, KubectlError> {
        let files = self.credentials(user);
        let kubeconfig = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "testbed",
                "cluster": { "server": server, "certificate-authority": files.ca },
            }],
            "users": [{
                "name": user.name(),
                "user": { "client-certificate": files.certificate, "client-key": files.key },
            }],
            "contexts": [{
                "name": "testbed",
                "context": { "cluster": "testbed", "user": user.name() },
            }],
            "current-context": "testbed",
        });
        let place: String =
            server.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let directory = self.certificates.directory();
        let path = directory.join(format!("{}-{place}.kubeconfig", user.name()));
        match fs::write(&path, kubeconfig.to_string()) {
            Ok(()) => Ok(path),
            Err(source) => Err(KubectlError::Kubeconfig { path, source }),
        }
    }

    /// Runs `kubectl ARGS` on `host` to its end, at most 60 s.
    ///
    /// # Errors
    /// If it was not started. What it answers, also an error, is in the `Output`.
    pub fn kubectl(
        &self,
        host: &Host,
        kubeconfig: &Path,
        args: &[&str],
    ) -> Result<Output, KubectlError> {
        let mut command = host.command("timeout");
        // Each step again: the signal goes to the children of the thread that ends, no further.
        command.args(["--kill-after=1", "60", "setpriv", "--pdeathsig", "KILL", "--"]);
        command.args(self.assets.kubectl.words());
        self.in_its_own_home(&mut command, kubeconfig);
        command.args(args).output().map_err(KubectlError::Run)
    }

    /// A command that is kubectl on `host`, for who gives it arguments and runs it: see
    /// [`Host::command`], and [`Host::spawn`] for one that goes on, like `get --watch`.
    pub fn kubectl_command(&self, host: &Host, kubeconfig: &Path) -> Command {
        let mut command = self.assets.kubectl.on(host);
        self.in_its_own_home(&mut command, kubeconfig);
        command
    }

    /// kubectl caches what it discovers in its home, by server; those of two tests are alike.
    fn in_its_own_home(&self, command: &mut Command, kubeconfig: &Path) {
        let home = self.certificates.directory().join("home");
        command.env("HOME", home).env("KUBECONFIG", kubeconfig);
    }
}
