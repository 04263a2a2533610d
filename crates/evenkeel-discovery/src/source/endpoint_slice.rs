//! The API servers as the cluster itself lists them: the EndpointSlices of `default/kubernetes`.
//!
//! The list says who is a member, and not who is ready: an API server that crashes leaves it after
//! 15 to 25 s, and one that turns unready never does (k/k#119535). So readiness in it is ignored,
//! and probes decide.
//!
//! Slices are found by label and never by name, and all are united: mirrored ones have generated
//! names, and each has one address family.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::time::{Duration, SystemTime};

use evenkeel_core::endpoint::{Endpoint, EndpointSet, Provenance};
use futures::{Stream, StreamExt as _};
use garde::Validate;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::failure::Failure;
use self::reading::Reading;
use self::settle::Settle;
use crate::access::ApiAccess;
use crate::client::ApiClient;
use crate::members::Members;
use crate::metrics::SourceMetrics;
use crate::sighting::Sighting;

mod failure;
mod reading;
mod settle;

/// How long one watch lasts, in seconds. The watcher takes one that is silent 5 s longer for dead
/// and begins another where it ended: a member that freezes is noticed within 50 s.
const WATCH_SECONDS: u32 = 45;
/// Longest wait for a whole list.
const LIST_TIMEOUT: Duration = Duration::from_secs(15);

/// The settings of the source `endpointSlice`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Validate)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointSliceSource {
    /// Namespace of the Kubernetes Service. Default `default`.
    #[garde(custom(a_name))]
    pub namespace: String,
    /// The Kubernetes Service whose endpoints are taken. Default `kubernetes`: the API servers.
    #[garde(custom(a_name))]
    pub service: String,
    /// Name of the port to take. Default: the one named `https`, or else the only one.
    #[garde(skip)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
}

impl Default for EndpointSliceSource {
    fn default() -> Self {
        Self { namespace: "default".to_owned(), service: "kubernetes".to_owned(), port: None }
    }
}

/// A DNS label, so that it stands for itself in a URL and in a label selector.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "garde's form of a rule")]
fn a_name(name: &str, (): &()) -> garde::Result {
    let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || !name.chars().all(is_label) {
        return Err(garde::Error::new(format!("`{name}` is not the name of a Kubernetes object")));
    }
    Ok(())
}

impl EndpointSliceSource {
    pub(super) async fn watch(
        self,
        service: &str,
        mut api: ApiAccess,
        sightings: watch::Sender<Sighting>,
        stop: &CancellationToken,
    ) {
        let mut watch = Watch {
            metrics: SourceMetrics::new(service, Provenance::EndpointSlice),
            service: service.to_owned(),
            source: self,
            sightings,
            slices: BTreeMap::new(),
            listing: BTreeMap::new(),
            settle: Settle::default(),
            failing: None,
        };
        // `None` is the order to stop: by itself it has no end.
        let _stopped: Option<()> = stop.run_until_cancelled(watch.run(&mut api)).await;
    }

    fn events(
        &self,
        client: kube::Client,
    ) -> impl Stream<Item = watcher::Result<Event<EndpointSlice>>> + use<> {
        let slices = Api::<EndpointSlice>::namespaced(client, &self.namespace);
        let label = format!("kubernetes.io/service-name={}", self.service);
        let config = watcher::Config::default().labels(&label).timeout(WATCH_SECONDS);
        watcher(slices, config).default_backoff()
    }
}

/// One source at work.
struct Watch {
    service: String,
    source: EndpointSliceSource,
    sightings: watch::Sender<Sighting>,
    metrics: SourceMetrics,
    /// The slices by name: as they are, and as a list that is not complete yet has them.
    slices: BTreeMap<String, Reading>,
    listing: BTreeMap<String, Reading>,
    settle: Settle,
    failing: Option<Failure>,
}

impl Watch {
    async fn run(&mut self, api: &mut ApiAccess) {
        loop {
            let access = api.access.borrow_and_update().clone();
            match ApiClient::new(access.as_ref(), &api.members) {
                Ok(client) => self.follow(client, api).await,
                Err(error) => {
                    self.fail(Failure::client(&error));
                    changed(&mut api.access).await;
                }
            }
        }
    }

    /// Follows the slices with one client, until the access changes or a list hangs.
    async fn follow(&mut self, client: ApiClient, api: &mut ApiAccess) {
        let ApiClient { client, mut answered } = client;
        let mut events = pin!(self.source.events(client));
        let mut list_by: Option<Instant> = None;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        list_by = match event {
                            Event::Init => Some(Instant::now() + LIST_TIMEOUT),
                            Event::InitApply(_) => list_by,
                            Event::InitDone | Event::Apply(_) | Event::Delete(_) => None,
                        };
                        self.take(event);
                    }
                    Some(Err(error)) => {
                        list_by = None;
                        if let Some(failure) = Failure::watcher(&error) {
                            self.fail(failure);
                        }
                    }
                    // The watcher has no end; should it get one, it is begun anew.
                    None => return,
                },
                Ok(()) = answered.changed() => self.answered(),
                () = sleep_until_some(self.settle.due()) => {
                    if self.settle.let_go(Instant::now()) {
                        self.publish();
                    }
                }
                () = sleep_until_some(list_by) => {
                    self.fail(Failure::hung_list(LIST_TIMEOUT));
                    return self.pass_over(&api.members);
                }
                () = changed(&mut api.access) => return,
            }
        }
    }

    fn pass_over(&mut self, members: &Members) {
        self.listing.clear();
        members.pass_over_first();
    }

    fn take(&mut self, event: Event<EndpointSlice>) {
        let port = self.source.port.as_deref();
        match event {
            Event::Init => return self.listing.clear(),
            Event::InitApply(slice) => {
                self.listing.insert(slice.name_any(), Reading::of(&slice, port));
                return;
            }
            Event::InitDone => self.slices = std::mem::take(&mut self.listing),
            Event::Apply(slice) => {
                self.slices.insert(slice.name_any(), Reading::of(&slice, port));
            }
            Event::Delete(slice) => {
                self.slices.remove(&slice.name_any());
            }
        }
        self.listed();
    }

    /// What to make of the slices as they are now.
    fn listed(&mut self) {
        let endpoints: BTreeSet<Endpoint> =
            self.slices.values().flat_map(|reading| &reading.endpoints).copied().collect();
        if endpoints.is_empty() {
            self.settle.nothing_listed();
            let EndpointSliceSource { namespace, service, port } = &self.source;
            return self.fail(Failure::nothing_listed(namespace, service, port.as_deref()));
        }
        if self.failing.as_ref().is_some_and(Failure::is_about_the_content) {
            self.recover();
        }
        self.settle.listed(Instant::now(), endpoints);
        self.publish();
    }

    fn publish(&self) {
        let endpoints = self.settle.current();
        self.metrics.endpoints(endpoints.len());
        let terminating: BTreeSet<Endpoint> =
            self.slices.values().flat_map(|reading| &reading.terminating).copied().collect();
        let set = EndpointSet::from_source(Provenance::EndpointSlice, endpoints.iter().copied());
        self.sightings.send_if_modified(|sighting| {
            let changed = sighting.endpoints != set || sighting.terminating != terminating;
            if changed {
                tracing::info!(
                    service = self.service,
                    source = Provenance::EndpointSlice.as_str(),
                    endpoints = ?endpoints,
                    terminating = ?terminating,
                    "endpoints discovered"
                );
                sighting.endpoints = set;
                sighting.terminating = terminating;
            }
            changed
        });
    }

    /// An answer came, if only that nothing has changed.
    fn answered(&mut self) {
        self.metrics.synced(SystemTime::now());
        self.sightings.send_modify(|sighting| sighting.synced = Some(Instant::now()));
        if !self.failing.as_ref().is_some_and(Failure::is_about_the_content) {
            self.recover();
        }
    }

    /// Keeps what is known, counts, and says so once.
    fn fail(&mut self, failure: Failure) {
        self.metrics.error();
        if !self.failing.as_ref().is_some_and(|before| before.is_like(&failure)) {
            tracing::warn!(
                service = self.service,
                source = Provenance::EndpointSlice.as_str(),
                error = failure.text(),
                "discovery has no answer, the last endpoints are kept"
            );
        }
        self.sightings.send_modify(|sighting| sighting.error = Some(failure.text().to_owned()));
        self.failing = Some(failure);
    }

    fn recover(&mut self) {
        if self.failing.take().is_some() {
            tracing::info!(
                service = self.service,
                source = Provenance::EndpointSlice.as_str(),
                "discovery has answers again"
            );
            self.sightings.send_modify(|sighting| sighting.error = None);
        }
    }
}

/// Ends when the access is another; never, if nobody can change it any more.
async fn changed(access: &mut watch::Receiver<Option<crate::access::ClusterAccess>>) {
    if access.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
