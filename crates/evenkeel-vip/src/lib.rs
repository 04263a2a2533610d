//! Who holds the address, and how the network learns of it.

pub mod addresses;
pub mod announcement;
mod bytes;
mod checksum;
pub mod class;
pub mod monitor;
mod netlink;
pub mod packet;
pub mod router;
