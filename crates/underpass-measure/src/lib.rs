//! Counts, on the running kernel, what each way of moving a file to a socket costs: copies, those by the CPU among them,
//! switches between user and kernel mode, time and CPU time.
//!
//! A number is `measured` where a probe counted it, `reported` where the kernel said so of the very transfer, and
//! `expected` where it is only documented; no cell is filled from theory without saying so.

pub mod page;
pub mod report;
mod way;

pub use report::Report;
pub use way::Way;
