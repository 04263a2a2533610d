//! The data plane: accept, pick, connect, relay.
//!
//! ```text
//! Listener::run             one task a bound socket
//!   Admission::admit        -> Permit, or reset at once (counted)
//!     connection::serve     one task a connection; THE function to read first
//!       open::open          -> Opened: a backend that speaks, or ConnectError: reset at once
//!         connect::connect  -> Connected, by one attempt after the other
//!           Policy::pick    -> a backend among those treated `serve` and not yet tried
//!         FirstFlight       what may be said again to the next backend, if this one fails
//!       relay::relay        -> Relayed: bytes in both directions, and why it ended
//!       account::account    metrics and one `debug!` event
//! ```
//!
//! Invariants:
//! - a client's bytes arrive whole and in order, or its connection is reset;
//! - no client is held waiting where no backend is left: it is reset at once;
//! - no buffer is held while a connection is idle: what a peer would not take at once is all that
//!   is ever kept.

mod account;
mod admission;
mod balancer;
mod config;
mod connect;
mod connection;
mod data_plane;
mod first_flight;
mod listener;
mod metrics;
mod opening;
mod policy;
mod relay;
mod socket;
mod thread;

pub use account::Ended;
pub use balancer::Balancer;
pub use config::{ConnectConfig, ListenAddress, ListenAddressError, ListenConfig, RelayConfig};
pub use data_plane::DataPlane;
pub use listener::{BindError, Listener};
pub use metrics::describe;
pub use policy::Policy;
pub use policy::least_connections::LeastConnections;
pub use policy::round_robin::RoundRobin;
