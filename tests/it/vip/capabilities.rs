//! A user other than root with the two capabilities that the address takes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use evenkeel_testbed::Host;

use super::site::{LONG, SERVICE4, SERVICE6, SLACK, Site, VIP4, config, wait};
use crate::harness::{EVENKEEL, stderr};

#[test]
fn two_capabilities_are_enough_and_no_other_user_may_move_the_address() {
    let Some(mut site) = Site::new() else { return };
    let program = readable_by_all(&site);
    for router in &mut site.routers {
        let path = router.host.directory().join("evenkeel.yaml");
        fs::write(&path, config()).unwrap();
        let mut command = as_nobody(&router.host, &["net_admin", "net_raw"], &program);
        command.args(["run", "--config"]).arg(&path);
        router.start_command(command);
        wait("it has found its interface", LONG, || router.vip().interface.is_some());
    }
    wait("there is one owner", LONG, || site.holders().len() == 1);
    let owner = site.holders()[0];
    site.wait_settled(owner);
    wait("it serves", LONG, || site.serves(SERVICE4) && site.serves(SERVICE6));

    // Somebody else asks. Its own user may.
    let host = site.routers[owner].host.clone();
    let mut other = as_user("65533", &host, &[], &program);
    let refused = other.args(["vip", "move"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = stderr(&refused);
    assert!(said.contains("only root and the user that evenkeel runs as may ask"), "{said}");
    assert!(host.has(VIP4).unwrap());
    let moved = as_nobody(&host, &[], &program).args(["vip", "move"]).output().unwrap();
    assert!(moved.status.success(), "{}", stderr(&moved));
    let second = site.wait_moved(owner, SLACK);

    // What the kernel takes away by itself takes no capability.
    site.routers[second].kill();
    wait("another has it", Duration::from_secs(2) + SLACK, || {
        !site.holders().contains(&second) && site.holders().len() == 1
    });
}

#[test]
fn without_capabilities_the_status_says_which() {
    let Some(mut site) = Site::new() else { return };
    let program = readable_by_all(&site);
    let router = &mut site.routers[0];
    let path = router.host.directory().join("evenkeel.yaml");
    fs::write(&path, config()).unwrap();
    let mut command = as_nobody(&router.host, &[], &program);
    command.args(["run", "--config"]).arg(&path);
    router.start_command(command);
    wait("it says what it lacks", LONG, || {
        router.vip().warnings.iter().any(|warning| warning.contains("CAP_NET_RAW"))
    });
    assert_eq!((router.vip().state.as_str(), router.vip().owned), ("down", false));
}

/// The binary in the directory of the network, which any user may read then.
fn readable_by_all(site: &Site) -> PathBuf {
    let directory = site.network.directory();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.join("evenkeel");
    fs::copy(EVENKEEL, &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    program
}

fn as_nobody(host: &Host, capabilities: &[&str], program: &Path) -> Command {
    as_user("65534", host, capabilities, program)
}

/// A command that runs a program on a host as a user with some capabilities.
fn as_user(user: &str, host: &Host, capabilities: &[&str], program: &Path) -> Command {
    let sets: Vec<String> = capabilities.iter().map(|name| format!("+{name}")).collect();
    let sets = ["-all".to_owned()].into_iter().chain(sets).collect::<Vec<_>>().join(",");
    let mut command = host.command("setpriv");
    command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
    command.args(["--inh-caps", &sets, "--ambient-caps", &sets, "--bounding-set", &sets]);
    command.arg(program);
    command
}
