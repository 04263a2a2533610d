use std::net::SocketAddr;

use evenkeel_core::credentials::Credentials;
use evenkeel_core::health::Class;
use evenkeel_core::units::Span;

use super::*;
use crate::attempt::PhaseName;

mod api_server;
mod argocd;
mod awkward;
mod frozen;
mod server;

/// Short enough for a test, long enough for a busy machine.
fn config(probe: Probe) -> HealthConfig {
    HealthConfig {
        tls_timeout: Span::from_millis(600),
        answer_timeout: Span::from_secs(2),
        probe,
        ..HealthConfig::default()
    }
}

fn kube() -> HealthConfig {
    config(Probe::KubeApiserver(KubeApiserverProbe::default()))
}

fn https(path: &str) -> HealthConfig {
    config(Probe::Https(HttpsProbe { path: path.to_owned(), ..HttpsProbe::default() }))
}

fn tls() -> HealthConfig {
    config(Probe::Tls(TlsProbe::default()))
}

fn tcp() -> HealthConfig {
    config(Probe::default())
}

fn nobody() -> Trust {
    Trust::new(&Credentials::default()).unwrap()
}

fn trust_in(ca: &str) -> Trust {
    Trust::new(&Credentials { ca: Some(ca.into()), ..Credentials::default() }).unwrap()
}

async fn probe(config: &HealthConfig, trust: &Trust, address: SocketAddr) -> Attempt {
    attempt(config, trust, Endpoint::new(address)).await
}

/// What the attempt says in one line, for a table of expectations.
fn told(attempt: &Attempt) -> (Class, &str) {
    (attempt.outcome.class, attempt.outcome.detail.as_str())
}

fn phases(attempt: &Attempt) -> Vec<(PhaseName, bool)> {
    attempt.phases.iter().map(|phase| (phase.name, phase.passed)).collect()
}

fn steps(attempt: &Attempt) -> Vec<(&str, Option<u16>)> {
    attempt.steps.iter().map(|step| (step.path.as_str(), step.status)).collect()
}
