//! Refuses what a browser was tricked into asking: a page whose name is made to resolve to
//! loopback ("DNS rebinding") asks with that name in `Host`, and would read the answer.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

pub(super) async fn only_this_host(request: Request, next: Next) -> Response {
    let is_named_otherwise = request
        .headers()
        .get(header::HOST)
        .is_some_and(|host| !host.to_str().is_ok_and(is_this_host));
    if is_named_otherwise {
        let text = "ask for localhost, 127.0.0.1 or [::1]: this is for this host only\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    next.run(request).await
}

/// Whether a `Host` header names loopback, with or without a port.
fn is_this_host(host: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.ends_with(':') => name,
        Some(_) | None => host,
    };
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_many_spellings() {
        for host in
            ["localhost", "LOCALHOST:9643", "127.0.0.1:9643", "127.0.0.1", "[::1]:9643", "[::1]"]
        {
            assert!(is_this_host(host), "{host}");
        }
        for host in
            ["evil.example:9643", "10.0.0.5:9643", "localhost.evil.example", "", ":9643", "[::2]:1"]
        {
            assert!(!is_this_host(host), "{host}");
        }
    }
}
