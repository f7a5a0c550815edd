//! Programs that listen until they are killed: servers and relays.

pub(crate) mod routes;
pub(crate) mod running;
