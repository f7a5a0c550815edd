//! The store and the cache, against a store that misbehaves.

mod support;

mod crashes;
mod disks;
mod objects;
mod pitfalls;
mod refusals;
