//! Who holds the address, and how the network learns of it.
//!
//! ```text
//! Thread             one a VIP: asks the kernel and the network, does what the router says
//!   Router           who holds it: states, timers, make before break; pure
//!     Class          what a node could do with it, and the priority that says so; pure
//!   Addresses        lent by the kernel for a second, again and again
//!   Monitor          what changes at links and addresses
//!   AdvertSocket     VRRPv3 out and in;  packet: its bytes; pure
//!   FrameSocket      ARP and neighbour discovery out and in;  announcement: its bytes; pure
//! Redirect           clients of VIP:6443 to a port of ours, beside an API server that has it
//! Hook               a provider's address, moved by a command or over HTTP
//! ```
//!
//! Invariants held here:
//! - no election asks the API server: its address does not depend on what it leads to;
//! - an address is renewed only while the data plane turns, so that whoever hangs or is killed loses
//!   it by itself;
//! - who leaves keeps the address until its successor is heard;
//! - who stood still sends nothing before it has let go;
//! - nothing that comes from the network panics or allocates, and each rejected packet is counted.

pub mod addresses;
pub mod advert_socket;
pub mod announcement;
mod bytes;
mod causes;
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

pub use self::bytes::Bytes;
pub use self::metrics::describe;
pub use self::open::OpenError;
