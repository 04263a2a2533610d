//! `/`: what there is to see.

/// A line a route.
const INDEX: &str = "\
evenkeel

/livez              the process runs; says nothing of any backend (also /healthz)
/readyz             it can serve; ?verbose lists the checks, ?exclude=NAME leaves one out
/metrics            for Prometheus
/api/v1/status      everything about services and backends, as JSON
/api/v1/events      what changed and why, as JSON; ?since=N gives what came after number N
";

pub(super) async fn show() -> &'static str {
    INDEX
}
