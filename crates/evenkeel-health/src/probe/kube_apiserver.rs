//! The probe `kubeApiserver`: `/readyz` and, if that says 500, the questions that tell why. By
//! status codes alone, since Kubernetes calls the text "not intended to be consumed by a machine".
//!
//! | asked, in this order | 200 means |
//! |---|---|
//! | `/readyz` | ready |
//! | `/readyz?exclude=etcd&exclude=etcd-readiness` | ready but for its etcd |
//! | `/readyz?exclude=shutdown&exclude=etcd&exclude=etcd-readiness` | shutting down |
//! | `/livez` | alive, its start not finished |
//!
//! `/readyz?exclude=shutdown` is not asked: where it is answered with 200, so is the third, and
//! it would wait 4 s for a hung etcd.

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use garde::Validate;
use hyper::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time;

use super::https::class_of;
use super::liveness;
use super::request::{Answer, Exchange, answer_within};
use super::target::{Target, host_name};
use crate::attempt::{PhaseName, Record, Seen, Step};
use crate::config::HealthConfig;
use crate::trust::{Trust, Verify};

/// The health endpoints of a kube-apiserver. Its certificate is verified if the credentials have
/// the CA of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct KubeApiserverProbe {
    /// The name asked for, for which the certificate has to be. Default
    /// `kubernetes.default.svc`, which the certificates of kubeadm, k3s, RKE2, k0s, microk8s and
    /// Talos are all for.
    #[garde(custom(host_name))]
    pub server_name: String,
}

impl Default for KubeApiserverProbe {
    fn default() -> Self {
        Self { server_name: "kubernetes.default.svc".to_owned() }
    }
}

const READY: &str = "/readyz";

/// What is asked after a 500, and what a 200 then means.
const LADDER: [(&str, Class); 3] = [
    ("/readyz?exclude=etcd&exclude=etcd-readiness", Class::EtcdUnready),
    ("/readyz?exclude=shutdown&exclude=etcd&exclude=etcd-readiness", Class::ShuttingDown),
    ("/livez", Class::Starting),
];

impl KubeApiserverProbe {
    pub(super) async fn attempt(
        &self,
        config: &HealthConfig,
        trust: &Trust,
        endpoint: Endpoint,
        record: &mut Record,
    ) -> Result<Seen, Seen> {
        let name = Some(self.server_name.as_str());
        let target = Target::new(config, trust, endpoint, name, Verify::Auto)?;
        let exchange = Exchange::new(target.open(record).await?).await?;
        let mut questions = Questions { target: &target, exchange: Some(exchange), steps: vec![] };
        let answering = liveness::beside(&target, questions.ask_all());
        let seen =
            record.phase(PhaseName::Answer, answering, |seen: &Seen| seen.detail.clone()).await;
        record.steps = questions.steps;
        if let Some(exchange) = questions.exchange {
            exchange.close().await;
        }
        seen
    }
}

/// Asks one question after the other, over the same connection as long as it is kept.
struct Questions<'a> {
    target: &'a Target<'a>,
    exchange: Option<Exchange>,
    steps: Vec<Step>,
}

impl Questions<'_> {
    async fn ask_all(&mut self) -> Result<Seen, Seen> {
        let within = self.target.config.answer_timeout;
        let answer = answer_within(within, self.ask(READY)).await?;
        let class = match answer.status {
            StatusCode::OK => Class::Ready,
            // It has answered: whatever comes of the further questions, it is not silent.
            StatusCode::INTERNAL_SERVER_ERROR => {
                let ladder = time::timeout(within.duration(), self.climb());
                ladder.await.unwrap_or(Class::Broken)
            }
            other => class_of(other),
        };
        Ok(Seen::new(class, detail(&answer)))
    }

    /// Asks until a question is answered with 200. No answer is as good as a failure.
    async fn climb(&mut self) -> Class {
        for (path, class) in LADDER {
            if self.ask(path).await.is_ok_and(|answer| answer.status == StatusCode::OK) {
                return class;
            }
        }
        Class::Broken
    }

    async fn ask(&mut self, path: &str) -> Result<Answer, Seen> {
        // Taken down before it is known, since the question may be given up.
        self.steps.push(Step { path: path.to_owned(), status: None });
        let answer = self.get(path).await?;
        if let Some(step) = self.steps.last_mut() {
            step.status = Some(answer.status.as_u16());
        }
        Ok(answer)
    }

    async fn get(&mut self, path: &str) -> Result<Answer, Seen> {
        // While a question is out, the connection is not kept: one given up cannot be asked again.
        if let Some(mut exchange) = self.exchange.take() {
            match exchange.get(self.target, path).await {
                Ok(answer) => {
                    self.exchange = Some(exchange);
                    return Ok(answer);
                }
                // A server that does not keep the connection closes it after an answer, never
                // before the first.
                Err(seen) if seen.class == Class::Closed && self.steps.len() > 1 => {}
                Err(seen) => return Err(seen),
            }
        }
        let mut exchange = Exchange::new(self.target.open_another().await?).await?;
        let answer = exchange.get(self.target, path).await?;
        self.exchange = Some(exchange);
        Ok(answer)
    }
}

/// The status and, for people, the checks that failed: `500 [-]etcd failed`.
fn detail(answer: &Answer) -> String {
    if answer.status != StatusCode::INTERNAL_SERVER_ERROR {
        return answer.tell();
    }
    let body = String::from_utf8_lossy(&answer.body);
    let failed: Vec<&str> = body
        .lines()
        .filter(|line| line.starts_with("[-]"))
        // After the colon comes `reason withheld`.
        .filter_map(|line| line.split(':').next())
        .collect();
    if failed.is_empty() { answer.tell() } else { format!("500 {}", failed.join(", ")) }
}
