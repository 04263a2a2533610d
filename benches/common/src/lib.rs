//! What the benches have in common: how they wait and end, what they say when they cannot go on,
//! how they judge and what they keep, and busy CPUs.

pub mod burn;
pub mod failed;
pub mod number;
pub mod pause;
pub mod report;
pub mod signals;
pub mod text;
pub mod verdict;
