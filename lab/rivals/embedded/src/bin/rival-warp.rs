//! warp's `fs::dir` on one thread, with TCP_NODELAY: `rival-warp DIR ADDRESS`.

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let dir = words.next().expect("a directory");
    let addr = words.next().expect("an address");
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(serve(dir, addr))
}

/// Does what `warp::serve` does, which sets no socket options.
async fn serve(dir: String, addr: String) -> std::io::Result<()> {
    let service = TowerToHyperService::new(warp::service(warp::fs::dir(dir)));
    let listener = TcpListener::bind(addr).await?;
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let served = http1::Builder::new().serve_connection(TokioIo::new(socket), service.clone());
        tokio::spawn(async move {
            // A connection that breaks off needs nothing more.
            let _ = served.await;
        });
    }
}
