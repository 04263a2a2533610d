//! What the testbed needs of the machine, and tests that are skipped without it.

use std::path::PathBuf;
use std::process::Command;

use crate::assets::{Assets, BuildError};

/// What the machine lacks, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Missing {
    /// Namespaces need root.
    #[error("network namespaces need root: run the tests as root, for example with `sudo -E`")]
    Root,
    /// A program is not in the `PATH`.
    #[error("the program `{program}` is not in the PATH: install {package}")]
    Program {
        /// The program.
        program: &'static str,
        /// Where it comes from.
        package: &'static str,
    },
    /// Root, but not allowed to make namespaces.
    #[error(
        "this root may make no network namespaces: give its container CAP_SYS_ADMIN and \
             CAP_NET_ADMIN, or run it privileged"
    )]
    Namespaces,
    /// `KUBEBUILDER_ASSETS` names a directory without one of the programs.
    #[error("there is no {path}: correct or unset KUBEBUILDER_ASSETS")]
    Asset {
        /// The missing file.
        path: PathBuf,
    },
    /// The control plane could not be built.
    #[error(
        "the control plane could not be built: set KUBEBUILDER_ASSETS to a directory with \
             etcd, kube-apiserver and kubectl, or repair the build"
    )]
    Build(#[from] BuildError),
}

/// Checks that hosts can be made on this machine.
///
/// # Errors
/// What is missing.
pub fn require_network() -> Result<(), Missing> {
    if !rustix::process::geteuid().is_root() {
        return Err(Missing::Root);
    }
    let programs = [
        ("ip", "iproute2"),
        ("setpriv", "util-linux"),
        ("unshare", "util-linux"),
        ("timeout", "coreutils"),
    ];
    programs.into_iter().try_for_each(|(program, package)| require_program(program, package))?;
    let tried = Command::new("unshare").args(["--net", "--uts", "true"]).output();
    if tried.is_ok_and(|tried| tried.status.success()) { Ok(()) } else { Err(Missing::Namespaces) }
}

/// Checks that hosts can be made on this machine, and that the switch between them can be told what
/// not to let pass.
///
/// # Errors
/// What is missing.
pub fn require_filters() -> Result<(), Missing> {
    require_network()?;
    require_program("nft", "nftables")
}

/// Checks that a control plane can run on this machine, and finds or builds its programs.
///
/// The first build takes minutes: `cargo run -p evenkeel-testbed --bin build-controlplane` does it
/// outside of a test.
///
/// # Errors
/// What is missing.
pub fn require() -> Result<Assets, Missing> {
    require_network()?;
    Assets::find()
}

/// Says what is missing and answers `None`, for the test to return; in CI it fails instead.
///
/// ```ignore
/// let Some(assets) = or_skip(require()) else { return };
/// ```
///
/// # Panics
/// If something is missing and the environment has `CI=true`: there a skip would hide a hole.
#[expect(clippy::print_stderr, reason = "it is for who reads the output of the test")]
pub fn or_skip<T>(required: Result<T, Missing>) -> Option<T> {
    let missing = match required {
        Ok(found) => return Some(found),
        Err(missing) => missing,
    };
    let mut reason = missing.to_string();
    let mut cause = std::error::Error::source(&missing);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    let in_ci = std::env::var_os("CI").is_some_and(|value| value == "true");
    assert!(!in_ci, "not skipped, because CI=true: {reason}");
    eprintln!("skipped: {reason}");
    None
}

/// Checks that a program is there.
///
/// # Errors
/// That it is missing, and in which package of Debian it is.
pub fn require_program(program: &'static str, package: &'static str) -> Result<(), Missing> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    found.then_some(()).ok_or(Missing::Program { program, package })
}
