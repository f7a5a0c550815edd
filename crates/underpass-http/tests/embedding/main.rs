//! What the crate promises to a program that embeds it, tested as such a program and as its
//! clients.

mod axum_apps;
#[cfg(feature = "axum")]
mod axum_parity;
mod body_parts;
mod changing_files;
mod client_address;
mod cold_files;
mod example;
mod fairness;
mod few_descriptors;
mod file_body;
mod hanging;
mod head;
mod idle_connections;
mod layers;
mod malformed_bodies;
mod messages;
mod observing;
mod panics;
mod routes;
mod settings;
mod sockets;
mod support;
mod tower_http;
mod unmapped;
mod uploads;
