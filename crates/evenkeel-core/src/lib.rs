//! The words that all other crates speak.
//!
//! No I/O, no clock and no randomness of its own: what depends on time takes `now`, what
//! depends on chance takes a seed. So all of it is tested without a socket or a sleep.
//!
//! Invariants held here:
//! - a [`pool::Snapshot`] never changes; [`pool::PoolWriter`], of which there is one a pool,
//!   makes the next one current in a single swap;
//! - [`treatment::decide`] never serves a foreign, dead or refusing endpoint;
//! - [`health`] is evidence and [`treatment`] is action: nothing turns one into the other but
//!   `decide`, and nothing holds its resets back but [`decision`].

pub mod backend;
pub mod credentials;
pub mod decision;
pub mod endpoint;
pub mod health;
pub mod pool;
pub mod shutdown;
pub mod signs;
pub mod timeline;
pub mod tolerance;
pub mod treatment;
pub mod units;
