//! Builds the control plane into the cache, outside of any test's timeout, and prints its path.

use std::process::ExitCode;

use evenkeel_testbed::Assets;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program is for")]
fn main() -> ExitCode {
    let missing = match Assets::find() {
        Ok(assets) => {
            println!("{}", assets.kube_apiserver.path().display());
            return ExitCode::SUCCESS;
        }
        Err(missing) => missing,
    };
    eprintln!("{missing}");
    let mut cause = std::error::Error::source(&missing);
    while let Some(error) = cause {
        eprintln!("  because {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
