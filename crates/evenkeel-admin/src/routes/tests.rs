use std::time::SystemTime;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use evenkeel_core::timeline::Timeline;
use tower::ServiceExt as _;

use super::*;
use crate::metrics::tests::local;
use crate::readiness::Check;
use crate::status::{EventStatus, Status};

struct Fake {
    checks: Vec<Check>,
    timeline: Timeline,
}

impl Observe for Fake {
    fn status(&self) -> Status {
        crate::status::tests::sample()
    }

    fn readiness(&self) -> Vec<Check> {
        self.checks.clone()
    }

    fn events(&self, since: u64) -> Vec<EventStatus> {
        self.timeline.since(since).into_iter().map(EventStatus::from).collect()
    }
}

async fn ask(method: &str, path: &str) -> (StatusCode, String, String) {
    let timeline = Timeline::new();
    for what in ["first", "second"] {
        timeline.push(SystemTime::UNIX_EPOCH, "api", None, what.to_owned());
    }
    let checks = vec![Check::ok("config"), Check::failed("backends api", "none is ready")];
    let (recorder, prometheus) = local();
    metrics_counted(&recorder);
    let router = router(Shared { observer: Arc::new(Fake { checks, timeline }), prometheus });
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:9643");
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let content = response.headers().get("content-type").map(|v| v.to_str().unwrap().to_owned());
    let status = response.status();
    assert_eq!(response.headers()["cache-control"], "no-store");
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, content.unwrap_or_default(), String::from_utf8(body.to_vec()).unwrap())
}

fn metrics_counted(recorder: &impl ::metrics::Recorder) {
    ::metrics::with_local_recorder(recorder, || {
        ::metrics::counter!("evenkeel_x_total").increment(2);
    });
}

#[tokio::test]
async fn liveness_does_not_depend_on_backends() {
    for path in ["/livez", "/healthz"] {
        let (status, _, body) = ask("GET", path).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
    }
}

#[tokio::test]
async fn readiness_fails_with_the_reason() {
    let (status, _, body) = ask("GET", "/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "[+]config ok\n[-]backends api failed: none is ready\nreadyz check failed\n");
}

#[tokio::test]
async fn readiness_can_leave_checks_out() {
    let (status, _, body) = ask("GET", "/readyz?exclude=config&exclude=backends%20api").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "ok"));
    let (_, _, body) = ask("GET", "/readyz?verbose&exclude=backends+api").await;
    assert!(body.ends_with("[+]backends api excluded: ok\nreadyz check passed\n"), "{body}");
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let (status, content, body) = ask("GET", "/metrics").await;
    assert_eq!(status, StatusCode::OK);
    assert!(content.starts_with("text/plain; version=0.0.4"), "{content}");
    assert!(body.contains("evenkeel_x_total 2"), "{body}");
}

#[tokio::test]
async fn status_is_json_that_reads_back() {
    let (status, content, body) = ask("GET", "/api/v1/status").await;
    assert_eq!((status, content.as_str()), (StatusCode::OK, "application/json"));
    let read: Status = serde_json::from_str(&body).unwrap();
    assert_eq!(read, crate::status::tests::sample());
}

#[tokio::test]
async fn events_go_on_where_the_client_was() {
    let (_, _, body) = ask("GET", "/api/v1/events").await;
    let events: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(events["schema"], "evenkeel.dev/events/v1");
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
    let (_, _, body) = ask("GET", "/api/v1/events?since=1").await;
    let events: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!(events["events"][0]["what"], "second");
    assert_eq!(events["events"][0]["at"], "1970-01-01T00:00:00.000Z");
    let (status, _, _) = ask("GET", "/api/v1/events?since=soon").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_index_names_every_route_and_no_other() {
    let (_, _, index) = ask("GET", "/").await;
    for line in index.lines().filter(|line| line.starts_with('/')) {
        let path = line.split(' ').next().unwrap();
        let (status, _, _) = ask("GET", path).await;
        assert_ne!(status, StatusCode::NOT_FOUND, "{path}");
    }
    let (status, _, _) = ask("GET", "/api/v1/secrets").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_can_be_changed() {
    for path in ["/", "/livez", "/readyz", "/metrics", "/api/v1/status", "/api/v1/events"] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let (status, _, _) = ask(method, path).await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
}
