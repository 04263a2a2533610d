//! Who holds the address, and how the network learns of it.

pub mod addresses;
pub mod monitor;
mod netlink;
pub mod redirect;
