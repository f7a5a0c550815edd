//! The server from outside: bytes, curl and Python in; bytes, files and counters out.

mod support;

mod conditions;
mod connections;
mod directories;
mod methods;
mod missing;
mod paths;
mod precompressed;
mod ranges;
mod uploads;
