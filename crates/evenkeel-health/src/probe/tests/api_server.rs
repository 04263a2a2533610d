//! The probe `kubeApiserver` against the lab.

use std::time::Duration;

use evenkeel_core::credentials::ClientCertificate;
use evenkeel_lab::{Authority, ControlPlane, Fault, Options};

use super::*;

async fn one_server() -> ControlPlane {
    let options = Options { api_servers: 1, argocd_servers: 0, ..Options::default() };
    ControlPlane::start(options).await.unwrap()
}

async fn probe_it(lab: &ControlPlane, config: &HealthConfig, trust: &Trust) -> Attempt {
    probe(config, trust, lab.api_server(0).address()).await
}

const LADDER: [&str; 4] = [
    "/readyz",
    "/readyz?exclude=etcd&exclude=etcd-readiness",
    "/readyz?exclude=shutdown&exclude=etcd&exclude=etcd-readiness",
    "/livez",
];

#[tokio::test]
async fn a_ready_server_passes_every_phase() {
    let lab = one_server().await;
    let attempt = probe_it(&lab, &kube(), &trust_in(lab.ca_pem())).await;
    assert_eq!(told(&attempt), (Class::Ready, "200 OK"));
    assert_eq!(steps(&attempt), [("/readyz", Some(200))]);
    let names = [PhaseName::Connect, PhaseName::Tls, PhaseName::Answer];
    assert_eq!(phases(&attempt), names.map(|name| (name, true)));
    assert_eq!(
        attempt.phases[1].detail,
        "TLS 1.3, its certificate is valid for kubernetes.default.svc"
    );
    assert_eq!(
        attempt.outcome.took,
        attempt.phases.iter().map(|phase| phase.took).sum::<Duration>()
    );
}

#[tokio::test]
async fn each_fault_has_its_class() {
    let lab = one_server().await;
    let trust = trust_in(lab.ca_pem());
    for (fault, class, detail) in [
        (Fault::None, Class::Ready, "200 OK"),
        (Fault::ShuttingDown, Class::ShuttingDown, "500 [-]shutdown failed"),
        (Fault::EtcdLost, Class::EtcdUnready, "500 [-]etcd failed, [-]etcd-readiness failed"),
        (Fault::Starting, Class::Starting, "500 [-]poststarthook/rbac/bootstrap-roles failed"),
        (Fault::Broken, Class::Broken, "500 Internal Server Error"),
        (Fault::Unauthorized, Class::Unauthorized, "401 Unauthorized"),
        (Fault::Forbidden, Class::Forbidden, "403 Forbidden"),
        (Fault::Throttled, Class::Throttled, "429 Too Many Requests"),
        (Fault::Foreign, Class::Foreign, "its certificate is not from the CA we trust"),
        (Fault::Refusing, Class::Refused, "Connection refused (os error 111)"),
        (Fault::Stopped, Class::Refused, "Connection refused (os error 111)"),
        (Fault::Frozen, Class::TlsTimeout, "no TLS handshake within 600ms"),
        (Fault::SilentAnswers, Class::AnswerTimeout, "no answer within 2s"),
    ] {
        lab.set_fault(0, fault).await;
        let attempt = probe_it(&lab, &kube(), &trust).await;
        assert_eq!(told(&attempt), (class, detail), "{fault}");
    }
}

#[tokio::test]
async fn the_ladder_is_climbed_no_further_than_needed_and_on_one_connection() {
    let lab = one_server().await;
    let trust = trust_in(lab.ca_pem());
    for (fault, statuses) in [
        (Fault::EtcdLost, vec![500, 200]),
        (Fault::ShuttingDown, vec![500, 500, 200]),
        (Fault::Starting, vec![500, 500, 500, 200]),
        (Fault::Broken, vec![500, 500, 500, 500]),
    ] {
        lab.set_fault(0, fault).await;
        let before = lab.api_server(0).accepted();
        let attempt = probe_it(&lab, &kube(), &trust).await;
        let expected: Vec<_> = LADDER.into_iter().zip(statuses.into_iter().map(Some)).collect();
        assert_eq!(steps(&attempt), expected, "{fault}");
        assert_eq!(lab.api_server(0).accepted() - before, 1, "{fault}");
    }
}

#[tokio::test]
async fn a_cluster_of_the_same_name_is_foreign() {
    let lab = one_server().await;
    // As kubeadm does: the CA of every cluster has the same name.
    let theirs = Authority::new("evenkeel lab").unwrap();
    for config in [kube(), tls()] {
        let attempt = probe_it(&lab, &config, &trust_in(theirs.pem())).await;
        let detail = "its certificate is not signed by the CA we trust";
        assert_eq!(told(&attempt), (Class::Foreign, detail));
        assert_eq!(phases(&attempt), [(PhaseName::Connect, true), (PhaseName::Tls, false)]);
    }
}

#[tokio::test]
async fn without_a_ca_any_certificate_is_accepted_and_that_is_said() {
    let lab = one_server().await;
    lab.set_fault(0, Fault::Foreign).await;
    let attempt = probe_it(&lab, &kube(), &nobody()).await;
    assert_eq!(attempt.outcome.class, Class::Ready);
    assert_eq!(
        attempt.phases[1].detail,
        "TLS 1.3, identity NOT verified: any certificate is accepted"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_invalid_and_not_foreign() {
    let lab = one_server().await;
    let server_name = "kubernetes.default.example".to_owned();
    let config = config(Probe::KubeApiserver(KubeApiserverProbe { server_name }));
    let attempt = probe_it(&lab, &config, &trust_in(lab.ca_pem())).await;
    assert_eq!(attempt.outcome.class, Class::CertificateInvalid);
    assert!(attempt.outcome.detail.contains("kubernetes.default.example"), "{attempt:?}");
}

#[tokio::test]
async fn a_credential_answers_a_401() {
    let lab = one_server().await;
    lab.set_fault(0, Fault::Unauthorized).await;
    let ca = Some(lab.ca_pem().into());
    let token = Some(lab.token().to_owned());
    let certificate = Some(ClientCertificate {
        chain: lab.admin().certificate_pem.clone().into(),
        key: lab.admin().key_pem.clone().into(),
    });
    for (credentials, class) in [
        (Credentials { ca: ca.clone(), token: None, certificate: None }, Class::Unauthorized),
        (Credentials { ca: ca.clone(), token: token.clone(), certificate: None }, Class::Ready),
        (
            Credentials { ca: ca.clone(), token: None, certificate: certificate.clone() },
            Class::Ready,
        ),
        // Without a CA the other end may be anybody. A certificate can be shown to anybody, a
        // token cannot.
        (Credentials { ca: None, token, certificate: None }, Class::Unauthorized),
        (Credentials { ca: None, token: None, certificate }, Class::Ready),
    ] {
        let trust = Trust::new(&credentials).unwrap();
        let attempt = probe_it(&lab, &kube(), &trust).await;
        assert_eq!(attempt.outcome.class, class, "{credentials:?}");
    }
}

#[tokio::test]
async fn a_dropped_attempt_leaves_no_connection() {
    let lab = one_server().await;
    lab.set_fault(0, Fault::SilentAnswers).await;
    let mut open = lab.api_server(0).watch_connections();
    let (config, trust) = (kube(), trust_in(lab.ca_pem()));
    {
        let attempt = probe_it(&lab, &config, &trust);
        tokio::select! {
            attempt = attempt => panic!("ended: {attempt:?}"),
            opened = open.wait_for(|open| *open > 0) => drop(opened.unwrap()),
        }
    }
    open.wait_for(|open| *open == 0).await.unwrap();
}

#[tokio::test]
async fn a_handshake_proves_more_than_a_connect() {
    let lab = one_server().await;
    let trust = trust_in(lab.ca_pem());
    assert_eq!(told(&probe_it(&lab, &tcp(), &trust).await), (Class::Ready, "connected"));
    assert_eq!(told(&probe_it(&lab, &tls(), &trust).await), (Class::Ready, "completes TLS"));
    lab.set_fault(0, Fault::Frozen).await;
    // Its kernel accepts for it.
    assert_eq!(probe_it(&lab, &tcp(), &trust).await.outcome.class, Class::Ready);
    assert_eq!(probe_it(&lab, &tls(), &trust).await.outcome.class, Class::TlsTimeout);
    lab.set_fault(0, Fault::Stopped).await;
    for config in [tcp(), tls()] {
        assert_eq!(probe_it(&lab, &config, &trust).await.outcome.class, Class::Refused);
    }
}
