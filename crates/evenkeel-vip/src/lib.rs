//! Who holds the address, and how the network learns of it.

pub mod advert_socket;
pub mod announcement;
mod bytes;
mod checksum;
pub mod frame_socket;
mod open;
pub mod packet;

pub use bytes::Bytes;
pub use open::OpenError;
