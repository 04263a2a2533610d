//! Processes that keep every CPU busy.

use std::hint::black_box;
use std::path::PathBuf;

use evenkeel_testbed::{Host, Process};

use crate::failed::{Doing, Failed};

/// Some for each CPU. Dropped, they end.
#[derive(Debug)]
pub struct Burners {
    processes: Vec<Process>,
}

impl Burners {
    /// Starts so many for each CPU. They run on a host because what runs there ends with the bench.
    ///
    /// # Errors
    /// If one of them does not start.
    pub fn start(each: usize, host: &Host) -> Result<Self, Failed> {
        let own: PathBuf = std::env::current_exe().doing(|| "find this program")?;
        let burner = |number: usize| {
            let mut command = host.command(&own);
            command.arg(BURN);
            host.spawn(&format!("burner-{number}"), command)
        };
        let processes: Result<Vec<Process>, _> = (1..=cpus() * each).map(burner).collect();
        Ok(Self { processes: processes.doing(|| "start a busy process")? })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.processes.len()
    }
}

/// Is one of them: busy until it is killed.
pub fn burn() -> ! {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_add(1));
    }
}

/// How many CPUs this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The word that makes this program one of them.
pub const BURN: &str = "burn";
