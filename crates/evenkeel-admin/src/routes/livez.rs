//! `/livez`, `/healthz`: the event loop turns. Nothing else: it must not fail with the backends.

pub(super) async fn show() -> &'static str {
    "ok"
}
