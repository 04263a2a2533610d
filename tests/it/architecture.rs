//! The rules of ARCHITECTURE.md that a machine can hold: who may import whom, and what is nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each crate with those of ours that it may import, and that only its tests may.
const IMPORTS: [(&str, &[&str], &[&str]); 14] = [
    ("evenkeel-core", &[], &[]),
    ("evenkeel-proxy", &["evenkeel-core"], &["evenkeel-lab"]),
    ("evenkeel-health", &["evenkeel-core"], &["evenkeel-lab"]),
    ("evenkeel-discovery", &["evenkeel-core"], &["evenkeel-lab"]),
    ("evenkeel-admin", &["evenkeel-core"], &["evenkeel-lab"]),
    ("evenkeel-vip", &["evenkeel-core"], &["evenkeel-testbed"]),
    // What stands in for a cluster shares no code, and so no mistake, with what it tests.
    ("evenkeel-lab", &[], &[]),
    ("evenkeel-testbed", &[], &[]),
    // What judges any proxy knows none of them.
    ("evenkeel-traps", &["evenkeel-testbed"], &[]),
    ("evenkeel-bench-dataplane", &["evenkeel-bench"], &[]),
    ("evenkeel-bench", &["evenkeel-testbed"], &[]),
    ("evenkeel-bench-failover", &["evenkeel-bench", "evenkeel-testbed"], &[]),
    ("evenkeel-bench-vip", &["evenkeel-bench", "evenkeel-testbed"], &[]),
    (
        "evenkeel",
        &[
            "evenkeel-admin",
            "evenkeel-core",
            "evenkeel-discovery",
            "evenkeel-health",
            "evenkeel-lab",
            "evenkeel-proxy",
            "evenkeel-vip",
        ],
        &["evenkeel-testbed", "evenkeel-traps"],
    ),
];

/// Dependencies that are heavy, or that decide something, with the crates that may have them.
const OWNERS: [(&str, &[&str]); 10] = [
    ("clap", &["evenkeel"]),
    ("clap_complete", &["evenkeel"]),
    ("anyhow", &["evenkeel"]),
    ("serde-saphyr", &["evenkeel"]),
    ("tracing-subscriber", &["evenkeel"]),
    ("kube", &["evenkeel-discovery"]),
    ("k8s-openapi", &["evenkeel-discovery"]),
    ("axum", &["evenkeel-admin"]),
    ("metrics-exporter-prometheus", &["evenkeel", "evenkeel-admin"]),
    ("rcgen", &["evenkeel-bench-dataplane", "evenkeel-lab", "evenkeel-testbed"]),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn cargo(args: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output =
        Command::new(cargo).args(args).arg("--offline").current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// One dependency as a manifest has it.
struct Dependency {
    name: String,
    for_tests: bool,
}

/// The crates of this workspace with their dependencies.
fn crates() -> BTreeMap<String, Vec<Dependency>> {
    let metadata = cargo(&["metadata", "--format-version", "1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let dependency = |dependency: &Value| Dependency {
        name: dependency["name"].as_str().unwrap().to_owned(),
        for_tests: dependency["kind"] == "dev",
    };
    let package = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap();
        let name = package["name"].as_str().unwrap().to_owned();
        (name, dependencies.iter().map(dependency).collect())
    };
    metadata["packages"].as_array().unwrap().iter().map(package).collect()
}

/// Every file below a folder of ours that is not built or fetched.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            if name != "target" && name != ".git" {
                files.extend(self::files(&path));
            }
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn rust_files() -> Vec<PathBuf> {
    let folders = ["benches", "crates", "tests"].map(|folder| root().join(folder));
    let files: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| files(folder))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    assert!(files.len() > 80, "{}", files.len());
    files
}

#[test]
fn imports_point_down_and_never_sideways() {
    let crates = crates();
    let ruled: BTreeSet<&str> = IMPORTS.iter().map(|(name, ..)| *name).collect();
    let members: BTreeSet<&str> = crates.keys().map(String::as_str).collect();
    assert_eq!(members, ruled, "a crate without a rule, or a rule without a crate");
    for (name, may, tests_may) in IMPORTS {
        for dependency in &crates[name] {
            let known = dependency.name.as_str();
            let allowed =
                may.contains(&known) || dependency.for_tests && tests_may.contains(&known);
            assert!(!members.contains(known) || allowed, "{name} imports {known}");
        }
    }
}

#[test]
fn a_heavy_dependency_has_one_owner() {
    let crates = crates();
    for (dependency, owners) in OWNERS {
        let having: Vec<&str> = crates
            .iter()
            .filter(|(_, dependencies)| dependencies.iter().any(|d| d.name == dependency))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(having, owners, "{dependency}");
    }
}

#[test]
fn there_is_one_tls_provider() {
    let tree = cargo(&["tree", "--package", "evenkeel", "--edges", "normal", "--prefix", "none"]);
    let names: BTreeSet<&str> =
        tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains("aws-lc-rs") && names.len() > 100, "{names:?}");
    for banned in ["ring", "openssl", "openssl-sys", "native-tls"] {
        assert!(!names.contains(banned), "{banned} is in the binary");
    }
}

#[test]
fn a_manifest_takes_lints_and_versions_from_the_workspace() {
    let manifests: Vec<PathBuf> = files(&root())
        .into_iter()
        .filter(|path| path.ends_with("Cargo.toml") && *path != root().join("Cargo.toml"))
        // Built by a nightly compiler, and no member.
        .filter(|path| *path != root().join("tests/fuzz/Cargo.toml"))
        .collect();
    assert_eq!(manifests.len(), IMPORTS.len(), "{manifests:?}");
    for path in manifests {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.display();
        assert!(text.contains("\n[lints]\nworkspace = true\n"), "{path} has lints of its own");
        let mut table = "";
        for line in text.lines() {
            if line.starts_with('[') {
                table = line;
            } else if table.contains("dependencies") && line.contains('=') {
                let inherits = line.contains("workspace = true");
                assert!(inherits, "{path}: `{line}` has a version of its own");
            }
        }
    }
}

#[test]
fn a_module_is_a_file_beside_its_folder() {
    let odd: Vec<PathBuf> =
        rust_files().into_iter().filter(|path| path.ends_with("mod.rs")).collect();
    assert!(odd.is_empty(), "{odd:?}");
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not have them.
    let words = [
        concat!("todo", "!"),
        concat!("unimplemented", "!"),
        concat!("#[", "ignore"),
        concat!("dbg", "!("),
    ];
    for path in rust_files() {
        let text = fs::read_to_string(&path).unwrap();
        for (number, line) in text.lines().enumerate() {
            let word = words.iter().find(|word| line.contains(**word));
            assert!(word.is_none(), "{}:{}: {line}", path.display(), number + 1);
        }
    }
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let Ok(text) = fs::read_to_string(root().join("ARCHITECTURE.md")) else {
        assert!(std::env::var_os("CI").is_none(), "there is no ARCHITECTURE.md");
        println!("skipped: there is no ARCHITECTURE.md");
        return;
    };
    let all = files(&root());
    let named: BTreeSet<&str> =
        text.split('`').skip(1).step_by(2).filter(|word| is_path(word)).collect();
    assert!(named.len() > 10, "{named:?}");
    let missing: Vec<&&str> = named.iter().filter(|path| !exists(path, &all)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Whether a word in backticks is meant as a path in this repository.
fn is_path(word: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if word.starts_with('/') || !word.chars().all(plain) {
        return false;
    }
    let extension = Path::new(word).extension().and_then(|extension| extension.to_str());
    let ours = ["rs", "md", "toml", "yaml", "json", "sh", "go"];
    let first = word.split('/').next().unwrap_or_default();
    word.ends_with('/')
        || extension.is_some_and(|extension| ours.contains(&extension))
        || word.contains('/') && root().join(first).is_dir()
}

/// Whether a path leads somewhere: from the root, or as the end of a longer path, since what is
/// said of a crate names its files from there. `NAME` stands for one that is to be written.
fn exists(path: &str, all: &[PathBuf]) -> bool {
    let path = match path.rsplit_once('/') {
        Some((folder, file)) if file.starts_with("NAME") => folder,
        Some(_) | None => path.trim_end_matches('/'),
    };
    // Its folders one by one, so that `it` is not the end of `edit`.
    let steps: Vec<&str> = path.split('/').collect();
    all.iter().any(|file| {
        let parts: Vec<&str> = file
            .strip_prefix(root())
            .unwrap()
            .components()
            .map(|part| part.as_os_str().to_str().unwrap())
            .collect();
        parts.windows(steps.len()).any(|window| window == steps)
    })
}
