//! What all API servers of a lab tell alike, as if they read it from one etcd: its identity and its
//! EndpointSlices, with their history for watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};
use tokio::sync::watch;

use crate::query::Query;

/// What the EndpointSlices of `default/kubernetes` say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SliceAnswer {
    /// These are the members. None leaves the slice in place, without endpoints.
    Members(Vec<SocketAddr>),
    /// There is no slice: lists are empty, open watches see it deleted. Who is a member is kept,
    /// and told again after the next join or leave.
    Empty,
    /// Reading EndpointSlices fails with this HTTP status, and open watches end.
    Error(u16),
}

/// The state that is shared, with one writer at a time and a notice to every watch.
#[derive(Debug)]
pub(crate) struct Cluster {
    uid: String,
    state: watch::Sender<State>,
}

impl Cluster {
    /// Two clusters differ by their authority, so its certificate also makes the identity.
    pub(crate) fn new(ca_pem: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        ca_pem.hash(&mut hasher);
        let hash = hasher.finish();
        let (high, low) = (hash >> 32, hash & 0xffff_ffff);
        let uid = format!("{high:08x}-1ab0-4000-8000-0000{low:08x}");
        Self { uid, state: watch::Sender::new(State::default()) }
    }

    /// The UID of the namespace `kube-system`, by which clusters are told apart.
    pub(crate) fn uid(&self) -> &str {
        &self.uid
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(crate) fn set_slice(&self, answer: SliceAnswer) {
        self.state.send_modify(|state| match answer {
            SliceAnswer::Members(members) => {
                state.members = members;
                state.error = None;
                state.publish_members();
            }
            SliceAnswer::Empty => {
                state.error = None;
                state.publish(KUBERNETES, Vec::new());
            }
            SliceAnswer::Error(code) => state.error = Some(code),
        });
    }

    pub(crate) fn join(&self, member: SocketAddr) {
        self.state.send_modify(|state| {
            if !state.members.contains(&member) {
                state.members.push(member);
            }
            state.publish_members();
        });
    }

    pub(crate) fn leave(&self, member: SocketAddr) {
        self.state.send_modify(|state| {
            state.members.retain(|known| *known != member);
            state.publish_members();
        });
    }

    /// Publishes the slices of another Kubernetes Service.
    pub(crate) fn set_service(&self, service: ServiceName, endpoints: &[SocketAddr]) {
        self.state.send_modify(|state| {
            let slices = group(service, endpoints, None);
            state.publish(service, slices);
        });
    }

    /// Forgets what happened, so that a watch from an older version is told `410 Gone`.
    pub(crate) fn compact(&self) {
        self.state.send_modify(|state| {
            state.history.clear();
            state.compacted = state.version;
        });
    }
}

/// The namespace and name of a Kubernetes Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServiceName {
    pub(crate) namespace: &'static str,
    pub(crate) name: &'static str,
}

pub(crate) const KUBERNETES: ServiceName = ServiceName { namespace: "default", name: "kubernetes" };

/// One EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slice {
    service: ServiceName,
    name: String,
    is_ipv4: bool,
    port: u16,
    addresses: BTreeSet<IpAddr>,
    version: u64,
}

impl Slice {
    pub(crate) fn object(&self) -> Value {
        let endpoints: Vec<Value> = self
            .addresses
            .iter()
            .map(|ip| json!({"addresses": [ip.to_string()], "conditions": {"ready": true}}))
            .collect();
        // A list without elements is `null` when Go writes it.
        let endpoints = if endpoints.is_empty() { Value::Null } else { endpoints.into() };
        json!({
            "kind": "EndpointSlice",
            "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": self.name,
                "namespace": self.service.namespace,
                "resourceVersion": self.version.to_string(),
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {"kubernetes.io/service-name": self.service.name},
            },
            "addressType": if self.is_ipv4 { "IPv4" } else { "IPv6" },
            "endpoints": endpoints,
            "ports": [{"name": "https", "port": self.port, "protocol": "TCP"}],
        })
    }
}

/// What a request asks for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    pub(crate) namespace: Option<String>,
    service: Option<String>,
    name: Option<String>,
}

impl Selection {
    /// Reads the equality selectors that evenkeel and kubectl send; others select everything.
    pub(crate) fn new(namespace: Option<&str>, query: &Query) -> Self {
        let value_of = |selector: &str, key: &str| {
            let (name, value) = query.first(selector)?.split_once('=')?;
            (name == key).then(|| value.trim_start_matches('=').to_owned())
        };
        Self {
            namespace: namespace.map(str::to_owned),
            service: value_of("labelSelector", "kubernetes.io/service-name"),
            name: value_of("fieldSelector", "metadata.name"),
        }
    }

    pub(crate) fn named(namespace: &str, name: &str) -> Self {
        Self { namespace: Some(namespace.to_owned()), service: None, name: Some(name.to_owned()) }
    }

    fn has(&self, slice: &Slice) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|w| w == is);
        fits(&self.namespace, slice.service.namespace)
            && fits(&self.service, slice.service.name)
            && fits(&self.name, &slice.name)
    }
}

/// What happened to a slice, in the words of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Added,
    Modified,
    Deleted,
}

impl Change {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
        }
    }
}

/// The slices now and the changes that led to them.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The resource version of the newest change.
    version: u64,
    members: Vec<SocketAddr>,
    /// The port of the first member: its slice is the one named `kubernetes`.
    home: Option<u16>,
    slices: BTreeMap<String, Slice>,
    history: VecDeque<(Change, Slice)>,
    /// Changes up to this version are no longer in the history.
    compacted: u64,
    error: Option<u16>,
}

impl State {
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// The status with which reads fail now.
    pub(crate) fn error(&self) -> Option<u16> {
        self.error
    }

    pub(crate) fn is_compacted(&self, version: u64) -> bool {
        version < self.compacted
    }

    pub(crate) fn slices(&self, selection: &Selection) -> impl Iterator<Item = &Slice> {
        self.slices.values().filter(|slice| selection.has(slice))
    }

    pub(crate) fn changes_since(
        &self,
        version: u64,
        selection: &Selection,
    ) -> impl Iterator<Item = &(Change, Slice)> {
        self.history
            .iter()
            .filter(move |(_, slice)| slice.version > version && selection.has(slice))
    }

    fn publish_members(&mut self) {
        self.home = self.home.or_else(|| self.members.first().map(SocketAddr::port));
        let home = self.home.unwrap_or(6443);
        self.publish(KUBERNETES, group(KUBERNETES, &self.members, Some(home)));
    }

    /// Replaces the slices of a Kubernetes Service and writes down what changed.
    fn publish(&mut self, service: ServiceName, wanted: Vec<Slice>) {
        let key = |slice: &Slice| format!("{}/{}", slice.service.namespace, slice.name);
        let mut wanted: BTreeMap<String, Slice> =
            wanted.into_iter().map(|slice| (key(&slice), slice)).collect();
        let gone: Vec<String> = self
            .slices
            .iter()
            .filter(|(key, slice)| slice.service == service && !wanted.contains_key(*key))
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            if let Some(slice) = self.slices.remove(&key) {
                self.record(Change::Deleted, slice);
            }
        }
        while let Some((key, slice)) = wanted.pop_first() {
            let change = match self.slices.get(&key) {
                None => Change::Added,
                Some(known) if known.addresses == slice.addresses => continue,
                Some(_) => Change::Modified,
            };
            let slice = self.record(change, slice);
            self.slices.insert(key, slice);
        }
    }

    fn record(&mut self, change: Change, mut slice: Slice) -> Slice {
        self.version += 1;
        slice.version = self.version;
        if self.history.len() == HISTORY
            && let Some((_, oldest)) = self.history.pop_front()
        {
            self.compacted = oldest.version;
        }
        self.history.push_back((change, slice.clone()));
        slice
    }
}

/// Puts endpoints into slices: one port and one address family each, as a slice can say no more.
///
/// Real members share one port and so one slice; those of a lab differ by their port, and get a
/// slice each. `home` is the port whose slice bears the plain name and stays even without members.
fn group(service: ServiceName, endpoints: &[SocketAddr], home: Option<u16>) -> Vec<Slice> {
    let mut groups: BTreeMap<(bool, u16), BTreeSet<IpAddr>> = BTreeMap::new();
    if let Some(home) = home {
        groups.entry((true, home)).or_default();
    }
    for endpoint in endpoints {
        let group = (endpoint.is_ipv4(), endpoint.port());
        groups.entry(group).or_default().insert(endpoint.ip());
    }
    let name = |is_ipv4, port| match (is_ipv4, home == Some(port)) {
        (true, true) => service.name.to_owned(),
        (true, false) => format!("{}-{port}", service.name),
        (false, _) => format!("{}-{port}-v6", service.name),
    };
    groups
        .into_iter()
        .map(|((is_ipv4, port), addresses)| Slice {
            service,
            name: name(is_ipv4, port),
            is_ipv4,
            port,
            addresses,
            version: 0,
        })
        .collect()
}

/// Changes that a watch may resume from.
const HISTORY: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(cluster: &Cluster, since: u64) -> Vec<(Change, String)> {
        let state = cluster.subscribe();
        let state = state.borrow();
        let all = Selection::default();
        state.changes_since(since, &all).map(|(c, slice)| (*c, slice.name.clone())).collect()
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn members_of_one_port_share_the_slice_named_kubernetes() {
        let cluster = Cluster::new("a");
        cluster.set_slice(SliceAnswer::Members(vec![at("10.0.0.1:6443"), at("10.0.0.2:6443")]));
        cluster.leave(at("10.0.0.1:6443"));
        cluster.leave(at("10.0.0.1:6443"));
        let name = || "kubernetes".to_owned();
        assert_eq!(changes(&cluster, 0), [(Change::Added, name()), (Change::Modified, name())]);
    }

    #[test]
    fn a_member_of_another_port_has_a_slice_that_goes_with_it() {
        let cluster = Cluster::new("a");
        cluster.set_slice(SliceAnswer::Members(vec![at("127.0.0.1:1001"), at("127.0.0.1:1002")]));
        cluster.leave(at("127.0.0.1:1002"));
        assert_eq!(changes(&cluster, 2), [(Change::Deleted, "kubernetes-1002".to_owned())]);
        cluster.leave(at("127.0.0.1:1001"));
        assert_eq!(changes(&cluster, 3), [(Change::Modified, "kubernetes".to_owned())]);
    }

    #[test]
    fn the_empty_answer_deletes_the_slices_and_a_join_brings_them_back() {
        let cluster = Cluster::new("a");
        cluster.set_slice(SliceAnswer::Members(vec![at("10.0.0.1:6443")]));
        cluster.set_slice(SliceAnswer::Empty);
        cluster.join(at("10.0.0.2:6443"));
        let kinds: Vec<Change> = changes(&cluster, 0).into_iter().map(|(c, _)| c).collect();
        assert_eq!(kinds, [Change::Added, Change::Deleted, Change::Added]);
    }

    #[test]
    fn clusters_of_different_authorities_have_different_identities() {
        assert_ne!(Cluster::new("a").uid(), Cluster::new("b").uid());
        assert_eq!(Cluster::new("a").uid().len(), 36);
    }
}
