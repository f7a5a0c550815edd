//! Downloads behind an authorisation: `cargo run --example downloads -- DIR ADDRESS`.
//!
//! nginx calls this X-Accel-Redirect, Apache X-Sendfile: the application decides who may have a
//! file, and the server sends it. Here both are one program. The handler authorises, then returns a
//! `FileResponse`, whose file leaves by sendfile(2).
//!
//! ```sh
//! curl -H 'Authorization: Bearer secret' -OJ http://127.0.0.1:8080/reports/2026.csv
//! curl http://127.0.0.1:8080/drawing
//! ```

use std::io;
use std::path::PathBuf;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::net::TcpListener;
use underpass_http::{FileResponse, ServeDir};

/// What the handlers share: the directory `DIR`, and the file `DIR/drawing`.
#[derive(Clone)]
struct Store {
    reports: ServeDir,
    drawing: PathBuf,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().unwrap_or_else(|| ".".to_owned()));
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let store = Store {
        reports: ServeDir::open(&directory)?.precompressed_gzip(),
        drawing: directory.join("drawing"),
    };
    let app = Router::new()
        .route("/reports/{*path}", get(report))
        .route("/drawing", get(drawing))
        .with_state(store);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    underpass_http::serve(listener, app)
        .with_graceful_shutdown(interrupted())
        .await
}

/// A report, for those who may have it. The path is the client's, so it is looked up below the
/// directory, which it cannot leave.
async fn report(
    State(store): State<Store>,
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> impl IntoResponse {
    if !is_allowed(&headers) {
        let challenge = [(WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "who are you?\n").into_response();
    }
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    FileResponse::below(&store.reports, path)
        .attachment(name)
        .cache_control(HeaderValue::from_static("private, no-cache"))
        .respond(&method, &headers)
        .await
        .into_response()
}

/// A file of the program's own, which has no extension. Browsers show it, and save it by its title.
async fn drawing(
    State(store): State<Store>,
    method: Method,
    headers: HeaderMap,
) -> impl IntoResponse {
    FileResponse::path(store.drawing)
        .inline("Brücke über die Spree.svg")
        .respond(&method, &headers)
        .await
}

/// Stands for a session, a signature or a database.
fn is_allowed(headers: &HeaderMap) -> bool {
    headers
        .get(AUTHORIZATION)
        .is_some_and(|it| it == "Bearer secret")
}

/// Waits for Ctrl-C. If that is not possible, Ctrl-C ends the program as usual.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
