//! Who holds the address, and how the network learns of it.

pub mod hook;
