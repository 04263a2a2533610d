//! Why there is no answer, in one line, and which failures are the same to people.

use std::error::Error;
use std::time::Duration;

use evenkeel_core::health::printable;
use kube::runtime::watcher;

use crate::client::ClientError;

/// Why the source has nothing new.
#[derive(Debug)]
pub(super) struct Failure {
    cause: Cause,
    text: String,
}

/// What is told apart: the log says it once as long as the cause stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// No client can be made of what is configured.
    Client,
    /// Nobody answers.
    Silence,
    /// The API answers with this status.
    Status(u16),
    /// The API answers, and lists nobody.
    Nothing,
}

impl Failure {
    pub(super) fn client(error: &ClientError) -> Self {
        Self { cause: Cause::Client, text: in_one_line(error) }
    }

    /// `None` is no failure: a resource version that is too old only means to list again.
    pub(super) fn watcher(error: &watcher::Error) -> Option<Self> {
        let (cause, text) = match error {
            watcher::Error::InitialListFailed(error)
            | watcher::Error::WatchStartFailed(error)
            | watcher::Error::WatchFailed(error) => {
                if let kube::Error::Api(status) = error {
                    by_status(status)
                } else {
                    (Cause::Silence, in_one_line(error))
                }
            }
            watcher::Error::WatchError(status) => by_status(status),
            watcher::Error::NoResourceVersion => (Cause::Silence, in_one_line(error)),
        };
        (cause != Cause::Status(GONE)).then_some(Self { cause, text })
    }

    pub(super) fn hung_list(after: Duration) -> Self {
        Self { cause: Cause::Silence, text: format!("a list was not complete after {after:?}") }
    }

    pub(super) fn nothing_listed(namespace: &str, service: &str, port: Option<&str>) -> Self {
        let with = port.map(|port| format!(" with a port `{port}`")).unwrap_or_default();
        let text = format!("the EndpointSlices of {namespace}/{service} list no endpoint{with}");
        Self { cause: Cause::Nothing, text }
    }

    /// For people.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether the API answers, and what it says is of no use.
    pub(super) fn is_about_the_content(&self) -> bool {
        self.cause == Cause::Nothing
    }

    /// Whether it is the same to people.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.cause == other.cause
    }
}

const GONE: u16 = 410;

fn by_status(status: &kube::core::Status) -> (Cause, String) {
    let message = printable(&status.message);
    let hint = match status.code {
        401 => " (the credentials are not accepted)",
        403 => " (RBAC must allow get, list and watch of endpointslices)",
        _ => "",
    };
    (Cause::Status(status.code), format!("the API answers {}: {message}{hint}", status.code))
}

/// The error and its causes. kube's errors repeat their causes in their own text; ours do not.
fn in_one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = error.source();
    }
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect()
}

/// Characters of an error that are kept: nine members with a reason each.
const LONGEST: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_with_its_causes_in_one_line() {
        let error = Outer(std::io::Error::other("inner\nsecond line"));
        assert_eq!(in_one_line(&error), "outer: inner second line");
    }

    #[test]
    fn a_version_that_is_too_old_is_no_failure() {
        let gone = kube::core::Status::failure("too old", "Expired").with_code(410);
        assert!(Failure::watcher(&watcher::Error::WatchError(gone.boxed())).is_none());
    }

    #[test]
    fn a_refusal_says_what_rbac_must_allow() {
        let status = kube::core::Status::failure("endpointslices is forbidden", "Forbidden");
        let error = kube::Error::Api(status.with_code(403).boxed());
        let failure = Failure::watcher(&watcher::Error::InitialListFailed(error)).unwrap();
        assert!(failure.text().contains("403: endpointslices is forbidden (RBAC"));
    }
}
