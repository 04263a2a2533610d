//! What a TCP proxy gets wrong, as checks that run against any of them.
//!
//! A [`Trap`] is something that must hold of every proxy and does not of many. Its check knows the
//! proxy only from outside: an address to connect to, backends that the check itself plays, and
//! the pid of the process, for its CPU and memory. So the same check holds evenkeel to it in the
//! gate, and tells in the bench where HAProxy, nginx and Envoy differ ([`matrix()`]).
//!
//! ```text
//!              to_backend ------------------------------->
//!   client ---------> proxy, a process of a Kind ---------> Backend
//!              <------------------------------- to_client
//!      \_______________________ Pair _______________________/   both ends in one hand
//! ```
//!
//! [`Rig`] says of which proxy and with how much effort; for each check it starts that proxy
//! anew, as root in a network namespace of its own, otherwise on the machine's loopback.
//!
//! Invariants:
//! - Every wait has a bound, and waits for an event. Only what is about time lets time pass.
//! - What a proxy does to a check (an error, an end, silence) is what was observed, and never an
//!   error of the check: those are [`NotChecked`].
//! - Nothing outlives a check: proxy, namespace and files go with it, also in a panic.
//!
//! To add a trap: a file in `trap/` with its `check`, then the `mod` line, the variant and the
//! `match` arms in `trap.rs`. That it can fail is shown in `tests/traps.rs`.

mod backend;
mod effort;
mod kind;
mod matrix;
mod namespace;
mod pair;
mod pattern;
mod process;
mod rig;
mod stage;
mod trap;
mod verdict;

pub use effort::Effort;
pub use kind::{Envoy, Evenkeel, Given, Haproxy, Kind, Nginx};
pub use matrix::{Cell, Matrix, matrix};
pub use process::StartError;
pub use rig::Rig;
pub use trap::Trap;
pub use verdict::{NotChecked, Verdict};
