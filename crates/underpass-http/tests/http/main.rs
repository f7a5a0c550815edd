//! The server from outside: bytes, curl and Python in; bytes, files and counters out.

mod support;

mod bad_input;
mod changing;
mod conditions;
mod connections;
mod directories;
mod hot;
mod methods;
mod missing;
mod paths;
mod precompressed;
mod ranges;
mod real_clients;
mod slow;
mod stopping;
mod uploads;
