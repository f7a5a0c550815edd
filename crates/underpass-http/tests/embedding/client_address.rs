//! The address of a client behind a proxy, as applications and observers see it.

use std::io;
use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::{Extension, Router, routing::get};
use tokio::net::TcpStream;
use underpass_http::{
    ClientAddress, HttpSocket as _, Proxied, ProxyListener, TrustedProxies, serve,
};

use crate::support::{Client, Server, bound, from_std};

fn is_local(peer: Option<IpAddr>) -> bool {
    peer.is_some_and(|address| address.is_loopback())
}

async fn client(Extension(ClientAddress(client)): Extension<ClientAddress>) -> String {
    format!("{client:?}")
}

#[test]
fn applications_are_told_whom_a_trusted_proxy_names() {
    let app = Router::new().route("/", get(client));
    let proxies = TrustedProxies::new(is_local);
    let server = Server::configured(move |_| app, |serve| serve.trusted_proxies(proxies));
    let mut proxy = Client::connect(server.address);
    for (fields, expected) in [
        ("", "Some(127.0.0.1)"),
        ("X-Forwarded-For: 192.0.2.7\r\n", "Some(192.0.2.7)"),
        (
            "X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 192.0.2.8, 127.0.0.2\r\n",
            "Some(192.0.2.8)",
        ),
        ("Forwarded: for=192.0.2.7\r\n", "Some(127.0.0.1)"),
    ] {
        proxy.ask("GET", "/", fields);
        assert_eq!(proxy.answer().text(), expected, "{fields}");
    }
    let app = Router::new().route("/", get(client));
    let nobody = TrustedProxies::new(|_| false);
    let server = Server::configured(move |_| app, |serve| serve.trusted_proxies(nobody));
    let mut proxy = Client::connect(server.address);
    proxy.ask("GET", "/", "X-Forwarded-For: 192.0.2.7\r\n");
    assert_eq!(proxy.answer().text(), "Some(127.0.0.1)");
}

/// A header of the PROXY protocol names the peer, for everything that asks for it.
#[test]
fn the_peer_is_whom_a_proxy_listener_was_told() {
    async fn both(
        ConnectInfo(peer): ConnectInfo<SocketAddr>,
        Extension(ClientAddress(client)): Extension<ClientAddress>,
    ) -> String {
        format!("{peer} {client:?}")
    }
    let (listener, address) = bound();
    let server = Server::spawn(address, |stats, log| async move {
        let local = |peer: Option<SocketAddr>| is_local(peer.map(|peer| peer.ip()));
        let listener = ProxyListener::new(from_std(listener), local);
        let peer = |socket: &Proxied<TcpStream>| {
            let peer = socket.peer();
            peer.map(ConnectInfo)
                .ok_or_else(|| io::ErrorKind::NotConnected.into())
        };
        let proxies = TrustedProxies::new(|peer| peer == "192.0.2.7".parse().ok());
        let serving = serve(listener, Router::new().route("/", get(both)));
        let serving = serving.connect_info(peer).trusted_proxies(proxies);
        serving.stats(stats).observe(log).await.unwrap();
    });
    let mut proxy = Client::connect(server.address);
    proxy.send("PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n");
    for (fields, expected) in [
        ("", "192.0.2.7:5000 Some(192.0.2.7)"),
        (
            "X-Forwarded-For: 198.51.100.1\r\n",
            "192.0.2.7:5000 Some(198.51.100.1)",
        ),
    ] {
        proxy.ask("GET", "/", fields);
        assert_eq!(proxy.answer().text(), expected, "{fields}");
    }
    let exchanges = server.log.exchanges(2);
    let peers: Vec<_> = exchanges.iter().map(|it| it.peer).collect();
    assert_eq!(peers, [Some("192.0.2.7:5000".parse().unwrap()); 2]);
}
