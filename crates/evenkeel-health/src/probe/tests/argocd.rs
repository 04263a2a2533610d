//! The probe `https` against the lab.

use evenkeel_lab::{ControlPlane, Fault, Options};

use super::*;
use crate::trust::Verify;

async fn one_server() -> ControlPlane {
    let options = Options { api_servers: 0, argocd_servers: 1, ..Options::default() };
    ControlPlane::start(options).await.unwrap()
}

async fn probe_it(lab: &ControlPlane, probe: HttpsProbe, trust: &Trust) -> Attempt {
    let address = lab.argocd_server(0).address();
    super::probe(&config(Probe::Https(probe)), trust, address).await
}

fn never() -> HttpsProbe {
    HttpsProbe { verify: Verify::Never, ..HttpsProbe::default() }
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_where_told_so() {
    let lab = one_server().await;
    // The cluster's CA, which has not signed it.
    let trust = trust_in(lab.ca_pem());
    let attempt = probe_it(&lab, HttpsProbe::default(), &trust).await;
    assert_eq!(attempt.outcome.class, Class::Foreign);
    let attempt = probe_it(&lab, never(), &trust).await;
    assert_eq!(told(&attempt), (Class::Ready, "200 OK"));
    assert!(attempt.phases[1].detail.contains("NOT verified"));
}

#[tokio::test]
async fn without_a_name_the_certificate_has_to_be_for_the_ip_address() {
    let lab = one_server().await;
    let trust = trust_in(lab.argocd_ca_pem());
    let attempt = probe_it(&lab, HttpsProbe::default(), &trust).await;
    assert_eq!(attempt.outcome.class, Class::Ready);
    assert_eq!(attempt.phases[1].detail, "TLS 1.3, its certificate is valid for 127.0.0.1");
    let named = |name: &str| HttpsProbe { server_name: Some(name.into()), ..HttpsProbe::default() };
    let attempt = probe_it(&lab, named("argocd-server.argocd.svc"), &trust).await;
    assert_eq!(attempt.outcome.class, Class::Ready);
    let attempt = probe_it(&lab, named("argocd.example"), &trust).await;
    assert_eq!(attempt.outcome.class, Class::CertificateInvalid);
}

#[tokio::test]
async fn the_status_decides() {
    let lab = one_server().await;
    for (fault, class) in [
        (Fault::ShuttingDown, Class::Unavailable),
        (Fault::Broken, Class::UnexpectedStatus),
        (Fault::Unauthorized, Class::Unauthorized),
        (Fault::Forbidden, Class::Forbidden),
        (Fault::Throttled, Class::Throttled),
    ] {
        lab.argocd_server(0).set_fault(fault).await;
        let attempt = probe_it(&lab, never(), &nobody()).await;
        assert_eq!(attempt.outcome.class, class, "{fault}");
    }
    lab.argocd_server(0).set_fault(Fault::None).await;
    let missing = HttpsProbe { path: "/none?x=1".into(), ..never() };
    let attempt = probe_it(&lab, missing.clone(), &nobody()).await;
    assert_eq!(told(&attempt), (Class::UnexpectedStatus, "404 Not Found"));
    assert_eq!(steps(&attempt), [("/none?x=1", Some(404))]);
    let expected = HttpsProbe { expect: vec![404], ..missing };
    assert_eq!(probe_it(&lab, expected, &nobody()).await.outcome.class, Class::Ready);
}

#[tokio::test]
async fn settings_that_no_request_can_carry_are_a_fault_of_the_probe() {
    let lab = one_server().await;
    for probe in [
        HttpsProbe { path: "no path".into(), ..never() },
        HttpsProbe { server_name: Some("no name".into()), ..never() },
    ] {
        let attempt = probe_it(&lab, probe, &nobody()).await;
        assert_eq!(attempt.outcome.class, Class::ProbeFault);
    }
}
