//! What the EndpointSlice `default/kubernetes` says: the members as the cluster sees them.
//!
//! A kube-apiserver joins after its first `/readyz` 200 and leaves when it is asked to end. One
//! that is killed stays until its lease runs out, 15 to 25 s later.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};

use super::{ControlPlane, Member, node};
use crate::host::EnterError;
use crate::https::{Connection, HttpsError, Identity, in_one_line};

/// Why the members are not as they were waited for.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// A host could not be entered.
    #[error("could not look at a host from inside")]
    Enter(#[from] EnterError),
    /// The EndpointSlice still lists others.
    #[error("expected {expected:?} after {after:?}, last seen: {last}")]
    Timeout {
        /// Who should be listed.
        expected: BTreeSet<Ipv4Addr>,
        /// How long it was waited for.
        after: Duration,
        /// What was listed, or why that is not known.
        last: String,
    },
}

impl ControlPlane {
    /// Waits until the EndpointSlice `default/kubernetes` lists exactly `members`; asks any
    /// kube-apiserver that answers, each on its own host.
    ///
    /// # Errors
    /// If it does not within `limit`.
    pub fn wait_endpoints(
        &self,
        members: &[Member],
        limit: Duration,
    ) -> Result<(), MembershipError> {
        let expected: BTreeSet<_> =
            members.iter().map(|member| self.host(*member).ipv4()).collect();
        let deadline = Instant::now() + limit;
        let mut last = "no kube-apiserver runs".to_owned();
        loop {
            let running = Member::ALL.into_iter().filter(|member| self.is_running(*member));
            for member in running {
                let host = self.host(member);
                match host.block_on(async { timeout(ANSWER, listed(&self.admin)).await })? {
                    Ok(Ok(listed)) if listed == expected => return Ok(()),
                    Ok(Ok(listed)) => last = format!("{listed:?}"),
                    Ok(Err(error)) => last = in_one_line(&error),
                    Err(elapsed) => last = elapsed.to_string(),
                }
            }
            if Instant::now() >= deadline {
                return Err(MembershipError::Timeout { expected, after: limit, last });
            }
            self.host(Member::One).block_on(async { sleep(PAUSE).await })?;
        }
    }
}

async fn listed(admin: &Identity) -> Result<BTreeSet<Ipv4Addr>, HttpsError> {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, node::PORT));
    let body = Connection::secure(here, admin).await?.get(SLICE).await?;
    let slice: Value = serde_json::from_slice(&body).unwrap_or_default();
    let endpoints = slice["endpoints"].as_array().into_iter().flatten();
    let addresses = endpoints.filter_map(|endpoint| endpoint["addresses"].as_array()).flatten();
    Ok(addresses.filter_map(|address| address.as_str()?.parse().ok()).collect())
}

const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
const ANSWER: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(200);
