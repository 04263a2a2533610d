use evenkeel_lab::{Authority, Identity};

use super::*;

fn authority() -> Authority {
    Authority::new("a cluster").unwrap()
}

fn with_ca(ca: &str) -> Credentials {
    Credentials { ca: Some(ca.into()), ..Credentials::default() }
}

fn certificate(chain: &str, key: &str) -> Credentials {
    let certificate = ClientCertificate { chain: chain.into(), key: key.into() };
    Credentials { certificate: Some(certificate), ..Credentials::default() }
}

fn client_of(authority: &Authority) -> Identity {
    authority.client_certificate("probe", "nobody").unwrap()
}

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

#[test]
fn identity_is_verified_where_there_is_a_ca() {
    let authority = authority();
    assert!(Trust::new(&with_ca(authority.pem())).unwrap().verifies_identity());
    assert!(!Trust::new(&Credentials::default()).unwrap().verifies_identity());
}

#[test]
fn a_ca_may_be_a_bundle() {
    let bundle = format!("{}{}", authority().pem(), authority().pem());
    Trust::new(&with_ca(&bundle)).unwrap();
}

#[test]
fn a_ca_that_cannot_be_used_is_told_apart() {
    let error = |ca: &str| Trust::new(&with_ca(ca)).unwrap_err();
    assert!(matches!(error(""), TrustError::CaEmpty));
    assert!(matches!(error("no PEM at all"), TrustError::CaEmpty));
    assert!(matches!(error("-----BEGIN CERTIFICATE-----\nMIIB"), TrustError::CaNotPem(_)));
    let second = format!("{}{}", authority().pem(), pem("CERTIFICATE", "AAAA"));
    assert_eq!(error(&second).to_string(), "certificate 2 of the CA cannot be used");
}

#[test]
fn a_client_certificate_that_cannot_be_used_is_told_apart() {
    let authority = authority();
    let (ours, others) = (client_of(&authority), client_of(&authority));
    let error = |chain: &str, key: &str| Trust::new(&certificate(chain, key)).unwrap_err();
    Trust::new(&certificate(&ours.certificate_pem, &ours.key_pem)).unwrap();
    assert!(matches!(error("", &ours.key_pem), TrustError::CertificateEmpty));
    assert!(matches!(
        error("-----BEGIN CERTIFICATE-----\nMIIB", &ours.key_pem),
        TrustError::CertificateNotPem(_)
    ));
    assert!(matches!(error(&ours.certificate_pem, ""), TrustError::KeyNotPem(_)));
    assert!(matches!(
        error(&ours.certificate_pem, &others.key_pem),
        TrustError::CertificateUnusable(_)
    ));
}

#[test]
fn a_token_is_sent_only_where_there_is_no_client_certificate() {
    let ours = client_of(&authority());
    let token = Some("abc\n".to_owned());
    let alone = Credentials { token: token.clone(), ..Credentials::default() };
    assert_eq!(Trust::new(&alone).unwrap().token().unwrap(), "Bearer abc");
    let both = Credentials { token, ..certificate(&ours.certificate_pem, &ours.key_pem) };
    assert_eq!(Trust::new(&both).unwrap().token(), None);
}

#[test]
fn a_token_cannot_smuggle_a_header() {
    let token = Some("abc\r\nX-Remote-User: admin".to_owned());
    let credentials = Credentials { token, ..Credentials::default() };
    assert!(matches!(Trust::new(&credentials), Err(TrustError::TokenUnusable)));
}

#[test]
fn a_token_is_not_printed() {
    let token = Some("s3cret".to_owned());
    let trust = Trust::new(&Credentials { token, ..Credentials::default() }).unwrap();
    assert!(!format!("{trust:?}{:?}", trust.token()).contains("s3cret"));
}

#[test]
fn only_http_1_1_is_offered_and_no_session_resumed() {
    let trust = Trust::new(&with_ca(authority().pem())).unwrap();
    for verify in [Verify::Auto, Verify::Never] {
        let (client, verified) = trust.client(verify);
        assert_eq!(client.alpn_protocols, [b"http/1.1".to_vec()]);
        assert_eq!(verified, verify == Verify::Auto);
    }
}
