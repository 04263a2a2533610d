//! Three to five routers in virtual time, over thousands of seeded schedules: the very state
//! machine that `evenkeel run` drives, in a loop as its thread has it, on a network that loses,
//! delays, doubles and overtakes, and among whatever else befalls nodes.
//!
//! ```text
//! Schedule (seed) ──> World ──> Node: Router or keepalived, kernel ──> Network ──> Node, Client
//!                                        └──────────── Laws ─────────────┘
//! ```
//!
//! A law that is broken names its seed, with which
//! `SIM_SEED=seed cargo nextest run -p evenkeel-vip --test sim --no-capture` tells the whole story.
//! `SIM_FIRST=seed SIM_SCHEDULES=number` runs others, or more.
#![expect(clippy::print_stdout, reason = "the story of a schedule that breaks a law")]

mod client;
mod keepalived;
mod laws;
mod network;
mod node;
mod schedule;
mod sums;
mod world;

use std::thread;

use schedule::Schedule;
use sums::Sums;
use world::World;

/// Broken laws that are listed.
const LISTED: usize = 1000;

/// Schedules in one run.
const SCHEDULES: u64 = 5_000;

#[test]
fn five_thousand_schedules_keep_the_laws() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        let sums = run(seed, true).unwrap_or_else(|broken| panic!("{broken}"));
        println!("{sums}");
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(0);
    let schedules = number("SIM_SCHEDULES").unwrap_or(SCHEDULES);
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = u64::try_from(workers).unwrap_or(1);
    let all: Vec<(Sums, Vec<String>)> = thread::scope(|scope| {
        let share = |worker: u64| {
            scope.spawn(move || {
                let mut sums = Sums::default();
                let mut broken = Vec::new();
                for seed in (first..first + schedules).filter(|seed| seed % workers == worker) {
                    match run(seed, false) {
                        Ok(more) => sums.add(&more),
                        Err(law) => broken.push(law),
                    }
                }
                (sums, broken)
            })
        };
        let workers: Vec<_> = (0..workers).map(share).collect();
        let panicked = |_| panic!("a router panicked: see above");
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(panicked)).collect()
    });
    let mut sums = Sums::default();
    let mut broken = Vec::new();
    for (more, laws) in all {
        sums.add(&more);
        broken.extend(laws);
    }
    println!("{schedules} schedules: {sums}");
    broken.sort_by_key(String::len);
    for law in broken.iter().take(LISTED) {
        println!("{}", law.trim_end());
    }
    assert!(
        broken.is_empty(),
        "{} schedules break a law; SIM_SEED=seed tells the whole story of one",
        broken.len()
    );
    if schedules >= SCHEDULES {
        // What never happens in a simulation, its laws say nothing about.
        sums.assert_eventful();
    }
}

fn run(seed: u64, tell: bool) -> Result<Sums, String> {
    World::new(Schedule::of(seed), tell).run().map_err(|broken| format!("seed {seed}: {broken}"))
}
