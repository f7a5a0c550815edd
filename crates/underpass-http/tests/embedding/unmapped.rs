//! Files that cannot be mapped, as in a process with a limited address space: they are read into a
//! buffer.

use std::io::ErrorKind;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty};
use tower::ServiceExt as _;
use underpass_http::{FileBody, ServeDir};

use crate::support::{Client, Files, MIB, Server, block_on, bytes, child, is_child};

/// In KiB. It is less than the smallest range that the crate reserves.
const ADDRESS_SPACE: &str = "1000000";

/// Runs `test` in a child process that has no address space left to map files.
fn limited(test: &str) {
    let script = format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" \"$@\"");
    let output = child(&["sh", "-c", &script], test).output().unwrap();
    let message = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{message}");
    assert!(message.contains("1 passed"), "{message}");
}

#[test]
fn what_cannot_be_mapped_is_read_and_counted() {
    if !is_child() {
        return limited("unmapped::what_cannot_be_mapped_is_read_and_counted");
    }
    let content = bytes(3 * MIB + 5);
    let files = Files::new().with("file", &content);
    let root = files.root().to_owned();
    let server = Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)));
    let answer = Client::connect(server.address).get("/file");
    assert!(answer.body == content);
    server.log.exchanges(1);
    let all = (answer.head.len() + content.len()) as u64;
    assert_eq!(server.left(), (0, all));
    assert_eq!(server.stats.fallbacks_unmapped.get(), 1);
    assert_eq!(server.stats.bytes_read.get(), content.len() as u64);
}

#[test]
fn what_cannot_be_mapped_and_is_truncated_is_an_error() {
    if !is_child() {
        return limited("unmapped::what_cannot_be_mapped_and_is_truncated_is_an_error");
    }
    let files = Files::new().with("file", &bytes(3 * MIB));
    let body = FileBody::open(files.open("file")).unwrap();
    let file = std::fs::File::options()
        .write(true)
        .open(files.path("file"));
    file.unwrap().set_len(MIB as u64 + 5).unwrap();
    let Err(error) = block_on(body.collect()) else {
        panic!("it looks whole");
    };
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn what_cannot_be_mapped_is_read_in_chunks_of_the_size_that_is_set() {
    if !is_child() {
        return limited(
            "unmapped::what_cannot_be_mapped_is_read_in_chunks_of_the_size_that_is_set",
        );
    }
    let content = bytes(MIB + 5);
    let files = Files::new().with("file", &content);
    for (set, expected) in [(64 << 10, 64 << 10), (1, 4 << 10)] {
        let files = ServeDir::new(files.root()).with_buf_chunk_size(set);
        let request = http::Request::get("/file").body(Empty::new()).unwrap();
        let mut body = block_on(files.oneshot(request)).unwrap().into_body();
        let (mut read, mut largest) = (Vec::new(), 0);
        while let Some(frame) = block_on(body.frame()) {
            let bytes = frame.unwrap().into_data().unwrap();
            largest = largest.max(bytes.len());
            read.extend_from_slice(&bytes);
        }
        assert!(read == content);
        assert_eq!(largest, expected, "set to {set}");
    }
}
