//! What only the feature `axum` has: axum's traits for the types of this crate.

use std::net::{Ipv6Addr, SocketAddr};

use axum::extract::connect_info::Connected;
use axum::response::{IntoResponse, Response};
use tokio::net::TcpStream;
use underpass::accept::Listener;

use crate::body::FileBody;
use crate::server::IncomingStream;

/// The address of the peer. If the client has left already, it is `[::]:0`, and there will be no
/// request.
impl<L: Listener<Socket = TcpStream>> Connected<IncomingStream<'_, L>> for SocketAddr {
    fn connect_info(stream: IncomingStream<'_, L>) -> Self {
        let unknown = (Ipv6Addr::UNSPECIFIED, 0).into();
        stream.remote_addr().unwrap_or(unknown)
    }
}

impl IntoResponse for FileBody {
    fn into_response(self) -> Response {
        Response::new(axum::body::Body::new(self))
    }
}
