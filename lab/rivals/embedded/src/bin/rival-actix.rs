//! actix-files under actix-web, with one worker and TCP_NODELAY: `rival-actix DIR ADDRESS`.

use std::any::Any;

use actix_web::rt::net::TcpStream;
use actix_web::{App, HttpServer};

#[actix_web::main]
async fn main() -> std::io::Result<()> {
    let mut words = std::env::args().skip(1);
    let dir = words.next().expect("a directory");
    let addr = words.next().expect("an address");
    HttpServer::new(move || App::new().service(actix_files::Files::new("/", &dir)))
        .workers(1)
        .on_connect(|connection: &dyn Any, _| {
            if let Some(socket) = connection.downcast_ref::<TcpStream>() {
                // This fails only if the connection is gone already.
                let _ = socket.set_nodelay(true);
            }
        })
        .bind(addr)?
        .run()
        .await
}
