//! `underpass_http` under axum, as its users run it, on one thread. Its metrics say by which route
//! its bytes were sent, like those of `underpass serve`.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use underpass_http::{ServeDir, ServerStats};

use crate::error::{Context, Result};

/// The metric with the bytes by route; the table of contenders names it too.
const SENT: &str = "embedded_response_bytes_total";

/// Serves `dir` on `addr`, and its counters on `metrics`, until it is killed.
pub(crate) fn serve(dir: &Path, addr: SocketAddr, metrics: SocketAddr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context(|| "cannot start a runtime".into())?;
    let stats = Arc::new(ServerStats::default());
    let files = ServeDir::open(dir).context(|| format!("cannot open {}", dir.display()))?;
    let app = Router::new().fallback_service(files);
    let told = Arc::clone(&stats);
    let counters = Router::new().route("/metrics", get(async move || page(&told)));
    runtime
        .block_on(async {
            let counted = TcpListener::bind(metrics).await?;
            tokio::spawn(async move { axum::serve(counted, counters).await });
            let listener = TcpListener::bind(addr).await?;
            underpass_http::serve(listener, app).stats(stats).await
        })
        .context(|| format!("cannot serve on {addr}"))
}

fn page(stats: &ServerStats) -> String {
    let (sendfile, written) = (stats.bytes_sendfile.get(), stats.bytes_written.get());
    format!("{SENT}{{route=\"sendfile\"}} {sendfile}\n{SENT}{{route=\"write\"}} {written}\n")
}
