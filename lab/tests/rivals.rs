//! `lab rivals` as a process: what it refuses, what it leaves behind, and whose numbers do not count.

#[allow(dead_code)]
mod support;
