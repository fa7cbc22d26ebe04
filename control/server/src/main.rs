//! The `bifrons` program.
fn main() {}
