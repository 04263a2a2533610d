//! evenkeel on a control-plane node, whose own API server goes first.

use std::net::SocketAddr;
use std::time::Duration;

use evenkeel_testbed::{LoadOptions, Member, Options, User};

use super::pause;
use super::site::{Site, wait};

#[test]
fn the_own_server_goes_first_while_it_is_ready() {
    // Clients reach the node by its address, whichever server answers.
    let options = Options { extra_sans: vec!["10.0.0.12".to_owned()], ..Options::default() };
    let Some(mut site) = Site::start(options) else { return };
    let (own, ticker) = (Member::Two, Member::One);
    let node = site.plane.host(own).clone();
    let front: SocketAddr = (node.ipv4(), 7443).into();
    let usual = site.config(&site.credentials(User::Probe), "{}");
    let usual = usual.replace("0.0.0.0:6443", &front.to_string());
    let file = site.write("local-first.yaml", &format!("{usual}    localFirst: true\n"));
    let evenkeel = Site::start_evenkeel_on(&node, &["run", "--config", file.to_str().unwrap()]);
    evenkeel.until_ready(3, Duration::from_secs(5));
    let taken = |member| evenkeel.taken(site.plane.address(member));
    let [address, another] = [own, Member::Three].map(|member| site.plane.address(member));

    let only_new = LoadOptions { kept: 0, watches: 0, ..LoadOptions::new(front, another) };
    // Until all have said which version they are.
    let load = site.load_with(only_new.clone());
    wait("the own server is used", Duration::from_secs(5), || taken(own) > 10);
    pause(Duration::from_secs(2));
    let others = || taken(Member::One) + taken(Member::Three);
    let (before, own_before) = (others(), taken(own));
    pause(Duration::from_secs(2));
    assert_eq!(others(), before, "while it is ready, nobody else is used");
    assert!(taken(own) > own_before + 20, "and it is");
    assert_eq!(load.stop().unwrap().failed_new(), 0);

    let load = site.load_with(LoadOptions { ticker: site.plane.address(ticker), ..only_new });
    site.plane.kill(own).unwrap();
    evenkeel.until_ready(2, Duration::from_secs(2));
    let before = evenkeel.taken(another);
    wait("the others are used", Duration::from_secs(5), || evenkeel.taken(another) > before + 5);
    let at_its_end = evenkeel.taken(address);
    pause(Duration::from_secs(1));
    assert_eq!(evenkeel.taken(address), at_its_end);
    let felt = load.stop().unwrap();
    // Whom it had begun to answer when it was killed, no balancer can give to another.
    assert!(felt.failed_new() <= 1, "{felt}");
}
