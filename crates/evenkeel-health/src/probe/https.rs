//! The probe `https`: one GET, judged by its status.

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::Class;
use garde::Validate;
use hyper::StatusCode;
use hyper::http::uri::PathAndQuery;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::liveness;
use super::request::{Answer, Exchange, answer_within};
use super::target::{Target, host_name};
use crate::attempt::{PhaseName, Record, Seen, Step};
use crate::config::HealthConfig;
use crate::trust::{Trust, Verify};

/// One GET over HTTPS. Its status decides, and never what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Validate, JsonSchema)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HttpsProbe {
    /// The path asked for, with its query if it has one. Default `/healthz`, with the preset
    /// `https` `/`.
    #[garde(custom(request_path))]
    pub path: String,

    /// The name asked for (SNI and `Host`), for which the certificate has to be. By default none
    /// is asked for, and the certificate has to be for the endpoint's IP address.
    #[garde(inner(custom(host_name)))]
    pub server_name: Option<String>,

    /// Whether the certificate is verified: `auto`, which is if the credentials have a CA, or
    /// `never`, which a self-signed certificate like that of ArgoCD needs. Default `auto`, with
    /// the preset `argocd-server` `never`.
    #[garde(skip)]
    pub verify: Verify,

    /// The statuses that mean ready. Default `[200]`.
    #[garde(length(min = 1, max = 100), inner(range(min = 200, max = 599)))]
    pub expect: Vec<u16>,
}

impl Default for HttpsProbe {
    fn default() -> Self {
        Self {
            path: "/healthz".to_owned(),
            server_name: None,
            verify: Verify::Auto,
            expect: vec![200],
        }
    }
}

impl HttpsProbe {
    pub(super) async fn attempt(
        &self,
        config: &HealthConfig,
        trust: &Trust,
        endpoint: Endpoint,
        record: &mut Record,
    ) -> Result<Seen, Seen> {
        let name = self.server_name.as_deref();
        let target = Target::new(config, trust, endpoint, name, self.verify)?;
        let mut exchange = Exchange::new(target.open(record).await?).await?;
        let get = answer_within(config.answer_timeout, exchange.get(&target, &self.path));
        let answering = liveness::beside(&target, get);
        let answer = record.phase(PhaseName::Answer, answering, Answer::tell).await;
        let status = answer.as_ref().ok().map(|answer| answer.status.as_u16());
        record.steps.push(Step { path: self.path.clone(), status });
        let answer = answer?;
        exchange.close().await;
        Ok(Seen::new(self.class(answer.status), answer.tell()))
    }

    fn class(&self, status: StatusCode) -> Class {
        if self.expect.contains(&status.as_u16()) { Class::Ready } else { class_of(status) }
    }
}

/// What a status means that is not one of the ready ones.
pub(super) fn class_of(status: StatusCode) -> Class {
    match status.as_u16() {
        401 => Class::Unauthorized,
        403 => Class::Forbidden,
        429 => Class::Throttled,
        503 => Class::Unavailable,
        _ => Class::UnexpectedStatus,
    }
}

fn request_path<Context>(path: &str, _context: &Context) -> garde::Result {
    if path.starts_with('/') && path.parse::<PathAndQuery>().is_ok_and(|parsed| parsed == path) {
        Ok(())
    } else {
        Err(garde::Error::new(format!("`{path}` is not a path that starts with /")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_status_is_ready_whatever_it_is() {
        let probe = HttpsProbe { expect: vec![401], ..HttpsProbe::default() };
        assert_eq!(probe.class(StatusCode::UNAUTHORIZED), Class::Ready);
        assert_eq!(probe.class(StatusCode::OK), Class::UnexpectedStatus);
        assert_eq!(probe.class(StatusCode::SERVICE_UNAVAILABLE), Class::Unavailable);
    }

    #[test]
    fn a_path_is_one_that_a_request_can_carry() {
        for path in ["/", "/readyz?exclude=etcd&verbose"] {
            assert!(request_path(path, &()).is_ok(), "{path}");
        }
        for path in ["", "healthz", "https://a/b", "/a b", "/a#b", "/\r\nHost: x", "*"] {
            assert!(request_path(path, &()).is_err(), "{path}");
        }
    }
}
