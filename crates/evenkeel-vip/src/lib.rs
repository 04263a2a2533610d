//! Who holds the address, and how the network learns of it.

pub mod addresses;
pub mod advert_socket;
pub mod announcement;
mod bytes;
mod checksum;
pub mod class;
pub mod config;
pub mod frame_socket;
pub mod hook;
mod metrics;
pub mod monitor;
mod netlink;
mod open;
pub mod packet;
pub mod redirect;
pub mod router;
pub mod thread;

pub use metrics::describe;
