//! Each fault as a client sees it.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, HeaderValue};
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::*;
use crate::client::Client;
use crate::failure::Failure;

const LIMIT: Duration = Duration::from_secs(20);
/// Long enough that what works would have answered.
const SILENCE: Duration = Duration::from_millis(150);

async fn lab(api_servers: usize, argocd_servers: usize) -> ControlPlane {
    let options = Options { api_servers, argocd_servers, ..Options::default() };
    ControlPlane::start(options).await.unwrap()
}

async fn connect(
    address: SocketAddr,
    ca_pem: &str,
    identity: Option<&Identity>,
) -> Result<Client, Failure> {
    let tls = TlsConnector::from(Arc::new(tls::client(ca_pem, identity).unwrap()));
    let name = ServerName::try_from("localhost").unwrap();
    timeout(LIMIT, Client::connect(address, &tls, &name)).await.unwrap()
}

async fn anonymous(lab: &ControlPlane) -> Client {
    connect(lab.addresses()[0], lab.ca_pem(), None).await.unwrap()
}

async fn admin(lab: &ControlPlane) -> Client {
    connect(lab.addresses()[0], lab.ca_pem(), Some(lab.admin())).await.unwrap()
}

/// Status and body of an answer.
async fn get(client: &mut Client, path: &str) -> (u16, String) {
    let answer = timeout(LIMIT, client.get(path)).await.unwrap().unwrap();
    (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
}

async fn status(client: &mut Client, path: &str) -> u16 {
    get(client, path).await.0
}

async fn with_header(client: &mut Client, name: &'static str, value: &'static str) -> u16 {
    let mut request = client.request("/api/v1/namespaces");
    let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
    request.headers_mut().insert(name, value);
    client.send(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_working_server_is_ready_and_says_who_it_is() {
    let lab = lab(2, 0).await;
    let mut client = connect(lab.addresses()[1], lab.ca_pem(), None).await.unwrap();
    let answer = client.get("/readyz").await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.body().as_ref(), b"ok");
    assert_eq!(answer.headers()["x-lab-server"], "cp-2");
    let (code, body) = get(&mut client, "/readyz?verbose").await;
    assert_eq!(code, 200);
    assert!(body.starts_with("[+]ping ok\n") && body.ends_with("readyz check passed\n"), "{body}");
    assert!(get(&mut client, "/version").await.1.contains("\"gitVersion\":\"v1.36.0\""));
    assert_eq!((lab.requests(0), lab.requests(1), lab.open_connections(1)), (0, 3, 1));
    lab.shutdown().await;
}

#[tokio::test]
async fn losing_etcd_shows_in_the_ladder_and_in_reads() {
    let lab = lab(1, 0).await;
    lab.set_fault(0, Fault::EtcdLost).await;
    let mut client = admin(&lab).await;
    let (code, body) = get(&mut client, "/readyz").await;
    assert_eq!(code, 500);
    assert!(body.contains("[-]etcd failed: reason withheld\n"), "{body}");
    assert!(body.ends_with("readyz check failed\n"), "{body}");
    let without_etcd = "/readyz?exclude=etcd&exclude=etcd-readiness&exclude=unheard-of";
    assert_eq!(status(&mut client, without_etcd).await, 200);
    assert_eq!(status(&mut client, "/livez").await, 500);
    assert_eq!(status(&mut client, "/livez?exclude=etcd").await, 200);
    assert_eq!(status(&mut client, SLICES).await, 500);
    assert_eq!(status(&mut client, &format!("{SLICES}?watch=true")).await, 429);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_server_that_shuts_down_serves_on() {
    let lab = lab(1, 0).await;
    let mut client = admin(&lab).await;
    lab.set_fault(0, Fault::ShuttingDown).await;
    assert_eq!(status(&mut client, "/readyz").await, 500);
    assert_eq!(status(&mut client, "/readyz?exclude=shutdown").await, 200);
    assert_eq!(status(&mut client, "/livez").await, 200);
    assert_eq!(status(&mut client, SLICES).await, 200);
    lab.set_fault(0, Fault::Refusing).await;
    assert_eq!(status(&mut client, "/livez").await, 200);
    let refused = connect(lab.addresses()[0], lab.ca_pem(), None).await;
    assert_eq!(refused.unwrap_err(), Failure::Refused);
    lab.shutdown().await;
}

#[tokio::test]
async fn an_anonymous_client_may_ask_for_health_and_version_only() {
    let lab = lab(1, 0).await;
    let mut client = anonymous(&lab).await;
    assert_eq!(status(&mut client, "/livez?verbose").await, 200);
    assert_eq!(status(&mut client, "/readyz/etcd").await, 403);
    assert_eq!(status(&mut client, SLICES).await, 403);
    let mut head = client.request("/readyz");
    *head.method_mut() = Method::HEAD;
    assert_eq!(client.send(head).await.unwrap().status(), 403);
    assert_eq!(status(&mut admin(&lab).await, "/readyz/etcd").await, 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn without_anonymous_users_only_our_credentials_are_served() {
    let lab = lab(1, 0).await;
    lab.set_fault(0, Fault::Unauthorized).await;
    let mut client = anonymous(&lab).await;
    let (code, body) = get(&mut client, "/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((code, &body["reason"]), (401, &"Unauthorized".into()));
    assert_eq!(with_header(&mut client, "authorization", "Bearer wrong").await, 401);
    assert_eq!(with_header(&mut client, "authorization", "Bearer lab-token").await, 200);
    assert_eq!(status(&mut admin(&lab).await, "/readyz").await, 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_a_401_and_no_tls_alert() {
    let lab = lab(1, 0).await;
    let other = Authority::new("other").unwrap();
    let identity = other.client_certificate("lab-admin", "system:masters").unwrap();
    let mut client = connect(lab.addresses()[0], lab.ca_pem(), Some(&identity)).await.unwrap();
    assert_eq!(status(&mut client, "/readyz").await, 401);
    lab.shutdown().await;
}

#[tokio::test]
async fn some_faults_answer_everything_alike() {
    let lab = lab(1, 0).await;
    let mut client = admin(&lab).await;
    for (fault, code) in [(Fault::Broken, 500), (Fault::Forbidden, 403), (Fault::Throttled, 429)] {
        lab.set_fault(0, fault).await;
        for path in ["/readyz", "/livez", "/version", SLICES] {
            assert_eq!(status(&mut client, path).await, code, "{fault}: {path}");
        }
    }
    let answer = client.get("/livez").await.unwrap();
    assert_eq!(answer.headers()["retry-after"], "1");
    lab.shutdown().await;
}

#[tokio::test]
async fn a_stop_resets_and_refuses_until_the_server_starts_again_at_its_port() {
    let lab = lab(1, 0).await;
    let address = lab.addresses()[0];
    let mut client = anonymous(&lab).await;
    assert_eq!(status(&mut client, "/livez").await, 200);
    lab.set_fault(0, Fault::Stopped).await;
    assert_eq!(lab.open_connections(0), 0);
    assert_eq!(client.get("/livez").await.unwrap_err(), Failure::Reset);
    assert_eq!(connect(address, lab.ca_pem(), None).await.unwrap_err(), Failure::Refused);
    lab.set_fault(0, Fault::None).await;
    assert_eq!(lab.addresses()[0], address);
    assert_eq!(status(&mut anonymous(&lab).await, "/livez").await, 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_frozen_server_is_silent_and_answers_what_was_asked_when_it_thaws() {
    let lab = lab(1, 0).await;
    let mut open = anonymous(&lab).await;
    assert_eq!(status(&mut open, "/livez").await, 200);
    lab.set_fault(0, Fault::Frozen).await;
    let address = lab.addresses()[0];
    // The kernel still completes the connection; it is TLS that hears nothing.
    let backlogged = TcpStream::connect(address).await.unwrap();
    let mut asked = std::pin::pin!(open.get("/livez"));
    let ca_pem = lab.ca_pem().to_owned();
    let mut late = std::pin::pin!(connect(address, &ca_pem, None));
    assert!(timeout(SILENCE, asked.as_mut()).await.is_err());
    assert!(timeout(SILENCE, late.as_mut()).await.is_err());
    assert_eq!(lab.open_connections(0), 1);
    lab.set_fault(0, Fault::None).await;
    assert_eq!(timeout(LIMIT, asked).await.unwrap().unwrap().status(), 200);
    assert_eq!(status(&mut late.await.unwrap(), "/livez").await, 200);
    drop(backlogged);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_frozen_server_can_be_killed() {
    let lab = lab(1, 0).await;
    let mut client = anonymous(&lab).await;
    assert_eq!(status(&mut client, "/livez").await, 200);
    lab.set_fault(0, Fault::Frozen).await;
    let mut asked = std::pin::pin!(client.get("/livez"));
    assert!(timeout(SILENCE, asked.as_mut()).await.is_err());
    lab.set_fault(0, Fault::Stopped).await;
    assert_eq!(timeout(LIMIT, asked).await.unwrap().unwrap_err(), Failure::Reset);
    lab.shutdown().await;
}

#[tokio::test]
async fn silent_answers_come_when_the_fault_is_lifted() {
    let lab = lab(1, 0).await;
    lab.set_fault(0, Fault::SilentAnswers).await;
    let mut client = anonymous(&lab).await;
    let mut asked = std::pin::pin!(client.get("/readyz"));
    assert!(timeout(SILENCE, asked.as_mut()).await.is_err());
    lab.set_fault(0, Fault::None).await;
    assert_eq!(timeout(LIMIT, asked).await.unwrap().unwrap().status(), 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_foreign_certificate_is_rejected_on_new_connections() {
    let lab = lab(1, 0).await;
    let mut open = anonymous(&lab).await;
    lab.set_fault(0, Fault::Foreign).await;
    let rejected = connect(lab.addresses()[0], lab.ca_pem(), None).await;
    assert_eq!(rejected.unwrap_err(), Failure::Untrusted);
    assert_eq!(status(&mut open, "/livez").await, 200);
    lab.set_fault(0, Fault::None).await;
    assert_eq!(status(&mut anonymous(&lab).await, "/livez").await, 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_server_without_a_fault_speaks_http_only_over_tls() {
    let lab = lab(1, 0).await;
    let answer = plain(lab.addresses()[0]).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    lab.shutdown().await;
}

#[tokio::test]
async fn bytes_are_a_pattern_and_slow_answers_are_late() {
    let lab = lab(1, 0).await;
    let mut client = anonymous(&lab).await;
    let answer = client.get("/lab/bytes?n=200001").await.unwrap();
    assert_eq!(answer.body().len(), 200_001);
    assert!(answer.body().iter().zip(0..).all(|(byte, place)| u32::from(*byte) == place % 251));
    let begun = tokio::time::Instant::now();
    assert_eq!(status(&mut client, "/lab/slow?ms=30").await, 200);
    assert!(begun.elapsed() >= Duration::from_millis(30));
    lab.shutdown().await;
}

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

/// The addresses with ports in a list of slices, and its version.
async fn list(client: &mut Client) -> (Vec<String>, String) {
    let path = format!("{SLICES}?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes");
    let (code, body) = get(client, &path).await;
    assert_eq!(code, 200, "{body}");
    let list: Value = serde_json::from_str(&body).unwrap();
    let mut members = Vec::new();
    for slice in list["items"].as_array().unwrap() {
        members.extend(members_of(slice));
    }
    (members, list["metadata"]["resourceVersion"].as_str().unwrap().to_owned())
}

fn members_of(slice: &Value) -> Vec<String> {
    let endpoints = slice["endpoints"].as_array().cloned().unwrap_or_default();
    let ip = |endpoint: &Value| endpoint["addresses"][0].as_str().unwrap().to_owned();
    endpoints.iter().map(|e| format!("{}:{}", ip(e), slice["ports"][0]["port"])).collect()
}

/// The next event of a watch: its kind and its object.
async fn event(client: &mut Client, body: &mut hyper::body::Incoming) -> Option<(String, Value)> {
    let chunk = timeout(LIMIT, client.chunk(body)).await.unwrap().unwrap()?;
    let event: Value = serde_json::from_slice(&chunk).unwrap();
    Some((event["type"].as_str().unwrap().to_owned(), event["object"].clone()))
}

#[tokio::test]
async fn the_slices_list_every_server_on_every_server() {
    let lab = lab(3, 1).await;
    let wanted: Vec<String> = lab.addresses().iter().map(ToString::to_string).collect();
    for address in lab.addresses() {
        let mut client = connect(address, lab.ca_pem(), Some(lab.admin())).await.unwrap();
        let (mut members, _) = list(&mut client).await;
        members.sort();
        let mut wanted = wanted.clone();
        wanted.sort();
        assert_eq!(members, wanted);
    }
    let mut client = admin(&lab).await;
    let (_, body) = get(&mut client, "/apis/discovery.k8s.io/v1/endpointslices").await;
    assert!(body.contains("\"argocd-server"), "{body}");
    assert_eq!(status(&mut client, &format!("{SLICES}/kubernetes")).await, 200);
    assert_eq!(status(&mut client, &format!("{SLICES}/unheard-of")).await, 404);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_watch_sees_a_leave_on_another_server_than_the_list() {
    let lab = lab(2, 0).await;
    let gone: SocketAddr = "10.0.0.7:6443".parse().unwrap();
    let stays: SocketAddr = "10.0.0.8:6443".parse().unwrap();
    lab.set_slice(SliceAnswer::Members(vec![gone, stays]));
    let (_, version) = list(&mut admin(&lab).await).await;
    lab.leave(gone);
    let mut client = connect(lab.addresses()[1], lab.ca_pem(), Some(lab.admin())).await.unwrap();
    let path = format!("{SLICES}?watch=true&resourceVersion={version}&timeoutSeconds=300");
    let mut body = client.open(&path).await.unwrap().into_body();
    let (kind, slice) = event(&mut client, &mut body).await.unwrap();
    assert_eq!((kind.as_str(), members_of(&slice)), ("MODIFIED", vec![stays.to_string()]));
    lab.join(gone);
    let (kind, slice) = event(&mut client, &mut body).await.unwrap();
    assert_eq!((kind.as_str(), members_of(&slice).len()), ("MODIFIED", 2));
    lab.shutdown().await;
}

#[tokio::test]
async fn a_watch_without_a_version_begins_with_what_is() {
    let lab = lab(1, 0).await;
    let mut client = admin(&lab).await;
    let path = format!("{SLICES}?watch=true&timeoutSeconds=300");
    let mut body = client.open(&path).await.unwrap().into_body();
    let (kind, slice) = event(&mut client, &mut body).await.unwrap();
    assert_eq!((kind.as_str(), members_of(&slice).len()), ("ADDED", 1));
    lab.set_slice(SliceAnswer::Empty);
    assert_eq!(event(&mut client, &mut body).await.unwrap().0, "DELETED");
    assert!(list(&mut admin(&lab).await).await.0.is_empty());
    lab.shutdown().await;
}

#[tokio::test]
async fn a_scripted_error_fails_reads_and_ends_watches() {
    let lab = lab(1, 0).await;
    let mut watching = admin(&lab).await;
    let path = format!("{SLICES}?watch=true&resourceVersion=1000");
    let mut body = watching.open(&path).await.unwrap().into_body();
    lab.set_slice(SliceAnswer::Error(503));
    assert!(event(&mut watching, &mut body).await.is_none());
    let mut client = admin(&lab).await;
    assert_eq!(status(&mut client, SLICES).await, 503);
    assert_eq!(status(&mut client, &path).await, 503);
    lab.set_slice(SliceAnswer::Members(lab.addresses()));
    assert_eq!(status(&mut client, SLICES).await, 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn a_watch_from_before_a_compaction_is_gone_and_one_with_a_timeout_ends() {
    let lab = lab(1, 0).await;
    let mut client = admin(&lab).await;
    let (_, version) = list(&mut client).await;
    lab.join("10.0.0.7:6443".parse().unwrap());
    lab.compact();
    let path = format!("{SLICES}?watch=true&resourceVersion={version}");
    let mut body = client.open(&path).await.unwrap().into_body();
    let (kind, object) = event(&mut client, &mut body).await.unwrap();
    assert_eq!((kind.as_str(), &object["code"]), ("ERROR", &410.into()));
    assert!(event(&mut client, &mut body).await.is_none());
    let path = format!("{SLICES}?watch=true&resourceVersion=1000&timeoutSeconds=0");
    let mut body = client.open(&path).await.unwrap().into_body();
    assert!(event(&mut client, &mut body).await.is_none());
    lab.shutdown().await;
}

#[tokio::test]
async fn a_config_map_watch_beats() {
    let lab = lab(1, 0).await;
    let mut client = admin(&lab).await;
    let path = "/api/v1/namespaces/default/configmaps?watch=true";
    let mut body = client.open(path).await.unwrap().into_body();
    for _ in 0..3 {
        assert_eq!(event(&mut client, &mut body).await.unwrap().0, "MODIFIED");
    }
    lab.shutdown().await;
}

#[tokio::test]
async fn the_namespace_kube_system_tells_clusters_apart() {
    let (one, other) = (lab(1, 0).await, lab(1, 0).await);
    assert_ne!(one.cluster_uid(), other.cluster_uid());
    let path = "/api/v1/namespaces?fieldSelector=metadata.name%3Dkube-system";
    let (_, body) = get(&mut admin(&one).await, path).await;
    let list: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(list["items"][0]["metadata"]["uid"], one.cluster_uid());
    assert_eq!(list["items"].as_array().unwrap().len(), 1);
    one.shutdown().await;
    other.shutdown().await;
}

/// The answer to a request without TLS.
async fn plain(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: argo.example\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(LIMIT, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}

#[tokio::test]
async fn an_argocd_server_is_healthy_until_it_shuts_down() {
    let lab = lab(0, 1).await;
    let address = lab.argocd_addresses()[0];
    let rejected = connect(address, lab.ca_pem(), None).await;
    assert_eq!(rejected.unwrap_err(), Failure::Untrusted);
    let mut client = connect(address, lab.argocd_ca_pem(), None).await.unwrap();
    assert_eq!(get(&mut client, "/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(get(&mut client, "/api/version").await.1, "{\"Version\":\"v3.6.0+lab\"}");
    lab.argocd_server(0).set_fault(Fault::ShuttingDown).await;
    assert_eq!(get(&mut client, "/healthz").await, (503, String::new()));
    assert_eq!(status(&mut client, "/api/version").await, 200);
    lab.shutdown().await;
}

#[tokio::test]
async fn an_argocd_server_sends_plain_clients_to_tls() {
    let lab = lab(0, 1).await;
    let answer = plain(lab.argocd_addresses()[0]).await;
    assert!(answer.starts_with("HTTP/1.1 307 Temporary Redirect"), "{answer}");
    assert!(answer.contains("location: https://argo.example/healthz\r\n"), "{answer}");
    lab.shutdown().await;
}

#[tokio::test]
async fn shutdown_resets_what_is_open_and_leaves_no_task() {
    let lab = lab(3, 2).await;
    let mut client = anonymous(&lab).await;
    let tasks = lab.tasks.clone();
    lab.shutdown().await;
    assert!(tasks.is_empty());
    assert_eq!(client.get("/livez").await.unwrap_err(), Failure::Reset);
}

#[tokio::test]
async fn dropping_the_control_plane_ends_its_tasks_too() {
    let lab = lab(1, 0).await;
    let tasks = lab.tasks.clone();
    drop(lab);
    tasks.close();
    timeout(LIMIT, tasks.wait()).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error_that_names_the_server() {
    let probe = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = probe.local_addr().unwrap().port();
    let options = Options { api_servers: 1, argocd_servers: 0, first_port: port };
    let error = ControlPlane::start(options).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cp-1 could not listen on 127.0.0.1:{port}"));
}

#[tokio::test]
async fn the_kubeconfig_holds_the_server_and_its_certificates() {
    let lab = lab(1, 0).await;
    let text = lab.kubeconfig("https://127.0.0.1:7443");
    assert!(text.contains("server: https://127.0.0.1:7443\n"), "{text}");
    for key in ["certificate-authority-data", "client-certificate-data", "client-key-data"] {
        assert!(text.contains(&format!("{key}: LS0tLS1CRUdJTi")), "{key}: {text}");
    }
    lab.shutdown().await;
}
