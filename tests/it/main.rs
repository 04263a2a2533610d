//! The whole program, as its users meet it: the real binary, real sockets, real API servers.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
#![expect(clippy::print_stdout, reason = "a test says what it measured, and why it was skipped")]

mod architecture;
mod cli;
mod config_errors;
mod config_files;
mod harness;
mod real;
mod rebalance;
mod story;
mod traps;
mod vip;
