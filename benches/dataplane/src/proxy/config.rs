//! The configs of the proxies, in `peers/`, with their `@places@` filled in.

use std::net::SocketAddr;
use std::path::Path;

use super::Place;

pub(super) const EVENKEEL: &str = include_str!("../../peers/evenkeel.yaml");
pub(super) const HAPROXY: &str = include_str!("../../peers/haproxy.cfg");
pub(super) const HAPROXY_SPLICE: &str = include_str!("../../peers/haproxy-splice.cfg");
pub(super) const HAPROXY_PINNED: &str = include_str!("../../peers/haproxy-pinned.cfg");
pub(super) const NGINX: &str = include_str!("../../peers/nginx.conf");
pub(super) const ENVOY: &str = include_str!("../../peers/envoy.yaml");

/// Fills a template in.
pub(super) fn fill(template: &str, listen: SocketAddr, place: &Place, directory: &Path) -> String {
    let threads = place.threads;
    let data_plane = if place.knows_data_plane {
        format!("dataPlane: {{threads: {threads}}}")
    } else {
        String::new()
    };
    let places = [
        ("@listen@", listen.to_string()),
        ("@listen-address@", listen.ip().to_string()),
        ("@listen-port@", listen.port().to_string()),
        ("@backend@", place.backend.to_string()),
        ("@backend-address@", place.backend.ip().to_string()),
        ("@backend-port@", place.backend.port().to_string()),
        ("@threads@", threads.to_string()),
        ("@last-thread@", threads.saturating_sub(1).to_string()),
        ("@directory@", directory.display().to_string()),
        ("@modules@", NGINX_MODULES.to_owned()),
        ("@data-plane@", data_plane),
    ];
    let fill = |text: String, (place, value): &(&str, String)| text.replace(place, value);
    places.iter().fold(template.to_owned(), fill)
}

/// Where Debian has them.
pub(super) const NGINX_MODULES: &str = "/usr/lib/nginx/modules";

#[cfg(test)]
mod tests {
    use super::*;

    fn place(knows_data_plane: bool) -> Place {
        Place {
            directory: "/tmp/x".into(),
            backend: ([127, 0, 0, 1], 9000).into(),
            threads: 2,
            evenkeel: "evenkeel".into(),
            again: None,
            environment: Vec::new(),
            knows_data_plane,
            envoy: "envoy".into(),
        }
    }

    #[test]
    fn no_place_is_left_empty() {
        for template in [EVENKEEL, HAPROXY, HAPROXY_SPLICE, HAPROXY_PINNED, NGINX, ENVOY] {
            let listen = ([127, 0, 0, 1], 9100).into();
            let text = fill(template, listen, &place(true), Path::new("/tmp/x"));
            assert!(text.contains("9100") && text.contains("9000"), "{text}");
            // Envoy's "@type" is its own.
            let left = text.split('@').skip(1).step_by(2).filter(|word| !word.contains(' '));
            assert_eq!(left.count(), 0, "{text}");
        }
    }

    #[test]
    fn an_older_evenkeel_is_not_told_its_threads() {
        let listen = ([127, 0, 0, 1], 9100).into();
        let of = |knows| fill(EVENKEEL, listen, &place(knows), Path::new("/tmp/x"));
        assert!(of(true).contains("\ndataPlane: {threads: 2}\n"));
        assert!(!of(false).contains("dataPlane"));
    }
}
