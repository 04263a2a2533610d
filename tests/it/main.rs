//! The whole program, as its users meet it: the real binary, real sockets, real API servers.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod architecture;
mod cli;
mod config_errors;
mod config_files;
mod harness;
mod real;
mod story;
