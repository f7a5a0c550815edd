//! File servers side by side, each on one processor, the load on the other.

pub(crate) mod bare;
pub(crate) mod beside;
mod check;
pub(crate) mod embedded;
pub(crate) mod epoll;
mod h2load;
pub(crate) mod handshakes;
mod histogram;
pub(crate) mod http2;
pub(crate) mod idle;
mod load;
pub(crate) mod rate;
mod response;
pub(crate) mod store;
mod throttle;
pub(crate) mod tower;
