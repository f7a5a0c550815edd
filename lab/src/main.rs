//! Bytes pass under user space.
fn main() {}
