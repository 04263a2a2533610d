//! The configs of the balancers, in `peers/`, with their `@places@` filled in.

use std::net::SocketAddr;
use std::path::PathBuf;

pub(super) const HAPROXY_KUBEADM: &str = include_str!("../../peers/haproxy-kubeadm.cfg");
pub(super) const HAPROXY_TUNED: &str = include_str!("../../peers/haproxy-tuned.cfg");
pub(super) const ENVOY_TUNED: &str = include_str!("../../peers/envoy-tuned.yaml");
pub(super) const NGINX_KUBESPRAY: &str = include_str!("../../peers/nginx-kubespray.conf");
pub(super) const EVENKEEL: &str = include_str!("../../peers/evenkeel.yaml");

/// What is filled in.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// Where to listen.
    pub(super) listen: SocketAddr,
    /// The members.
    pub(super) members: [SocketAddr; 3],
    /// The cluster's CA.
    pub(super) ca: PathBuf,
    /// For the balancer's own files.
    pub(super) directory: PathBuf,
}

impl Places {
    /// Fills a template in.
    pub(super) fn fill(&self, template: &str) -> String {
        let mut places = vec![
            ("@listen@".to_owned(), self.listen.to_string()),
            ("@listen-address@".to_owned(), self.listen.ip().to_string()),
            ("@listen-port@".to_owned(), self.listen.port().to_string()),
            ("@port@".to_owned(), self.listen.port().to_string()),
            ("@ca@".to_owned(), self.ca.display().to_string()),
            ("@directory@".to_owned(), self.directory.display().to_string()),
            ("@modules@".to_owned(), NGINX_MODULES.to_owned()),
        ];
        for (number, member) in (1..).zip(self.members) {
            let number: u8 = number;
            places.extend([
                (format!("@member-{number}@"), member.to_string()),
                (format!("@member-{number}-address@"), member.ip().to_string()),
                (format!("@member-{number}-port@"), member.port().to_string()),
            ]);
        }
        let fill = |text: String, (place, value): &(String, String)| text.replace(place, value);
        places.iter().fold(template.to_owned(), fill)
    }
}

/// Where Debian has them.
const NGINX_MODULES: &str = "/usr/lib/nginx/modules";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_place_is_left_empty() {
        let places = Places {
            listen: ([10, 0, 0, 21], 7443).into(),
            members: [11, 12, 13].map(|number| ([10, 0, 0, number], 6443).into()),
            ca: "/tmp/x/ca.crt".into(),
            directory: "/tmp/x".into(),
        };
        for template in [HAPROXY_KUBEADM, HAPROXY_TUNED, ENVOY_TUNED, NGINX_KUBESPRAY, EVENKEEL] {
            let text = places.fill(template);
            for filled in ["7443", "10.0.0.11", "10.0.0.12", "10.0.0.13", "6443"] {
                assert!(text.contains(filled), "{filled}: {text}");
            }
            // Envoy's "@type" is its own.
            let left = text.split('@').skip(1).step_by(2).filter(|word| !word.contains(' '));
            assert_eq!(left.count(), 0, "{text}");
        }
    }

    #[test]
    fn evenkeel_is_not_tuned() {
        for key in ["health", "connect:", "relay", "treatment", "policy", "interval", "fall"] {
            assert!(!EVENKEEL.contains(key), "{key}");
        }
    }
}
