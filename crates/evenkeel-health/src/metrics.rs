//! What the probes of an endpoint count.

use std::collections::BTreeMap;

use evenkeel_core::endpoint::Endpoint;
use evenkeel_core::health::{Class, Outcome};
use metrics::{
    Counter, Histogram, Label, Unit, counter, describe_counter, describe_histogram, histogram,
};

const PROBES: &str = "evenkeel_probes_total";

/// The name of the histogram of how long probes take, for which the exporter needs the buckets.
pub const PROBE_DURATION: &str = "evenkeel_probe_duration_seconds";

/// The buckets of [`PROBE_DURATION`], in seconds. The upper ones are about the default timeouts.
pub const PROBE_DURATION_BUCKETS: [f64; 10] =
    [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0];

/// Describes the metrics of this crate to the installed recorder.
pub fn describe() {
    describe_counter!(PROBES, "Probes of an endpoint, by what they saw.");
    describe_histogram!(PROBE_DURATION, Unit::Seconds, "How long a probe of an endpoint took.");
}

/// The metrics of one endpoint. Made after the recorder is installed; earlier ones count nothing.
pub(crate) struct ProbeMetrics {
    labels: [Label; 2],
    /// Made when first needed: an endpoint shows few of the classes.
    probes: BTreeMap<Class, Counter>,
    duration: Histogram,
}

impl ProbeMetrics {
    pub(crate) fn new(service: &str, endpoint: Endpoint) -> Self {
        let labels = [
            Label::new("service", service.to_owned()),
            Label::new("backend", endpoint.to_string()),
        ];
        let duration = histogram!(PROBE_DURATION, labels.iter());
        Self { labels, probes: BTreeMap::new(), duration }
    }

    pub(crate) fn count(&mut self, outcome: &Outcome) {
        let labels = &self.labels;
        let probes = self.probes.entry(outcome.class).or_insert_with(|| {
            let mut labels = labels.to_vec();
            let result = if outcome.class == Class::Ready { "ready" } else { "failed" };
            labels.push(Label::from_static_parts("result", result));
            labels.push(Label::from_static_parts("reason", outcome.class.as_str()));
            counter!(PROBES, labels)
        });
        probes.increment(1);
        self.duration.record(outcome.took);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use metrics::{
        Gauge, Key, KeyName, Metadata, Recorder, SharedString, Unit, with_local_recorder,
    };

    use super::*;

    /// Notes the handles that are made.
    #[derive(Default)]
    struct Made(Mutex<Vec<String>>);

    impl Made {
        fn note(&self, key: &Key) {
            let labels: Vec<String> =
                key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
            self.0.lock().unwrap().push(format!("{}{{{}}}", key.name(), labels.join(",")));
        }
    }

    impl Recorder for Made {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            self.note(key);
            Counter::noop()
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            self.note(key);
            Gauge::noop()
        }

        fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
            self.note(key);
            Histogram::noop()
        }
    }

    fn outcome(class: Class) -> Outcome {
        Outcome { class, detail: String::new(), took: Duration::ZERO }
    }

    #[test]
    fn a_handle_is_made_once_for_each_class_seen() {
        let made = Arc::new(Made::default());
        with_local_recorder(&made, || {
            let endpoint = "10.0.0.11:6443".parse().unwrap();
            let mut metrics = ProbeMetrics::new("api", endpoint);
            for class in [Class::Ready, Class::Ready, Class::EtcdUnready, Class::Ready] {
                metrics.count(&outcome(class));
            }
        });
        assert_eq!(
            *made.0.lock().unwrap(),
            [
                "evenkeel_probe_duration_seconds{service=api,backend=10.0.0.11:6443}",
                "evenkeel_probes_total{service=api,backend=10.0.0.11:6443,result=ready,reason=ready}",
                "evenkeel_probes_total{service=api,backend=10.0.0.11:6443,result=failed,reason=etcdUnready}",
            ]
        );
    }
}
