//! The named checks behind `/livez`, `/readyz` and `/healthz`, and how they are answered.
//!
//! As `k8s.io/apiserver/pkg/server/healthz` does it: what is excluded succeeds, an unknown name in
//! `exclude` is only warned of, and a failure is always told check by check.

use std::fmt::Write as _;

use hyper::{Response, StatusCode};

use crate::fault::Fault;
use crate::query::Query;
use crate::reply::{self, Body};

/// One health path: its name and the checks behind it, in their order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HealthPath {
    name: &'static str,
    checks: &'static [&'static str],
}

impl HealthPath {
    /// Finds the health path that `path` asks for, with the name of the check if it asks for one.
    pub(crate) fn find(path: &str) -> Option<(Self, Option<&str>)> {
        let (name, check) = match path.trim_matches('/').split_once('/') {
            Some((name, check)) => (name, Some(check)),
            None => (path.trim_matches('/'), None),
        };
        HEALTH_PATHS.into_iter().find(|known| known.name == name).map(|known| (known, check))
    }

    /// Answers by what fails under `fault`.
    pub(crate) fn answer(self, query: &Query, fault: Fault) -> Response<Body> {
        let mut unknown: Vec<&str> = query.all("exclude").filter(|name| !name.is_empty()).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut lines = String::new();
        let mut failed = false;
        for check in self.checks {
            let line = if let Some(at) = unknown.iter().position(|name| name == check) {
                unknown.remove(at);
                format!("[+]{check} excluded: ok\n")
            } else if self.failure(check, fault).is_some() {
                failed = true;
                format!("[-]{check} failed: reason withheld\n")
            } else {
                format!("[+]{check} ok\n")
            };
            lines.push_str(&line);
        }
        if !unknown.is_empty() {
            let names: Vec<String> = unknown.iter().map(|name| format!("{name:?}")).collect();
            let names = names.join(", ");
            // Writing to a String cannot fail.
            let _infallible = writeln!(
                lines,
                "warn: some health checks cannot be excluded: no matches for {names}"
            )
            .is_ok();
        }
        let name = self.name;
        if failed {
            let body = format!("{lines}{name} check failed\n");
            return reply::text(StatusCode::INTERNAL_SERVER_ERROR, body);
        }
        let body = if query.has("verbose") {
            format!("{lines}{name} check passed\n")
        } else {
            "ok".to_owned()
        };
        reply::text(StatusCode::OK, body)
    }

    /// Answers for one check alone, with the real reason.
    pub(crate) fn answer_one(self, check: &str, fault: Fault) -> Response<Body> {
        if !self.checks.contains(&check) {
            return reply::text(StatusCode::NOT_FOUND, "404 page not found\n");
        }
        match self.failure(check, fault) {
            Some(reason) => reply::text(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("internal server error: {reason}\n"),
            ),
            None => reply::text(StatusCode::OK, "ok"),
        }
    }

    fn failure(self, check: &str, fault: Fault) -> Option<&'static str> {
        // During its grace period /livez takes unfinished hooks for finished.
        let is_liveness = self.name == "livez";
        match (fault, check) {
            (Fault::EtcdLost, "etcd" | "etcd-readiness") => {
                Some("etcd failed: context deadline exceeded")
            }
            (Fault::ShuttingDown | Fault::Refusing, "shutdown") => Some("process is shutting down"),
            (Fault::Starting, "poststarthook/rbac/bootstrap-roles") if !is_liveness => {
                Some("not finished")
            }
            _ => None,
        }
    }
}

const HEALTH_PATHS: [HealthPath; 3] = [
    HealthPath {
        name: "livez",
        checks: &[
            "ping",
            "log",
            "etcd",
            "poststarthook/start-apiserver-admission-initializer",
            "poststarthook/rbac/bootstrap-roles",
            "autoregister-completion",
        ],
    },
    HealthPath {
        name: "readyz",
        checks: &[
            "ping",
            "log",
            "etcd",
            "etcd-readiness",
            "informer-sync",
            "poststarthook/start-apiserver-admission-initializer",
            "poststarthook/rbac/bootstrap-roles",
            "autoregister-completion",
            "shutdown",
        ],
    },
    HealthPath {
        name: "healthz",
        checks: &[
            "ping",
            "log",
            "etcd",
            "poststarthook/start-apiserver-admission-initializer",
            "poststarthook/rbac/bootstrap-roles",
            "autoregister-completion",
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn code(path: &str, query: &str, fault: Fault) -> u16 {
        let (path, _) = HealthPath::find(path).unwrap();
        path.answer(&Query::parse(Some(query)), fault).status().as_u16()
    }

    #[test]
    fn each_fault_shows_at_its_rung_of_the_ladder() {
        const NO_ETCD: &str = "exclude=etcd&exclude=etcd-readiness";
        const NO_SHUTDOWN: &str = "exclude=shutdown";
        let rungs = |fault| {
            [
                code("/readyz", "", fault),
                code("/readyz", NO_ETCD, fault),
                code("/readyz", NO_SHUTDOWN, fault),
                code("/livez", "", fault),
                code("/livez", NO_ETCD, fault),
            ]
        };
        assert_eq!(rungs(Fault::None), [200, 200, 200, 200, 200]);
        assert_eq!(rungs(Fault::EtcdLost), [500, 200, 500, 500, 200]);
        assert_eq!(rungs(Fault::ShuttingDown), [500, 500, 200, 200, 200]);
        assert_eq!(rungs(Fault::Starting), [500, 500, 500, 200, 200]);
    }

    #[test]
    fn excluding_one_etcd_check_does_not_exclude_the_other() {
        assert_eq!(code("/readyz", "exclude=etcd", Fault::EtcdLost), 500);
    }

    #[test]
    fn excluding_an_unknown_check_fails_nothing() {
        assert_eq!(code("/livez", "exclude=etcd-readiness", Fault::None), 200);
    }

    #[test]
    fn a_path_may_name_one_check() {
        let (path, check) = HealthPath::find("/readyz/poststarthook/rbac/bootstrap-roles").unwrap();
        assert_eq!(path.answer_one(check.unwrap(), Fault::Starting).status(), 500);
        assert_eq!(path.answer_one("ping", Fault::Starting).status(), 200);
        assert_eq!(path.answer_one("pong", Fault::None).status(), 404);
        assert!(HealthPath::find("/version").is_none());
    }
}
