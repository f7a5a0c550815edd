//! By which route the bytes of bodies are sent, counted to the byte.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::map_response;
use axum::routing::get;
use http::{HeaderName, HeaderValue, Response};
use tower_http::set_header::SetResponseHeaderLayer;
use underpass_http::{FileBody, ServeDir, ServerStats};

use crate::support::{Client, Files, KIB, MIB, Server, bytes, child, is_child, needs};

fn files_of(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> ServeDir + Send + 'static {
    let root = files.root().to_owned();
    move |stats| ServeDir::new(root).stats(Arc::clone(stats))
}

#[test]
fn pitfall_19_a_file_leaves_by_sendfile_to_the_byte() {
    for len in [8 * KIB + 1, MIB + 123, 5 * MIB] {
        let content = bytes(len);
        let files = Files::new().with("file", &content);
        let server = Server::start(files_of(&files));
        let mut client = Client::connect(server.address);
        let mut heads = 0;
        for round in 1..=3 {
            let answer = client.get("/file");
            assert!(answer.body == content, "{len} bytes");
            heads += answer.head.len() as u64;
            server.log.exchanges(round);
            assert_eq!(server.left(), ((round * len) as u64, heads), "{len} bytes");
        }
    }
}

#[test]
fn a_small_file_is_written_behind_its_head() {
    let content = bytes(8 * KIB);
    let files = Files::new().with("file", &content);
    let server = Server::start(files_of(&files));
    let answer = Client::connect(server.address).get("/file");
    assert!(answer.body == content);
    server.log.exchanges(1);
    let written = answer.head.len() + content.len();
    assert_eq!(server.left(), (0, written as u64));
}

#[test]
fn pitfall_19_ranges_and_parts_leave_by_sendfile() {
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    let server = Server::start(files_of(&files));
    let mut client = Client::connect(server.address);

    client.ask("GET", "/file", "Range: bytes=1000-500999\r\n");
    let one = client.answer();
    assert_eq!(one.status, 206);
    assert!(one.body == content[1000..501_000]);
    server.log.exchanges(1);
    assert_eq!(server.left(), (500_000, one.head.len() as u64));

    let ranges = [0..20_000, 50_000..50_100, 100_000..1_000_000];
    client.ask(
        "GET",
        "/file",
        "Range: bytes=0-19999,50000-50099,100000-999999\r\n",
    );
    let many = client.answer();
    assert_eq!(many.status, 206);
    let mut at = 0;
    for range in &ranges {
        let part = &content[range.clone()];
        let found = many.body[at..]
            .windows(part.len())
            .position(|it| it == part);
        at += found.expect("a part is missing") + part.len();
    }
    server.log.exchanges(2);
    let sent: usize = ranges.iter().map(ExactSizeIterator::len).sum();
    let all = one.head.len() + many.head.len() + many.body.len();
    let expected = (500_000 + sent as u64, (all - sent) as u64);
    assert_eq!(server.left(), expected);
}

/// An application with every way in which a file can get into a response.
fn application(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> Router + Send + 'static {
    let (root, path) = (files.root().to_owned(), files.path("file"));
    move |stats| {
        let serve_dir = ServeDir::new(root).stats(Arc::clone(stats));
        let again = path.clone();
        let response = async move || {
            Response::new(FileBody::open(std::fs::File::open(path).unwrap()).unwrap())
        };
        let body = async move || {
            let file = tokio::fs::File::open(again).await.unwrap();
            Body::new(FileBody::open(file.into_std().await).unwrap())
        };
        Router::new()
            .route("/own", get(|| async { "hello" }))
            .route("/response", get(response))
            .route("/body", get(body))
            .nest_service("/assets", serve_dir.clone())
            .fallback_service(serve_dir)
            .layer(SetResponseHeaderLayer::overriding(
                HeaderName::from_static("x-layer"),
                HeaderValue::from_static("tower"),
            ))
            .layer(map_response(async |mut response: Response<Body>| {
                let value = HeaderValue::from_static("axum");
                response.headers_mut().insert("x-mapped", value);
                response
            }))
    }
}

const TARGETS: [&str; 4] = ["/file", "/assets/file", "/response", "/body"];

#[test]
fn pitfall_19_under_axum_files_leave_by_sendfile() {
    let content = bytes(MIB + 123);
    let files = Files::new().with("file", &content);
    for target in TARGETS {
        let server = Server::start(application(&files));
        let mut client = Client::connect(server.address);
        let answer = client.get(target);
        assert_eq!(answer.field("x-layer"), Some("tower"), "{target}");
        assert_eq!(answer.field("x-mapped"), Some("axum"), "{target}");
        assert!(answer.body == content, "{target}");
        server.log.exchanges(1);
        let expected = (content.len() as u64, answer.head.len() as u64);
        assert_eq!(server.left(), expected, "{target}");
        assert_eq!(client.get("/own").body, b"hello");
    }
}

/// Shows that the assertions above can fail.
#[test]
fn behind_other_servers_the_content_is_right_and_copied() {
    let content = bytes(MIB + 123);
    let files = Files::new().with("file", &content);
    let axum = Server::axum(application(&files));
    for target in TARGETS {
        let answer = Client::connect(axum.address).get(target);
        assert!(answer.body == content, "{target}");
    }
    assert_eq!(axum.left(), (0, 0));
    let flattening = Server::flattening_hyper(files_of(&files));
    let answer = Client::connect(flattening.address).get("/file");
    assert!(answer.body == content);
    assert_eq!(flattening.left(), (0, 0));
}

#[test]
fn pitfall_19_the_system_call_is_sendfile() {
    let content = bytes(MIB);
    if is_child() {
        let files = Files::new().with("file", &content);
        let server = Server::start(application(&files));
        assert!(Client::connect(server.address).get("/assets/file").body == content);
        return;
    }
    if !needs::tool("strace") {
        return;
    }
    let files = Files::new();
    let trace = files.path("trace");
    let calls = "trace=sendfile,sendto,sendmsg,write,writev,splice,vmsplice";
    let strace = ["strace", "-f", "-qq", "-s", "0", "-o", &trace, "-e", calls];
    let test = "routes::pitfall_19_the_system_call_is_sendfile";
    let output = child(&strace, test).output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    if message.contains("ptrace") && !output.status.success() {
        needs::lacking("ptrace(2) is not allowed");
        return;
    }
    assert!(output.status.success(), "{message}");
    let trace = std::fs::read_to_string(trace).unwrap();
    assert_eq!(moved(&trace, &["sendfile"]), content.len() as u64);
    // The test harness writes its output with write(2).
    assert!(moved(&trace, &["sendto", "sendmsg", "writev", "splice"]) < 2 * KIB as u64);
}

/// The sum of the return values of these calls.
fn moved(trace: &str, calls: &[&str]) -> u64 {
    let mut sum = 0;
    for line in trace.lines() {
        // Lines like `12 sendfile(…) = 5` and `12 <... sendfile resumed>…) = 5`.
        let name = line.split([' ', '(', '<']).find(|it| calls.contains(it));
        let result = line.rsplit_once("= ").map_or("", |(_, result)| result);
        if name.is_some() {
            sum += result.parse().unwrap_or(0);
        }
    }
    sum
}
