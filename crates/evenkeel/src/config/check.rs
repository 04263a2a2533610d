//! What spans tables: each may be fine by itself, and the whole is not.

mod vips;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_discovery::source::Source;
use evenkeel_health::probe::Probe;
use evenkeel_health::{Failure, WorstCase};
use evenkeel_proxy::{ListenAddress, ListenConfig};

use super::credentials::CredentialsConfig;
use super::mistake::Mistake;
use super::tree::{Node, Step};
use super::{Config, ServiceConfig, Warning};

/// Notes every mistake that spans tables. `root` is the tree that `config` was read from.
pub(super) fn check(config: &Config, root: &Node, mistakes: &mut Vec<Mistake>) {
    let mut note = |steps: &[Step], message: String| {
        let node = root.find(steps).0;
        if !node.made_up {
            mistakes.push(Mistake::new(node.place, message));
        }
    };
    names(config, &mut note);
    listeners(config, &mut note);
    vips::check(config, &mut note);
    for (index, service) in config.services.iter().enumerate() {
        let at = |rest: &[Step]| {
            let mut steps = vec![key("services"), Step::Index(index)];
            steps.extend_from_slice(rest);
            steps
        };
        endpoints(config, service, &at, &mut note);
        // Where a key was cut out for being wrong, its default proves nothing.
        let whole = |rest: &[Step]| root.find(&at(rest)).0.pruned.is_empty();
        if whole(&[key("connect")]) {
            connect(service, &at, &mut note);
        }
        if whole(&[]) && whole(&[key("credentials")]) && whole(&[key("credentials"), key("files")])
        {
            credentials(service, &at, &mut note);
        }
        members(service, &at, &mut note);
    }
}

fn key(name: &str) -> Step {
    Step::Key(name.to_owned())
}

fn names(config: &Config, note: &mut impl FnMut(&[Step], String)) {
    let mut known = BTreeSet::new();
    for (index, service) in config.services.iter().enumerate() {
        if !known.insert(&service.name) {
            let steps = [key("services"), Step::Index(index), key("name")];
            note(&steps, format!("the service `{}` stands twice", service.name));
        }
    }
}

fn listeners(config: &Config, note: &mut impl FnMut(&[Step], String)) {
    let mut taken: Vec<(SocketAddr, Option<usize>)> = Vec::new();
    if let Some(address) = config.admin.listen.address() {
        taken.push((address, None));
    }
    for (index, service) in config.services.iter().enumerate() {
        for (number, address) in service.listen.addresses.iter().enumerate() {
            let address = address.address();
            if let Some((other, owner)) = taken.iter().find(|(other, _)| overlap(*other, address)) {
                let steps = [
                    key("services"),
                    Step::Index(index),
                    key("listen"),
                    key("addresses"),
                    Step::Index(number),
                ];
                let who = match owner.and_then(|owner| config.services.get(owner)) {
                    None => "the admin endpoint listens".to_owned(),
                    Some(_) if *owner == Some(index) => "this service listens".to_owned(),
                    Some(owner) => format!("the service `{}` listens", owner.name),
                };
                let how = if *other == address {
                    "there too".to_owned()
                } else if other.ip().is_unspecified() {
                    format!("on {other}, which includes it")
                } else {
                    format!("on {other}, which it includes")
                };
                note(&steps, format!("{address} is taken: {who} {how}"));
            }
            taken.push((address, Some(index)));
        }
    }
}

/// Whether two listeners cannot both be bound.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let every =
        |x: SocketAddr, y: SocketAddr| x.ip().is_unspecified() && x.is_ipv4() == y.is_ipv4();
    a.port() == b.port() && (a.ip() == b.ip() || every(a, b) || every(b, a))
}

fn endpoints(
    config: &Config,
    service: &ServiceConfig,
    at: &dyn Fn(&[Step]) -> Vec<Step>,
    note: &mut impl FnMut(&[Step], String),
) {
    let mut known = BTreeSet::new();
    for (number, source) in service.sources.iter().enumerate() {
        let Source::Static(list) = source else { continue };
        for (place, endpoint) in list.endpoints.iter().enumerate() {
            let steps = at(&[
                key("sources"),
                Step::Index(number),
                key("static"),
                key("endpoints"),
                Step::Index(place),
            ]);
            if !known.insert(endpoint) {
                note(&steps, format!("the endpoint {endpoint} stands twice"));
            }
            if let Some(listener) = own_listener(config, *endpoint) {
                note(
                    &steps,
                    format!(
                        "the endpoint {endpoint} is this process itself: {listener}; connections would go round in circles"
                    ),
                );
            }
        }
    }
}

/// The listener of ours that a connection to the endpoint would end at, in words.
fn own_listener(config: &Config, endpoint: Endpoint) -> Option<String> {
    if config.admin.listen.address() == Some(endpoint.address()) {
        return Some("the admin endpoint listens there".to_owned());
    }
    config.services.iter().find_map(|service| {
        let reaches = |listener: &&ListenAddress| {
            let listener = listener.address();
            listener.port() == endpoint.address().port()
                && (listener.ip() == endpoint.ip()
                    || (listener.ip().is_unspecified()
                        && listener.is_ipv4() == endpoint.ip().is_ipv4()
                        && is_local(endpoint.ip())))
        };
        let listener = service.listen.addresses.iter().find(reaches)?;
        Some(format!("the service `{}` listens on {listener}", service.name))
    })
}

/// Whether the address is one of this host's: only then can a socket be bound to it. Nothing is
/// sent.
pub(crate) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

fn connect(
    service: &ServiceConfig,
    at: &dyn Fn(&[Step]) -> Vec<Step>,
    note: &mut impl FnMut(&[Step], String),
) {
    let connect = &service.connect;
    if connect.attempt_delay > connect.attempt_timeout {
        note(
            &at(&[key("connect"), key("attemptDelay")]),
            format!(
                "attemptDelay ({}) is longer than attemptTimeout ({}), after which an attempt is given up",
                connect.attempt_delay, connect.attempt_timeout
            ),
        );
    }
    if connect.attempt_timeout > connect.timeout {
        note(
            &at(&[key("connect"), key("attemptTimeout")]),
            format!(
                "attemptTimeout ({}) is longer than the timeout of all attempts ({})",
                connect.attempt_timeout, connect.timeout
            ),
        );
    }
}

fn credentials(
    service: &ServiceConfig,
    at: &dyn Fn(&[Step]) -> Vec<Step>,
    note: &mut impl FnMut(&[Step], String),
) {
    for (number, source) in service.sources.iter().enumerate() {
        let without_ca = !service.credentials.as_ref().is_some_and(CredentialsConfig::has_ca);
        if source.needs_api() && without_ca {
            note(
                &at(&[key("sources"), Step::Index(number)]),
                "this source asks the Kubernetes API: it needs `credentials` with a CA, for example {kubeconfig: {file: /etc/evenkeel/kubeconfig}}".to_owned(),
            );
        }
    }
    if let Some(CredentialsConfig::Files(files)) = &service.credentials {
        let files_at = |name: &str| at(&[key("credentials"), key("files"), key(name)]);
        match (&files.certificate, &files.key) {
            (Some(_), None) => {
                note(&files_at("certificate"), "a `certificate` needs its `key`".to_owned());
            }
            (None, Some(_)) => {
                note(&files_at("key"), "a `key` needs its `certificate`".to_owned());
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

fn members(
    service: &ServiceConfig,
    at: &dyn Fn(&[Step]) -> Vec<Step>,
    note: &mut impl FnMut(&[Step], String),
) {
    let named: usize = service
        .sources
        .iter()
        .map(|source| match source {
            Source::Static(list) => list.endpoints.len(),
            Source::EndpointSlice(_) => 0,
        })
        .sum();
    if let Some(members @ 1..) = service.members
        && usize::try_from(members).is_ok_and(|members| members < named)
    {
        note(
            &at(&[key("members")]),
            format!("members is {members}, but the sources name {named} endpoints"),
        );
    }
}

/// What a valid config should still be told.
pub(crate) fn warnings(config: &Config) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if config.shutdown.drain_timeout.duration().is_zero() {
        warnings.push(Warning(
            "shutdown.drainTimeout is 0s: open connections are reset at once on SIGTERM".to_owned(),
        ));
    }
    for service in &config.services {
        let name = &service.name;
        let verifies = service.credentials.as_ref().is_some_and(CredentialsConfig::has_ca);
        if matches!(service.health.probe, Probe::KubeApiserver(_)) && !verifies {
            warnings.push(Warning(format!(
                "service `{name}`: the identity of its endpoints is not verified: any server that answers `/readyz` with 200 gets connections. Set `credentials: {{files: {{ca: /etc/kubernetes/pki/ca.crt}}}}`"
            )));
        }
        let only_one = matches!(service.sources.as_slice(), [Source::Static(list)] if list.endpoints.len() == 1);
        if only_one {
            warnings.push(Warning(format!("service `{name}`: one endpoint tolerates no failure")));
        }
        limits_of_one_client(name, &service.listen, &mut warnings);
        worst_cases(service, &mut warnings);
    }
    warnings
}

/// Kubernetes marks a node `NotReady` when its kubelet has not been heard for so long
/// (`--node-monitor-grace-period`): a kubelet that hangs on a dead endpoint must be told before.
const NODE_GRACE: Duration = Duration::from_secs(50);

/// Failures that are dealt with later than those who wait for it bear.
fn worst_cases(service: &ServiceConfig, warnings: &mut Vec<Warning>) {
    let name = &service.name;
    let delay = service.failover.shutdown_delay;
    let interval = service.health.interval;
    if let Some(delay) = delay.filter(|delay| *delay <= interval) {
        warnings.push(Warning(format!(
            "service `{name}`: an end that is announced for {delay} (failover.shutdownDelay) may be noticed only after it, since endpoints are probed every {interval} (health.interval)"
        )));
    }
    if !matches!(service.health.probe, Probe::KubeApiserver(_)) {
        return;
    }
    for failure in Failure::ALL {
        let worst = WorstCase::without_traffic(&service.health, failure);
        if let Some(reset) = worst.and_then(|worst| worst.reset).filter(|at| *at >= NODE_GRACE) {
            warnings.push(Warning(format!(
                "service `{name}`: connections to an endpoint that is {} are reset after up to {} s, and Kubernetes gives up a node whose kubelet has hung for {} s",
                failure.as_str(),
                reset.as_secs(),
                NODE_GRACE.as_secs()
            )));
        }
    }
}

/// A limit of one client that is above the limit of all together, which is always met first.
fn limits_of_one_client(name: &str, listen: &ListenConfig, warnings: &mut Vec<Warning>) {
    let open = listen
        .max_connections_per_client
        .map(|one| ("maxConnectionsPerClient", one, "maxConnections", listen.max_connections));
    let rate = listen
        .accept_rate_per_client
        .zip(listen.accept_rate)
        .map(|(one, all)| ("acceptRatePerClient", one, "acceptRate", all));
    for (key, one, key_of_all, all) in [open, rate].into_iter().flatten() {
        if one > all {
            warnings.push(Warning(format!(
                "service `{name}`: listen.{key} ({one}) never takes effect: {key_of_all} ({all}) is lower"
            )));
        }
    }
}
