//! Layers that read bodies, and bodies that are read by hand: both see the file's content.

use std::fs::File;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty};
use tower::ServiceExt as _;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use underpass_http::{FileBody, ServeDir, ServerStats};

use crate::support::{Client, Files, KIB, MIB, Server, block_on, bytes, curl, needs, text};

const SIZES: [usize; 6] = [0, 1, 8 * KIB, 8 * KIB + 1, 100 * KIB, 5 * MIB];

fn compressed(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> Router + Send + 'static {
    let root = files.root().to_owned();
    move |stats| {
        let layer = CompressionLayer::new().quality(CompressionLevel::Fastest);
        Router::new()
            .fallback_service(ServeDir::new(root).stats(Arc::clone(stats)))
            .layer(layer)
    }
}

#[test]
fn compressed_files_are_the_files() {
    if !needs::tool("curl") {
        return;
    }
    let files = Files::new();
    for size in SIZES {
        std::fs::write(files.path(&format!("{size}.txt")), text(size)).unwrap();
    }
    let server = Server::start(compressed(&files));
    let head = files.path("head");
    for coding in ["gzip", "br", "zstd"] {
        for size in SIZES {
            let url = format!("http://{}/{size}.txt", server.address);
            let accept = format!("Accept-Encoding: {coding}");
            let got = curl(&["--compressed", "-H", &accept, "-D", &head, &url]);
            assert!(got == text(size), "{coding}: {size} bytes");
            let head = std::fs::read_to_string(&head).unwrap();
            let coded = head.contains(&format!("content-encoding: {coding}"));
            assert_eq!(coded, size > 32, "{coding}: {size} bytes: {head}");
        }
    }
    // All files were compressed, except the two that are not worth it.
    server.log.exchanges(3 * SIZES.len());
    assert_eq!(server.stats.bytes_sendfile.get(), 0);
}

#[test]
fn a_client_that_takes_no_coding_gets_the_file_by_sendfile() {
    let content = text(MIB);
    let files = Files::new().with("file.txt", &content);
    let server = Server::start(compressed(&files));
    let answer = Client::connect(server.address).get("/file.txt");
    assert!(answer.body == content);
    server.log.exchanges(1);
    assert_eq!(server.stats.bytes_sendfile.get(), MIB as u64);
}

#[test]
fn a_body_collected_is_the_file_and_its_hint_is_exact() {
    for size in SIZES {
        let content = bytes(size);
        let files = Files::new().with("file", &content);
        let body = FileBody::open(files.open("file")).unwrap();
        assert_eq!(body.size_hint().exact(), Some(size as u64));
        assert_eq!(body.is_end_stream(), size == 0, "{size} bytes");
        let collected = block_on(body.collect()).unwrap().to_bytes();
        assert!(collected == content, "{size} bytes");
    }
}

#[test]
fn the_hint_counts_down() {
    let files = Files::new().with("file", &bytes(9 * MIB));
    let mut body = FileBody::open(files.open("file")).unwrap();
    let mut left = 9 * MIB as u64;
    block_on(async {
        while let Some(frame) = body.frame().await {
            left -= frame.unwrap().into_data().unwrap().len() as u64;
            assert_eq!(body.size_hint().exact(), Some(left));
        }
    });
    assert_eq!(left, 0);
    assert!(body.is_end_stream());
}

#[test]
fn a_service_called_by_hand_gives_the_file() {
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    let request = |method| {
        let request = Request::builder().method(method).uri("/file");
        request.body(Empty::<Bytes>::new()).unwrap()
    };
    let service = ServeDir::new(files.root());
    block_on(async {
        let response = service.clone().oneshot(request(Method::GET)).await.unwrap();
        assert_eq!(response.headers()["content-length"], MIB.to_string());
        let body = response.into_body().boxed_unsync();
        assert_eq!(body.size_hint().exact(), Some(MIB as u64));
        assert!(body.collect().await.unwrap().to_bytes() == content);
    });
}

#[test]
fn head_has_the_length_and_nothing_behind_it() {
    let content = text(MIB);
    let files = Files::new().with("file.txt", &content);
    let server = Server::start(compressed(&files));
    let mut client = Client::connect(server.address);
    client.ask("HEAD", "/file.txt", "");
    let head = client.head();
    assert_eq!((head.status, head.len()), (200, MIB as u64));
    // The layer sees that there is nothing to compress, and does not change the fields.
    client.ask("HEAD", "/file.txt", "Accept-Encoding: gzip\r\n");
    let head = client.head();
    assert_eq!((head.status, head.len()), (200, MIB as u64));
    assert_eq!(head.field("content-encoding"), None);
    assert!(client.get("/file.txt").body == content);
    server.log.exchanges(3);
    assert_eq!(server.stats.bytes_sendfile.get(), MIB as u64);
}

/// An example of a transforming layer: it copies frames, changes them and passes them on.
fn shout(response: Response<Body>) -> Response<Body> {
    response.map(|body| {
        Body::new(body.map_frame(|frame| frame.map_data(|data| data.to_ascii_uppercase().into())))
    })
}

#[test]
fn a_transforming_layer_changes_what_arrives() {
    let content = text(MIB);
    let files = Files::new().with("file.txt", &content);
    let root = files.root().to_owned();
    let server = Server::start(move |stats| {
        Router::new()
            .fallback_service(ServeDir::new(root).stats(Arc::clone(stats)))
            .layer(map_response(async |response| shout(response)))
    });
    let answer = Client::connect(server.address).get("/file.txt");
    assert!(answer.body == content.to_ascii_uppercase());
    server.log.exchanges(1);
    assert_eq!(server.stats.bytes_sendfile.get(), 0);
}

/// Frames that are sliced, boxed or asked for trailers are still parts of the file.
#[test]
fn wrapping_and_slicing_keep_sendfile() {
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    let path = files.path("file");
    let server = Server::start(move |_| {
        Router::new().fallback(async move || {
            let body = FileBody::open(File::open(path).unwrap()).unwrap();
            let tail = body.map_frame(|frame| frame.map_data(|data| data.slice(1000..)));
            let trailers = async { None::<Result<HeaderMap, std::io::Error>> };
            Body::new(tail.with_trailers(trailers).boxed_unsync())
        })
    });
    let mut client = Client::connect(server.address);
    client.send("GET / HTTP/1.0\r\n\r\n");
    client.head();
    assert!(client.rest() == content[1000..]);
    server.log.exchanges(1);
    assert_eq!(server.stats.bytes_sendfile.get(), (MIB - 1000) as u64);
}

#[test]
fn bytes_and_other_bodies_come_as_they_are() {
    for (body, expected) in [
        (FileBody::empty(), &b""[..]),
        (FileBody::default(), b""),
        (FileBody::full("full"), b"full"),
        (FileBody::other(Body::from("other")), b"other"),
    ] {
        assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
        assert_eq!(block_on(body.collect()).unwrap().to_bytes(), expected);
    }
}
