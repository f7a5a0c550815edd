//! What the crate promises to a program that embeds it, seen from that program and from its clients.

mod changing_files;
mod cold_files;
mod example;
mod fairness;
mod file_body;
mod layers;
mod observing;
mod routes;
mod sockets;
mod support;
mod unmapped;
