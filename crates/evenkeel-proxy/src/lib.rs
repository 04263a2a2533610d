//! The data plane: accept, pick, connect, relay.
//!
//! ```text
//! DataPlane::start          the data threads: an epoll, a scratch buffer, a book each
//!   thread                  waits, accepts, runs what is ready; hands over to who has fewer
//!     Admission             -> Permit, or reset at once (counted); or the queue waits (acceptRate)
//!     Connection::run       one connection; THE function to read first
//!       Opening             -> Settled: a backend that speaks, or ConnectError: reset at once
//!         connect::pick     -> a backend among those treated `serve` and not yet tried
//!         FirstFlight       what may be said again to the next backend, if this one fails
//!       Relay               what to do next; knows no socket
//!         relay::drive      does it: recv, send, splice
//!       Flushing            what the client is owed, before we reset it
//!     Book                  counts; carried over to the metrics four times a second
//! ```
//!
//! Invariants:
//! - a client's bytes arrive whole and in order, or its connection is reset;
//! - no client is held waiting where no backend is left: it is reset at once;
//! - no buffer is held while a connection is idle: what a peer would not take at once is all that
//!   is ever kept;
//! - a connection lives on one thread, and nothing on that thread blocks.

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
mod reset;
mod silence;
mod socket;
mod tcp_info;
mod thread;

pub use account::Ended;
pub use balancer::Balancer;
pub use config::{
    ConnectConfig, DataPlaneConfig, ListenAddress, ListenAddressError, ListenConfig, RelayConfig,
};
pub use data_plane::DataPlane;
pub use first_flight::Replay;
pub use listener::{Bind, BindError, BindPort, Listener};
pub use metrics::describe;
pub use policy::Policy;
pub use policy::least_connections::LeastConnections;
pub use policy::round_robin::RoundRobin;
pub use silence::OWED;
