//! Failover in virtual time: the judges, the decider and the pool that `evenkeel run` uses, among
//! servers that fail at random, over thousands of seeded schedules.
//!
//! ```text
//! Schedule (seed) ──> Server: how it answers now ──> looks, bytes ──> Judge ──┐
//!                                                                             ├─> Decider
//! ```
//!
//! After every step the laws are checked; a broken one names its seed, with which
//! `SIM_SEED=seed cargo nextest run -p evenkeel --test sim` tells the whole story.
#![expect(clippy::print_stdout, reason = "the story of a schedule that breaks a law")]

mod laws;
mod schedule;
mod world;

use std::thread;

use schedule::Schedule;
use world::World;

/// Schedules in one run.
const SCHEDULES: u64 = 10_000;

#[test]
fn ten_thousand_schedules_keep_the_laws() {
    if let Some(seed) = std::env::var("SIM_SEED").ok().and_then(|seed| seed.parse().ok()) {
        let story = run(seed, true).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{story}");
        return;
    }
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = u64::try_from(workers).unwrap_or(1);
    let sums: Vec<world::Sums> = thread::scope(|scope| {
        let share = |worker: u64| {
            scope.spawn(move || {
                let mut sums = world::Sums::default();
                for seed in (0..SCHEDULES).filter(|seed| seed % workers == worker) {
                    match run(seed, false) {
                        Ok(more) => sums.add(&more),
                        Err(broken) => panic!("{broken}\nSIM_SEED={seed} tells the whole story"),
                    }
                }
                sums
            })
        };
        let workers: Vec<_> = (0..workers).map(share).collect();
        let panicked = |_| panic!("a law was broken: see above");
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect()
    });
    let mut all = world::Sums::default();
    for sums in &sums {
        all.add(sums);
    }
    println!("{SCHEDULES} schedules: {all}");
    // What never happens in a simulation, its laws say nothing about.
    all.assert_eventful();
}

fn run(seed: u64, tell: bool) -> Result<world::Sums, String> {
    World::new(Schedule::of(seed), tell).run().map_err(|broken| format!("seed {seed}: {broken}"))
}
