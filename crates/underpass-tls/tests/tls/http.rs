//! HTTPS: `underpass_http::serve` on a `TlsListener`.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;
use underpass_http::{Limits, ServeDir, ServerStats, Timeouts, serve_dir};
use underpass_testing::needs;
use underpass_tls::{FailureReason, TlsListener, TlsStats};

use crate::support::{Peer, bytes, is_kernel_required, one_of_each_version, server_config};

/// A server of a directory, on a thread of its own.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) stats: Arc<ServerStats>,
    pub(crate) tls: Arc<TlsStats>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn new(root: &Path) -> Self {
        Self::configured(root, Limits::default(), Timeouts::default())
    }

    pub(crate) fn configured(root: &Path, limits: Limits, timeouts: Timeouts) -> Self {
        let (stats, tls) = (Arc::<ServerStats>::default(), Arc::<TlsStats>::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, address) = mpsc::channel();
        let directory = ServeDir::new(root).stats(Arc::clone(&stats));
        let (its_stats, its_tls) = (Arc::clone(&stats), Arc::clone(&tls));
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let listener = TlsListener::new(listener, server_config()).stats(its_tls);
                let served = serve_dir(listener, directory)
                    .stats(its_stats)
                    .limits(limits)
                    .timeouts(timeouts)
                    .with_graceful_shutdown(async move {
                        let _ = stopped.await;
                    });
                served.await.unwrap();
            });
        });
        Self {
            address: address.recv().unwrap(),
            stats,
            tls,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).unwrap()
    }

    /// Checks that all bytes took the route of the mode, and none was refused.
    fn check_route(&self, files: u64) {
        let (sendfile, encrypted) = (&self.stats.bytes_sendfile, &self.stats.bytes_encrypted);
        if is_kernel_required() {
            assert_eq!((sendfile.get(), encrypted.get()), (files, 0));
        } else {
            assert_eq!(sendfile.get(), 0);
            assert!(encrypted.get() >= files, "{} of {files}", encrypted.get());
            assert_eq!(self.stats.bytes_written.get(), 0);
        }
        assert_eq!(self.stats.fallbacks_refused.get(), 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Gets a file, on a connection that is closed afterwards. Gives the body, if all of it came.
fn get(peer: &mut Peer, path: &str) -> std::io::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    peer.send(request.as_bytes());
    let response = peer.receive_all()?;
    let end = response
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&response[..end]).to_lowercase();
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let body = response[end + 4..].to_vec();
    let len = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    assert_eq!(len.unwrap().parse(), Ok(body.len()), "cut short");
    Ok(body)
}

#[test]
fn files_of_all_sizes_arrive_whole() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [1, 1000, 4096, 16_384, 20_000, 100_000, 5_000_001];
    for size in sizes {
        std::fs::write(dir.path().join(size.to_string()), bytes(7, size)).unwrap();
    }
    let server = Server::new(dir.path());
    for suite in one_of_each_version() {
        for size in sizes {
            let mut peer = Peer::client(server.connect(), Some(suite));
            let body = get(&mut peer, &format!("/{size}")).unwrap();
            assert!(body == bytes(7, size), "{size}");
        }
    }
    // Small files are kept in memory, and are written.
    if !is_kernel_required() {
        server.check_route(2 * sizes.iter().sum::<usize>() as u64);
    }
}

#[test]
fn a_large_file_takes_the_route_of_the_mode() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(8, 5_000_001);
    std::fs::write(dir.path().join("large"), &content).unwrap();
    let server = Server::new(dir.path());
    let mut peer = Peer::client(server.connect(), None);
    assert!(get(&mut peer, "/large").unwrap() == content);
    server.check_route(content.len() as u64);
}

#[test]
fn pitfall_22_a_file_that_is_truncated_is_cut_short() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large");
    // More than all buffers take.
    std::fs::write(&path, vec![9; 40 << 20]).unwrap();
    let server = Server::new(dir.path());
    let mut peer = Peer::client(server.connect(), None);
    peer.send(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n");
    peer.expect(b"HTTP/1.1 200 OK\r\n");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(0).unwrap();
    let (mut len, mut part) = (0, vec![0; 1 << 16]);
    while let Ok(count @ 1..) = peer.receive(&mut part) {
        len += count;
        let has_zeros = part[..count].contains(&0);
        assert!(!has_zeros, "pages of the truncated file were sent");
    }
    assert!(len < 40 << 20, "all of it came");
    assert_eq!(server.stats.truncated.get(), 1);
}

#[test]
fn plain_http_is_told_to_speak_https() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::new(dir.path());
    let mut socket = server.connect();
    socket
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("ask for https:// instead\n"), "{answer}");
    drop(socket);
    let tls = Arc::clone(&server.tls);
    drop(server);
    assert_eq!(tls.failed(FailureReason::PlainHttp).get(), 1);
}

#[test]
fn many_requests_share_a_connection() {
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(9, 1000);
    std::fs::write(dir.path().join("small"), &content).unwrap();
    let server = Server::new(dir.path());
    let mut peer = Peer::client(server.connect(), None);
    for _ in 0..100 {
        peer.send(b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let mut response = Vec::new();
        while !response.ends_with(&content) {
            let mut part = [0; 4096];
            let count = peer.receive(&mut part).unwrap();
            assert!(count > 0);
            response.extend_from_slice(&part[..count]);
        }
    }
    // Closing without close_notify is an end, too, between two requests.
    drop(peer);
}

#[test]
fn curl_gets_a_file() {
    if !needs::tool("curl") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let content = bytes(10, 10_000_000);
    std::fs::write(dir.path().join("file"), &content).unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, crate::support::certificate_pem()).unwrap();
    let server = Server::new(dir.path());
    let url = format!("https://localhost:{}/file", server.address.port());
    for version in ["1.2", "1.3"] {
        let output = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--tls-max", version])
            .arg("--cacert")
            .arg(&ca)
            .arg(&url)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stdout == content);
    }
}
