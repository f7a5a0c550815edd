//! The store and the cache, against a store that misbehaves.

mod support;

mod beginnings;
mod crashes;
mod credentials;
mod disks;
mod https;
mod keys;
mod objects;
mod pitfalls;
mod refusals;
mod runs;
