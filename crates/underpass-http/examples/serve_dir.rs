//! A directory over HTTP: `cargo run --example serve_dir -- DIR ADDRESS`.

use std::io;

use tokio::net::TcpListener;
use underpass_http::{ServeDir, serve_dir};

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let files = ServeDir::open(directory)?.listing(true);
    serve_dir(TcpListener::bind(address).await?, files).await
}
