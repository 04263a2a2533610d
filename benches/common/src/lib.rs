//! What the benches on a testbed have in common: how they wait and end, what they say when they
//! cannot go on, and busy CPUs.

pub mod burn;
pub mod failed;
pub mod number;
pub mod pause;
pub mod signals;
pub mod text;
