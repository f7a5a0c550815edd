//! The store and the cache, against a store that misbehaves.

mod support;

mod crashes;
mod objects;
