//! The recorder of all metrics, and what this crate counts.

use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

const BUILD_INFO: &str = "evenkeel_build_info";

/// Seconds: from a probe on the same switch to the longest timeout.
const DURATIONS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Seconds: a connection lasts from one request to days of watching.
const CONNECTION_DURATIONS: [f64; 9] =
    [0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0, 21_600.0, 86_400.0];

/// Installs the recorder of the process. Before anything takes a handle: one taken earlier counts
/// nothing, for ever.
///
/// # Errors
/// If a recorder is installed already.
pub fn install_recorder() -> Result<PrometheusHandle, BuildError> {
    builder()?.install_recorder()
}

/// Gives the help of every metric of this crate, those of the process included.
pub fn describe() {
    describe_gauge!(BUILD_INFO, "1, labelled with the version and revision of the program.");
    metrics_process::Collector::default().describe();
}

/// Says which version runs: `evenkeel_build_info` is 1 with these labels.
pub fn set_build_info(version: &str, revision: &str) {
    let labels = [("version", version.to_owned()), ("revision", revision.to_owned())];
    gauge!(BUILD_INFO, &labels).set(1);
}

/// Without buckets of its own a histogram comes out as a summary, which cannot be added up over
/// nodes.
fn builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_duration_seconds".to_owned()), &DURATIONS)?
        .set_buckets_for_metric(
            Matcher::Full("evenkeel_connection_duration_seconds".to_owned()),
            &CONNECTION_DURATIONS,
        )
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A handle of a recorder that is not installed.
    pub(crate) fn local() -> (impl metrics::Recorder, PrometheusHandle) {
        let recorder = builder().unwrap().build_recorder();
        let handle = recorder.handle();
        (recorder, handle)
    }

    #[test]
    fn a_duration_is_a_histogram_and_no_summary() {
        let (recorder, handle) = local();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("evenkeel_probe_duration_seconds").record(0.02);
            metrics::histogram!("evenkeel_connection_duration_seconds").record(7200.0);
        });
        let text = handle.render();
        assert!(text.contains(r#"evenkeel_probe_duration_seconds_bucket{le="0.025"} 1"#), "{text}");
        let hours = r#"evenkeel_connection_duration_seconds_bucket{le="21600"} 1"#;
        assert!(text.contains(hours), "{text}");
    }

    #[test]
    fn the_version_is_a_metric_with_help() {
        let (recorder, handle) = local();
        metrics::with_local_recorder(&recorder, || {
            describe();
            set_build_info("0.1.0", "abc");
        });
        let text = handle.render();
        assert!(text.contains("# HELP evenkeel_build_info "), "{text}");
        assert!(
            text.contains(r#"evenkeel_build_info{version="0.1.0",revision="abc"} 1"#),
            "{text}"
        );
    }
}
