//! Against the lab. Each waits on what is published, never on time.

use std::net::SocketAddr;

use evenkeel_lab::{ControlPlane, Fault, Options, SliceAnswer};
use tokio::time::timeout;

use super::*;
use crate::access::{ClusterAccess, Server};
use crate::source::Source;

/// More than any of them should take.
const LIMIT: Duration = Duration::from_secs(30);

/// A source that follows a lab, and the means to disturb both.
struct Scene {
    lab: ControlPlane,
    members: Members,
    access: watch::Sender<Option<ClusterAccess>>,
    seen: watch::Receiver<Sighting>,
    stop: CancellationToken,
    source: tokio::task::JoinHandle<()>,
}

impl Scene {
    async fn new(api_servers: usize) -> Self {
        let lab = lab(api_servers).await;
        let access = access(&lab);
        Self::of(lab, Some(access), EndpointSliceSource::default())
    }

    fn of(lab: ControlPlane, access: Option<ClusterAccess>, source: EndpointSliceSource) -> Self {
        let members = Members::new(lab.addresses());
        let (access, receiver) = watch::channel(access);
        let (sender, seen) = watch::channel(Sighting::default());
        let stop = CancellationToken::new();
        let api = ApiAccess { access: receiver, members: members.clone() };
        let watching = {
            let stop = stop.clone();
            async move { Source::EndpointSlice(source).watch("api", api, sender, stop).await }
        };
        #[expect(clippy::disallowed_methods, reason = "a test waits for its task itself")]
        let source = tokio::spawn(watching);
        Self { lab, members, access, seen, stop, source }
    }

    /// Waits until what is published is so.
    async fn until(&mut self, what: &str, so: impl FnMut(&Sighting) -> bool) -> Sighting {
        let seen = timeout(LIMIT, self.seen.wait_for(so)).await;
        let seen = seen.map(|sighting| sighting.unwrap().clone());
        seen.unwrap_or_else(|_elapsed| panic!("not {what}: {:?}", self.seen.borrow()))
    }

    async fn until_listed(&mut self, addresses: &[SocketAddr]) -> Sighting {
        let mut expected: Vec<SocketAddr> = addresses.to_vec();
        expected.sort();
        self.until(&format!("{expected:?}"), |sighting| listed(sighting) == expected).await
    }

    async fn end(self) {
        self.stop.cancel();
        timeout(LIMIT, self.source).await.unwrap().unwrap();
        timeout(LIMIT, self.lab.shutdown()).await.unwrap();
    }
}

fn listed(sighting: &Sighting) -> Vec<SocketAddr> {
    sighting.endpoints.iter().map(Endpoint::address).collect()
}

async fn lab(api_servers: usize) -> ControlPlane {
    // Another test may have been first.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let options = Options { api_servers, ..Options::default() };
    ControlPlane::start(options).await.unwrap()
}

/// What the lab's kubeconfig says, with certificate and all.
fn access(lab: &ControlPlane) -> ClusterAccess {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kubeconfig");
    std::fs::write(&path, lab.kubeconfig("https://127.0.0.1:1")).unwrap();
    crate::kubeconfig::read(&path, None).unwrap()
}

fn elsewhere(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 6443))
}

#[tokio::test]
async fn the_list_is_published_and_members_join_and_leave() {
    let mut scene = Scene::new(3).await;
    let mut members = scene.lab.addresses();
    let first = scene.until_listed(&members).await;
    assert_eq!(first.error, None);
    assert!(first.synced.is_some());
    let endpoint = Endpoint::new(members[0]);
    assert_eq!(first.endpoints.provenance(endpoint), [Provenance::EndpointSlice]);

    scene.lab.join(elsewhere(4));
    members.push(elsewhere(4));
    scene.until_listed(&members).await;

    scene.lab.leave(members.remove(0));
    scene.until_listed(&members).await;
    scene.end().await;
}

#[tokio::test]
async fn a_member_that_comes_back_at_once_was_never_away() {
    let mut scene = Scene::new(2).await;
    let members = scene.lab.addresses();
    scene.until_listed(&members).await;
    scene.lab.leave(members[0]);
    scene.lab.join(members[0]);
    scene.lab.join(elsewhere(4));
    let came_and_went = |sighting: &Sighting| {
        assert!(sighting.endpoints.contains(Endpoint::new(members[0])), "{sighting:?}");
        sighting.endpoints.contains(Endpoint::new(elsewhere(4)))
    };
    scene.until("joined", came_and_went).await;
    scene.end().await;
}

#[tokio::test]
async fn an_error_keeps_the_list_and_is_told_until_it_is_over() {
    let mut scene = Scene::new(2).await;
    let members = scene.lab.addresses();
    scene.until_listed(&members).await;

    scene.lab.set_slice(SliceAnswer::Error(500));
    let failing = scene.until("failing", |sighting| sighting.error.is_some()).await;
    assert_eq!(failing.endpoints.len(), 2);

    scene.lab.set_slice(SliceAnswer::Members(members.clone()));
    scene.until("well again", |sighting| sighting.error.is_none()).await;
    scene.until_listed(&members).await;
    scene.end().await;
}

#[tokio::test]
async fn an_empty_list_keeps_the_last() {
    let mut scene = Scene::new(3).await;
    let members = scene.lab.addresses();
    scene.until_listed(&members).await;

    scene.lab.set_slice(SliceAnswer::Empty);
    let empty = scene.until("empty", |sighting| sighting.error.is_some()).await;
    assert_eq!(empty.endpoints.len(), 3);
    let error = empty.error.unwrap();
    assert_eq!(error, "the EndpointSlices of default/kubernetes list no endpoint");

    scene.lab.set_slice(SliceAnswer::Members(vec![members[1]]));
    let after = scene.until_listed(&members[1..2]).await;
    assert_eq!(after.error, None);
    scene.end().await;
}

#[tokio::test]
async fn an_empty_list_at_first_is_an_error_and_no_list() {
    let lab = lab(1).await;
    lab.set_slice(SliceAnswer::Members(Vec::new()));
    let access = access(&lab);
    let mut scene = Scene::of(lab, Some(access), EndpointSliceSource::default());
    let sighting = scene.until("failing", |sighting| sighting.error.is_some()).await;
    assert!(sighting.endpoints.is_empty());
    scene.lab.join(elsewhere(4));
    scene.until_listed(&[elsewhere(4)]).await;
    scene.end().await;
}

#[tokio::test]
async fn with_the_first_member_gone_the_next_is_asked() {
    for fault in [Fault::Stopped, Fault::Foreign, Fault::Frozen, Fault::EtcdLost] {
        let lab = lab(2).await;
        lab.set_fault(0, fault).await;
        let access = access(&lab);
        let members = lab.addresses();
        let mut scene = Scene::of(lab, Some(access), EndpointSliceSource::default());
        scene.until_listed(&members).await;
        assert!(scene.lab.requests(1) > 0, "{fault}");
        scene.end().await;
    }
}

#[tokio::test]
async fn a_member_that_completes_tls_and_never_answers_is_passed_over() {
    let lab = lab(2).await;
    lab.set_fault(0, Fault::SilentAnswers).await;
    let access = access(&lab);
    let members = lab.addresses();
    let mut scene = Scene::of(lab, Some(access), EndpointSliceSource::default());
    scene.until_listed(&members).await;
    scene.end().await;
}

#[tokio::test]
async fn a_watch_whose_member_dies_goes_on_at_the_next() {
    let mut scene = Scene::new(2).await;
    let members = scene.lab.addresses();
    scene.until_listed(&members).await;
    scene.lab.set_fault(0, Fault::Stopped).await;
    scene.lab.join(elsewhere(4));
    scene.until_listed(&[members[0], members[1], elsewhere(4)]).await;
    scene.until("well again", |sighting| sighting.error.is_none()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_history_that_is_compacted_is_no_failure() {
    let mut scene = Scene::new(2).await;
    let members = scene.lab.addresses();
    scene.until_listed(&members).await;
    scene.lab.set_fault(0, Fault::Stopped).await;
    scene.lab.join(elsewhere(4));
    scene.lab.compact();
    scene.until_listed(&[members[0], members[1], elsewhere(4)]).await;
    scene.end().await;
}

#[tokio::test]
async fn members_that_become_known_later_are_asked() {
    let lab = lab(1).await;
    let access = access(&lab);
    let members = lab.addresses();
    let mut scene = Scene::of(lab, Some(access), EndpointSliceSource::default());
    scene.members.set(Vec::new());
    scene.members.set(members.clone());
    scene.until_listed(&members).await;
    scene.end().await;
}

#[tokio::test]
async fn without_credentials_it_says_so_and_begins_once_there_are_some() {
    let lab = lab(1).await;
    let (good, members) = (access(&lab), lab.addresses());
    let mut scene = Scene::of(lab, None, EndpointSliceSource::default());
    let error = scene.until("failing", |s| s.error.is_some()).await.error.unwrap();
    assert!(error.contains("set `credentials`"), "{error}");

    let mut without_ca = good.clone();
    without_ca.credentials.ca = None;
    scene.access.send_replace(Some(without_ca));
    let is_about_ca =
        |s: &Sighting| s.error.as_ref().is_some_and(|e| e.contains("CA is not known"));
    scene.until("about the CA", is_about_ca).await;

    scene.access.send_replace(Some(good));
    let sighting = scene.until_listed(&members).await;
    assert!(sighting.synced.is_some());
    scene.until("well again", |sighting| sighting.error.is_none()).await;
    scene.end().await;
}

#[tokio::test]
async fn a_token_does_as_well_as_a_certificate_and_a_wrong_one_is_told() {
    let lab = lab(1).await;
    lab.set_fault(0, Fault::Unauthorized).await;
    let mut with_token = access(&lab);
    with_token.credentials.certificate = None;
    with_token.credentials.token = Some("wrong".to_owned());
    let members = lab.addresses();
    let mut scene = Scene::of(lab, Some(with_token.clone()), EndpointSliceSource::default());
    let error = scene.until("failing", |s| s.error.is_some()).await.error.unwrap();
    assert!(error.contains("the API answers 401"), "{error}");
    with_token.credentials.token = Some(scene.lab.token().to_owned());
    scene.access.send_replace(Some(with_token));
    scene.until_listed(&members).await;
    scene.end().await;
}

#[tokio::test]
async fn a_member_of_another_cluster_is_not_believed() {
    let lab = lab(1).await;
    let access = access(&lab);
    lab.set_fault(0, Fault::Foreign).await;
    let mut scene = Scene::of(lab, Some(access.clone()), EndpointSliceSource::default());
    let sighting = scene.until("failing", |sighting| sighting.error.is_some()).await;
    assert!(sighting.endpoints.is_empty());
    let error = sighting.error.unwrap();
    assert!(error.contains("invalid peer certificate"), "{error}");

    // Unless whoever wrote the kubeconfig wants it so.
    let mut anybody = access;
    anybody.insecure = true;
    anybody.credentials.ca = None;
    scene.access.send_replace(Some(anybody));
    let members = scene.lab.addresses();
    scene.until_listed(&members).await;
    scene.end().await;
}

#[tokio::test]
async fn another_kubernetes_service_is_followed_as_well() {
    let lab = lab(1).await;
    let access = access(&lab);
    let source = EndpointSliceSource {
        namespace: "argocd".to_owned(),
        service: "argocd-server".to_owned(),
        port: None,
    };
    let endpoints = lab.argocd_addresses();
    let mut scene = Scene::of(lab, Some(access), source);
    scene.until_listed(&endpoints).await;
    scene.end().await;
}

#[tokio::test]
async fn a_server_is_what_the_kubeconfig_says_and_not_what_is_asked() {
    let lab = lab(1).await;
    assert_eq!(access(&lab).server, Server { host: "127.0.0.1".to_owned(), port: 1 });
    lab.shutdown().await;
}
