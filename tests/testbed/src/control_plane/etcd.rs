//! The etcd of the members: its command line, who leads, and a transfer of the lead.
//!
//! A host that is cut or frozen takes its etcd along. If that one leads, every write waits for an
//! election, a second or two: a test that measures the balancer moves the lead away before.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use hyper::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{ControlPlane, Member};
use crate::host::{EnterError, Host};
use crate::https::{Connection, HttpsError};

/// Why the lead of etcd is not known or not moved.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// No member that answers says that it leads.
    #[error("no etcd that answers leads")]
    NoLeader,
    /// The leader did not give the lead to the member that was asked for.
    #[error("the etcd of {from} did not hand the lead to that of {to}")]
    NotMoved {
        /// Who leads.
        from: Member,
        /// Who should.
        to: Member,
    },
    /// A host could not be entered.
    #[error("could not look at a host from inside")]
    Enter(#[from] EnterError),
}

/// What an etcd says of itself and of its leader.
struct Status {
    id: u64,
    leader: u64,
}

impl ControlPlane {
    /// The member whose etcd leads, waited for at most 10 s.
    ///
    /// # Errors
    /// If none does among those that answer.
    pub fn etcd_leader(&self) -> Result<Member, EtcdError> {
        Ok(self.leader_and_ids()?.0)
    }

    /// A member whose etcd does not lead: one that may fail without an election.
    ///
    /// # Errors
    /// If no etcd leads among those that answer.
    pub fn etcd_follower(&self) -> Result<Member, EtcdError> {
        let [follower, _] = self.etcd_leader()?.others();
        Ok(follower)
    }

    /// Sees to it that another etcd than that of `member` leads, so that `member` may fail without
    /// an election.
    ///
    /// # Errors
    /// If no etcd leads, or the lead was not handed over within 10 s.
    pub fn move_etcd_leader_away_from(&self, member: Member) -> Result<(), EtcdError> {
        let (leader, statuses) = self.leader_and_ids()?;
        if leader != member {
            return Ok(());
        }
        let heir = member.others().into_iter().find_map(|other| {
            let (_, status) = statuses.iter().find(|(named, _)| *named == other)?;
            Some((other, status.id))
        });
        let (heir, id) = heir.ok_or(EtcdError::NoLeader)?;
        let moved = self.host(leader).block_on(async {
            // The gateway of etcd writes 64 bit numbers as strings.
            let order = json!({ "targetID": id.to_string() });
            timeout(ELECTION, post("/v3/maintenance/transfer-leadership", &order)).await
        })?;
        match moved {
            Ok(Ok(_answer)) if self.etcd_leader()? != member => Ok(()),
            Ok(_) | Err(_) => Err(EtcdError::NotMoved { from: leader, to: heir }),
        }
    }

    fn leader_and_ids(&self) -> Result<(Member, Vec<(Member, Status)>), EtcdError> {
        let deadline = Instant::now() + ELECTION;
        loop {
            let statuses = self.etcd_statuses()?;
            let leads = statuses.iter().find(|(_, status)| status.id == status.leader);
            if let Some((member, _)) = leads {
                return Ok((*member, statuses));
            }
            if Instant::now() >= deadline {
                return Err(EtcdError::NoLeader);
            }
            self.host(Member::One).block_on(async { sleep(PAUSE).await })?;
        }
    }

    fn etcd_statuses(&self) -> Result<Vec<(Member, Status)>, EtcdError> {
        let mut statuses = Vec::new();
        for member in Member::ALL {
            let answer = self.host(member).block_on(async {
                timeout(ANSWER, post("/v3/maintenance/status", &json!({}))).await
            })?;
            if let Ok(Ok(body)) = answer {
                statuses.extend(status(&body).map(|status| (member, status)));
            }
        }
        Ok(statuses)
    }
}

/// The value of `--initial-cluster`: every member with the address that its peers use.
pub(super) fn initial_cluster(hosts: &[Host; 3]) -> String {
    hosts.each_ref().map(|host| format!("{}={}", host.name(), peer_url(host))).join(",")
}

pub(super) fn flags(host: &Host, initial_cluster: &str) -> Vec<String> {
    let data = host.directory().join(format!("{}-etcd", host.name()));
    [
        ("name", host.name().to_owned()),
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", CLIENT_URL.to_owned()),
        ("advertise-client-urls", CLIENT_URL.to_owned()),
        ("listen-peer-urls", peer_url(host)),
        ("initial-advertise-peer-urls", peer_url(host)),
        ("initial-cluster", initial_cluster.to_owned()),
        ("initial-cluster-state", "new".to_owned()),
        // A test loses no data by losing power.
        ("unsafe-no-fsync", "true".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| format!("--{name}={value}"))
    .collect()
}

fn peer_url(host: &Host) -> String {
    format!("http://{}:2380", host.ipv4())
}

async fn post(path: &str, body: &Value) -> Result<Bytes, HttpsError> {
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, CLIENT_PORT));
    let body = Some(("application/json", body.to_string()));
    Connection::plain(here).await?.ask(Method::POST, path, body).await
}

fn status(body: &[u8]) -> Option<Status> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let number = |value: &Value| value.as_str()?.parse().ok();
    Some(Status { id: number(&body["header"]["member_id"])?, leader: number(&body["leader"])? })
}

pub(super) const CLIENT_URL: &str = "http://127.0.0.1:2379";
const CLIENT_PORT: u16 = 2379;

/// How long an election or a transfer may take; a default election timeout is 1 s.
const ELECTION: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_64_bits_come_as_strings() {
        let body = br#"{"header":{"member_id":"10501334649042878790"},"leader":"7"}"#;
        let status = status(body).unwrap();
        assert_eq!((status.id, status.leader), (10_501_334_649_042_878_790, 7));
    }

    #[test]
    fn an_etcd_without_a_leader_leaves_it_out() {
        assert!(status(br#"{"header":{"member_id":"1"}}"#).is_none());
    }
}
