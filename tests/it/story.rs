//! The demo tells its story to the end, and no new connection fails in it.

use crate::harness::{command, stderr, stdout};

#[test]
fn the_story_ends_well_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("demo.yaml");
    let output = command(&["demo", "--story", "--kubeconfig", kubeconfig.to_str().unwrap()])
        .output()
        .unwrap();
    let (told, log) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{told}\n{log}");
    for part in [
        "kube-apiserver: 3 of 3 ready, tolerates 1 more failure",
        ": ready -> unready: its kernel accepts, its process is silent",
        ": unready -> dead",
        "kube-apiserver: 2 of 3 ready, no further failure tolerated (stacked etcd needs 2 of 3)",
        ": dead -> ready",
        ": ready -> unready: shutting down, serves what it has",
        ": unready -> ready",
        "In all: ",
        " 0 failed ",
    ] {
        assert!(told.contains(part), "not told: {part}\n{told}\n{log}");
    }
    assert!(!kubeconfig.exists(), "the kubeconfig of a cluster that is gone");
}

#[test]
fn a_kubeconfig_of_somebody_else_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("config");
    std::fs::write(&kubeconfig, "apiVersion: v1\n").unwrap();
    let output = command(&["demo", "--story", "--kubeconfig", kubeconfig.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("is not ours to overwrite"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&kubeconfig).unwrap(), "apiVersion: v1\n");
}
