//! Who holds the address, with the real binary on three routers of a switch, and what a client of
//! it feels.
//!
//! ```text
//!   router-1   router-2   router-3   client       10.0.0.100 and fd00::100 on one of the routers
//!   evenkeel   evenkeel   evenkeel   connects anew, and stays
//!   backend    backend    backend
//!       \__________\__________\________\___ switch
//! ```
//!
//! Each test waits for what it asserts, and its bounds are those of the design with room for a
//! machine that is busy: they say that something works. How fast it is, `benches/vip` measures.

mod backends;
mod capabilities;
mod config;
mod frozen;
mod hook;
mod keepalived;
mod keys;
mod killed;
mod lost;
mod parted;
mod planned;
mod route;
mod same_port;
mod site;
mod strangers;
mod told;
mod unheard;
