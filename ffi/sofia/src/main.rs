//! The `bifrons-sip` program.
fn main() {}
