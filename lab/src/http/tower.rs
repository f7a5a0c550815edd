//! tower-http's `ServeDir` under axum, as its users run it, on one thread and with `TCP_NODELAY`.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, TcpStream};
use tower_http::services::ServeDir;

use crate::error::{Context, Result};

/// Serves until it is killed.
pub(crate) fn serve(dir: &Path, addr: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context(|| "cannot start a runtime".into())?;
    let app = Router::new().fallback_service(ServeDir::new(dir));
    runtime
        .block_on(async {
            let listener = TcpListener::bind(addr).await?;
            axum::serve(listener.tap_io(no_delay), app).await
        })
        .context(|| format!("cannot serve on {addr}"))
}

fn no_delay(connection: &mut TcpStream) {
    // This fails only if the connection is gone already.
    let _ = connection.set_nodelay(true);
}
