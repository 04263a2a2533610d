//! Builds `tests/controlplane` into the user's cache, once for each state of its sources.
//!
//! `<cache>/evenkeel/controlplane/<key>/controlplane`, where the key is a hash of what goes in.
//! A file lock makes parallel test processes wait for one build; a rename makes it appear whole.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::requirements::{Missing, require_program};

/// Why there is no control plane in the cache.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither `XDG_CACHE_HOME` nor `HOME` says where the cache is.
    #[error("neither XDG_CACHE_HOME nor HOME is set")]
    NoHome,
    /// A source of the Go module could not be read.
    #[error("could not read {path}")]
    Source {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The cache could not be written.
    #[error("could not write to the cache at {path}")]
    Cache {
        /// The file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Go could not be run.
    #[error("could not run `go`")]
    Run(#[source] io::Error),
    /// Go ended with an error.
    #[error("`go build` in {module}: {answer}")]
    Go {
        /// The directory of the Go module.
        module: PathBuf,
        /// The end of what it wrote to standard error.
        answer: String,
    },
}

/// The path of the control plane, which is built if it is not there.
pub(super) fn built() -> Result<PathBuf, Missing> {
    require_program("go", "Go from https://go.dev, or set KUBEBUILDER_ASSETS")?;
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../controlplane");
    Ok(in_cache(&module)?)
}

fn in_cache(module: &Path) -> Result<PathBuf, BuildError> {
    let go_mod = read(&module.join("go.mod"))?;
    let flags = link_flags(&go_mod);
    let directory = cache()?.join(key(module, &go_mod, &flags)?);
    let program = directory.join("controlplane");
    if program.is_file() {
        return Ok(program);
    }

    let failed = |source| BuildError::Cache { path: directory.clone(), source };
    fs::create_dir_all(&directory).map_err(failed)?;
    let lock = File::create(directory.join("lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    // Another process may have built it while this one waited for the lock.
    if !program.is_file() {
        let unfinished = directory.join("unfinished");
        build(module, &flags, &unfinished)?;
        fs::rename(&unfinished, &program).map_err(failed)?;
    }
    Ok(program)
}

fn build(module: &Path, flags: &str, to: &Path) -> Result<(), BuildError> {
    let output = Command::new("go")
        .args(["build", "-trimpath", "-ldflags", flags, "-o"])
        .arg(to)
        .arg(".")
        .env("CGO_ENABLED", "0")
        .current_dir(module)
        .output()
        .map_err(BuildError::Run)?;
    succeeded(module, output).map(drop)
}

/// Leaves out what only debuggers need, and tells Kubernetes its version, which its own release
/// process does in the same way: without it a server answers `/version` with a placeholder.
fn link_flags(go_mod: &str) -> String {
    let mut flags = "-s -w".to_owned();
    let required = |line: &str| line.trim().strip_prefix("k8s.io/kubernetes ").map(str::to_owned);
    let Some(version) = go_mod.lines().find_map(required) else { return flags };
    let mut numbers = version.trim_start_matches('v').split('.');
    let values = [
        ("gitVersion", Some(version.as_str())),
        ("gitMajor", numbers.next()),
        ("gitMinor", numbers.next()),
    ];
    for (name, value) in values {
        if let Some(value) = value {
            flags.push_str(" -X k8s.io/component-base/version.");
            flags.push_str(name);
            flags.push('=');
            flags.push_str(value);
        }
    }
    flags
}

fn key(module: &Path, go_mod: &str, flags: &str) -> Result<String, BuildError> {
    let main = read(&module.join("main.go"))?;
    let go_sum = read(&module.join("go.sum"))?;
    let go = Command::new("go").arg("version").output().map_err(BuildError::Run)?;
    let go = succeeded(module, go)?;
    let hash = hash([main.as_bytes(), go_mod.as_bytes(), go_sum.as_bytes(), flags.as_bytes(), &go]);
    Ok(format!("{hash:016x}"))
}

/// FNV-1a, because std's hashes may differ from one toolchain to the next.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;

    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
    parts.into_iter().fold(OFFSET, |hash, part| {
        let length = part.len().to_be_bytes();
        part.iter().fold(length.iter().fold(hash, step), step)
    })
}

fn succeeded(module: &Path, output: Output) -> Result<Vec<u8>, BuildError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let answer = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = answer.lines().collect();
    let last = lines.len().saturating_sub(LINES_SHOWN);
    Err(BuildError::Go { module: module.to_owned(), answer: lines[last..].join("\n") })
}

fn cache() -> Result<PathBuf, BuildError> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = given("XDG_CACHE_HOME").or_else(|| Some(given("HOME")?.join(".cache")));
    Ok(cache.ok_or(BuildError::NoHome)?.join("evenkeel/controlplane"))
}

fn read(path: &Path) -> Result<String, BuildError> {
    fs::read_to_string(path).map_err(|source| BuildError::Source { path: path.to_owned(), source })
}

const LINES_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubernetes_is_told_its_version() {
        let go_mod = "require (\n\tk8s.io/kubectl v0.37.2\n\tk8s.io/kubernetes v1.37.2\n)\n";
        let flags = link_flags(go_mod);
        assert!(flags.contains("version.gitVersion=v1.37.2 "), "{flags}");
        assert!(flags.contains("version.gitMajor=1 "), "{flags}");
        assert!(flags.ends_with("version.gitMinor=37"), "{flags}");
    }

    #[test]
    fn where_a_part_ends_changes_the_key() {
        assert_ne!(hash([b"ab".as_slice(), b"c"]), hash([b"a".as_slice(), b"bc"]));
    }
}
