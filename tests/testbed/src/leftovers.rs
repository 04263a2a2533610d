//! Names that carry the pid, and the removal of what killed test processes left behind.
//!
//! A name is `ek<pid>-<network>-<what>`. One whose pid no longer lives is nobody's; a pid that
//! was given out again merely keeps it for longer. Processes are not looked for: theirs end with
//! the test process (see `process.rs`).

use std::fs;
use std::path::Path;

use crate::ip::ip;

/// Where `ip netns` keeps its namespaces.
pub(crate) const NAMESPACES: &str = "/run/netns";

const PREFIX: &str = "ek";

/// What all names of a network begin with: `ek<pid>-<network>-`.
pub(crate) fn prefix(network: u32) -> String {
    format!("{PREFIX}{}-{network}-", std::process::id())
}

/// Removes the namespaces and directories of test processes that no longer live.
///
/// Another test process may do the same at this moment, so a failure means nothing.
pub(crate) fn remove() {
    for name in left_in(Path::new(NAMESPACES)) {
        drop(ip(&format!("netns delete {name}")));
    }
    let directories = std::env::temp_dir();
    for name in left_in(&directories) {
        drop(fs::remove_dir_all(directories.join(name)));
    }
}

fn left_in(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| owner(name).is_some_and(|pid| !lives(pid)))
        .collect()
}

fn owner(name: &str) -> Option<u32> {
    let (pid, rest) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let (network, _what) = rest.split_once('-')?;
    network.parse::<u32>().ok()?;
    pid.parse().ok()
}

fn lives(pid: u32) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_whose_it_is() {
        assert_eq!(owner(&format!("{}cp-1", prefix(7))), Some(std::process::id()));
    }

    #[test]
    fn foreign_names_are_nobodys() {
        for name in ["ek", "ek12", "ek12-cp-1", "ekko-1-2", "evenkeel-12-1", "blue"] {
            assert_eq!(owner(name), None, "{name}");
        }
    }
}
