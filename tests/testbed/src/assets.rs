//! The programs of the control plane: found, or built once and kept.

mod build;

use std::path::{Path, PathBuf};
use std::process::Command;

pub use build::BuildError;

use crate::host::Host;
use crate::requirements::Missing;

/// Where etcd, kube-apiserver and kubectl are.
#[derive(Clone, Debug)]
pub struct Assets {
    /// etcd.
    pub etcd: Program,
    /// kube-apiserver.
    pub kube_apiserver: Program,
    /// kubectl.
    pub kubectl: Program,
}

impl Assets {
    /// Takes them from the directory `KUBEBUILDER_ASSETS`, else builds `tests/controlplane` into
    /// the user's cache unless it is there.
    ///
    /// # Errors
    /// If one is missing, Go is, or the build ends with an error.
    pub fn find() -> Result<Self, Missing> {
        match std::env::var_os("KUBEBUILDER_ASSETS") {
            Some(directory) => Self::in_directory(Path::new(&directory)),
            None => Ok(Self::in_one_file(&build::built()?)),
        }
    }

    fn in_directory(directory: &Path) -> Result<Self, Missing> {
        let program = |name: &str| {
            let path = directory.join(name);
            if path.is_file() {
                Ok(Program { path, called: None })
            } else {
                Err(Missing::Asset { path })
            }
        };
        Ok(Self {
            etcd: program("etcd")?,
            kube_apiserver: program("kube-apiserver")?,
            kubectl: program("kubectl")?,
        })
    }

    fn in_one_file(path: &Path) -> Self {
        let program = |called| Program { path: path.to_owned(), called: Some(called) };
        Self {
            etcd: program("etcd"),
            kube_apiserver: program("kube-apiserver"),
            kubectl: program("kubectl"),
        }
    }
}

/// A program: a file of its own, or one of several in the file that we build.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    called: Option<&'static str>,
}

impl Program {
    /// The file to run.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it on `host`: see [`Host::command`].
    pub fn on(&self, host: &Host) -> Command {
        let mut command = host.command(&self.path);
        command.args(self.called);
        command
    }

    /// The words that run it, for a program that runs another.
    pub(crate) fn words(&self) -> impl Iterator<Item = &std::ffi::OsStr> {
        std::iter::once(self.path.as_os_str()).chain(self.called.map(AsRef::as_ref))
    }
}
