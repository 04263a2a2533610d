//! Makes a network with a host and a process on it, says where, and waits to be killed: for the test
//! that a killed test process leaves nothing behind.

use std::time::Duration;

use evenkeel_testbed::Network;

#[expect(clippy::print_stdout, reason = "the test reads it")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let network = Network::new()?;
    let host = network.host("host")?;
    let mut sleep = host.command("sleep");
    sleep.arg("1000");
    let process = host.spawn("sleep", sleep)?;
    let (directory, pid) = (network.directory().display(), process.pid());
    println!("made /run/netns/{} {directory} {pid}", host.namespace());
    host.within(|| std::thread::park_timeout(Duration::from_secs(60)))?;
    Ok(())
}
