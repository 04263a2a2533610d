//! Whether the process can serve, as named checks, told in the words of kube-apiserver's
//! `/readyz`, so that whoever reads one reads the other. Pure.

use std::fmt::Write as _;

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, by which `?exclude=` leaves it out: `listener kube-apiserver`.
    pub name: String,
    /// Why it fails; `None` if it does not.
    pub failed: Option<String>,
}

impl Check {
    /// A check that passes.
    pub fn ok(name: impl Into<String>) -> Self {
        Self { name: name.into(), failed: None }
    }

    /// A check that fails, and why.
    pub fn failed(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), failed: Some(reason.into()) }
    }
}

/// The answer to "are you ready?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether every check passes that is not excluded.
    pub ready: bool,
    /// The answer in words.
    pub text: String,
}

impl Readiness {
    /// Weighs `checks`, without those named in `exclude`. The text is `ok` if all pass and nobody
    /// asked for more, and else one line a check: a failure needs no `verbose` to be explained.
    pub fn of(checks: &[Check], exclude: &[String], verbose: bool) -> Self {
        let excluded = |check: &Check| exclude.contains(&check.name);
        let ready = checks.iter().all(|check| check.failed.is_none() || excluded(check));
        if ready && !verbose {
            return Self { ready, text: "ok".to_owned() };
        }
        let mut text = String::new();
        for check in checks {
            let name = &check.name;
            let written = match &check.failed {
                _ if excluded(check) => writeln!(text, "[+]{name} excluded: ok"),
                None => writeln!(text, "[+]{name} ok"),
                Some(reason) => writeln!(text, "[-]{name} failed: {reason}"),
            };
            written.expect("a string takes any text");
        }
        let unknown = |name: &&String| !checks.iter().any(|check| check.name == **name);
        for name in exclude.iter().filter(unknown) {
            writeln!(text, "warn: no check is named {name:?}").expect("a string takes any text");
        }
        text.push_str(if ready { "readyz check passed\n" } else { "readyz check failed\n" });
        Self { ready, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks() -> Vec<Check> {
        vec![Check::ok("config"), Check::failed("listener api", "port 6443 is taken")]
    }

    #[test]
    fn a_failure_is_explained_without_asking() {
        let readiness = Readiness::of(&checks(), &[], false);
        assert!(!readiness.ready);
        assert_eq!(
            readiness.text,
            "[+]config ok\n[-]listener api failed: port 6443 is taken\nreadyz check failed\n"
        );
    }

    #[test]
    fn what_is_excluded_does_not_count() {
        let readiness = Readiness::of(&checks(), &["listener api".to_owned()], true);
        assert!(readiness.ready);
        assert_eq!(
            readiness.text,
            "[+]config ok\n[+]listener api excluded: ok\nreadyz check passed\n"
        );
    }

    #[test]
    fn a_name_that_no_check_has_is_pointed_out() {
        let readiness = Readiness::of(&checks(), &["listner api".to_owned()], false);
        assert!(!readiness.ready);
        assert!(readiness.text.contains("warn: no check is named \"listner api\"\n"));
    }

    #[test]
    fn all_well_is_one_word() {
        assert_eq!(Readiness::of(&[Check::ok("config")], &[], false).text, "ok");
    }
}
