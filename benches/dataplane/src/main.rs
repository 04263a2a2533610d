//! Measures the data plane.
fn main() {}
