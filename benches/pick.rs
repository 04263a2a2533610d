//! What a pick costs, by policy and size of the pool: `cargo bench -p evenkeel-proxy --bench pick`.
//!
//! A pool has 1 to 9 backends, so a pick is a scan. The figure to look at is the ratio to a pool of
//! one, which no scan can be cheaper than; the times are of this machine.
#![expect(clippy::print_stdout, reason = "the result of a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use evenkeel_core::backend::Backend;
use evenkeel_core::endpoint::Endpoint;
use evenkeel_proxy::{LeastConnections, Policy, RoundRobin};
use tokio::time::Instant;

const PICKS: u32 = 200_000;
const SAMPLES: usize = 11;

fn main() {
    let policies = [
        Policy::LeastConnections(LeastConnections::default()),
        Policy::RoundRobin(RoundRobin::default()),
    ];
    println!("{:<18} {:>8} {:>10} {:>8}", "policy", "backends", "ns a pick", "ratio");
    for policy in policies {
        let one = median(&policy, 1);
        for size in [1, 3, 5, 9] {
            let time = median(&policy, size);
            let ratio = time.as_secs_f64() / one.as_secs_f64();
            let each = time.as_secs_f64() * 1e9 / f64::from(PICKS);
            println!("{:<18} {size:>8} {each:>10.1} {ratio:>8.2}", policy.name());
        }
    }
}

/// The median time of [`PICKS`] picks.
fn median(policy: &Policy, size: u8) -> Duration {
    let backends: Vec<Arc<Backend>> = (1..=size)
        .map(|last| Arc::new(Backend::new(Endpoint::new(([10, 0, 0, last], 6443).into()))))
        .collect();
    let mut samples: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            let now = start;
            for _ in 0..PICKS {
                black_box(policy.pick(black_box(&backends), &[], now));
            }
            start.elapsed()
        })
        .collect();
    samples.sort_unstable();
    samples.get(SAMPLES / 2).copied().unwrap_or_default()
}
