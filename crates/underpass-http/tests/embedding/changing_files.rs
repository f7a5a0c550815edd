//! Files that change while they are sent. Whatever happens, the process survives, and nothing but
//! the file's content is sent within the promised length.

use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tower_http::compression::CompressionLayer;
use underpass_http::{Cache, ServeDir, ServerStats};

use crate::support::{Client, Files, Image, KIB, MIB, MORE_THAN_BUFFERS, Server, bytes, changed};

fn serve_dir(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> ServeDir + Send + 'static {
    let root = files.root().to_owned();
    // Nothing is cached: each request looks the file up again.
    move |stats| {
        ServeDir::new(root)
            .stats(Arc::clone(stats))
            .cache(Cache::default().entries(16).valid_for(Duration::ZERO))
    }
}

fn router(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> Router + Send + 'static {
    let serve_dir = serve_dir(files);
    move |stats| Router::new().fallback_service(serve_dir(stats))
}

fn compressing(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> Router + Send + 'static {
    let router = router(files);
    move |stats| router(stats).layer(CompressionLayer::new())
}

/// A large file, and a small one whose content must not appear inside it.
fn big_and_small() -> (Files, Vec<u8>) {
    let content = bytes(MORE_THAN_BUFFERS);
    let files = Files::new()
        .with("big.txt", &content)
        .with("small", b"small");
    (files, content)
}

fn set_len(files: &Files, len: u64) {
    let file = File::options().write(true).open(files.path("big.txt"));
    file.unwrap().set_len(len).unwrap();
}

/// Asks for both files at once, reads the first MiB of the large one, and leaves the rest unread.
fn begin(server: &Server, content: &[u8]) -> Client {
    let mut client = Client::slow(server.address);
    client.ask("GET", "/big.txt", "");
    client.ask("GET", "/small", "");
    assert_eq!(client.head().len(), content.len() as u64);
    assert!(client.read(MIB) == content[..MIB]);
    client
}

#[track_caller]
fn assert_serves(server: &Server) {
    assert_eq!(Client::connect(server.address).get("/small").body, b"small");
}

#[test]
fn pitfall_02_a_truncated_file_ends_its_connection_short() {
    for len in [0, 20 * MIB + 123, MORE_THAN_BUFFERS - 10] {
        let (files, content) = big_and_small();
        let server = Server::start(serve_dir(&files));
        let client = begin(&server, &content);
        set_len(&files, len as u64);
        let rest = client.rest();
        assert!(rest.len() < content.len() - MIB, "{len}: {}", rest.len());
        assert!(content[MIB..].starts_with(&rest), "{len}: other bytes");

        let failure = server.log.failure();
        assert!(failure.contains("truncated while it was sent"), "{failure}");
        assert!(!failure.contains('\n'), "{failure}");
        let exchange = &server.log.exchanges(1)[0];
        assert!(!exchange.complete, "{exchange:?}");
        assert_eq!(exchange.request.as_ref().unwrap().uri.path(), "/big.txt");
        assert_eq!(server.stats.truncated.get(), 1);
        assert_serves(&server);
        assert_eq!(
            Client::connect(server.address).get("/big.txt").len(),
            len as u64
        );
    }
}

#[test]
fn pitfall_02_truncated_and_grown_again_it_ends_its_connection_short() {
    let (files, content) = big_and_small();
    let server = Server::start(serve_dir(&files));
    let client = begin(&server, &content);
    set_len(&files, 0);
    set_len(&files, content.len() as u64);
    let rest = client.rest();
    assert!(rest.len() < content.len() - MIB, "{}", rest.len());
    let same = rest.iter().zip(&content[MIB..]).take_while(|(a, b)| a == b);
    let zeros = &rest[same.count()..];
    assert!(zeros.iter().all(|byte| *byte == 0));
    let failure = server.log.failure();
    assert!(failure.contains("while it was sent"), "{failure}");
    assert_serves(&server);
}

/// The layer reads the mapping: without the handler, SIGBUS would end the process here.
#[test]
fn pitfall_22_a_file_truncated_under_a_layer_ends_its_connection_short() {
    let (files, _) = big_and_small();
    let server = Server::start(compressing(&files));
    let mut client = Client::slow(server.address);
    client.ask("GET", "/big.txt", "Accept-Encoding: gzip\r\n");
    client.ask("GET", "/small", "");
    let head = client.head();
    assert_eq!(head.field("transfer-encoding"), Some("chunked"));
    set_len(&files, 5 * KIB as u64);
    let rest = client.rest();
    assert!(rest.len() < MORE_THAN_BUFFERS);
    assert!(!rest.ends_with(b"\r\n0\r\n\r\n"), "it looks whole");
    assert!(!rest.ends_with(b"small"), "it went on");
    let failure = server.log.failure();
    assert!(failure.contains("truncated while it was sent"), "{failure}");
    assert!(!server.log.exchanges(1)[0].complete);
    assert_eq!(server.stats.truncated.get(), 1);
    assert_serves(&server);
}

/// Here the kernel reads the mapping.
#[test]
fn pitfall_22_a_file_truncated_behind_another_server_ends_its_connection_short() {
    let (files, content) = big_and_small();
    let server = Server::axum(router(&files));
    let client = begin(&server, &content);
    set_len(&files, 5 * KIB as u64);
    let rest = client.rest();
    assert!(rest.len() < content.len() - MIB, "{}", rest.len());
    assert!(content[MIB..].starts_with(&rest), "other bytes");
    assert_serves(&server);
}

#[test]
fn a_file_replaced_by_renaming_is_sent_to_its_end_and_then_the_new_one() {
    let (files, content) = big_and_small();
    let server = Server::start(serve_dir(&files));
    let mut client = begin(&server, &content);
    std::fs::write(files.path("new"), b"another").unwrap();
    std::fs::rename(files.path("new"), files.path("big.txt")).unwrap();
    assert!(client.read(content.len() - MIB) == content[MIB..]);
    assert_eq!(client.answer().body, b"small");
    assert_eq!(client.get("/big.txt").body, b"another");
    let complete = server.log.exchanges(3).iter().all(|it| it.complete);
    assert!(complete);
    assert_eq!(server.stats.truncated.get(), 0);
}

#[test]
fn pitfall_33_a_file_rewritten_in_place_ends_its_connection_short() {
    let (files, content) = big_and_small();
    let server = Server::start(serve_dir(&files));
    let client = begin(&server, &content);
    let new = changed(&content);
    let file = File::options().write(true).open(files.path("big.txt"));
    std::os::unix::fs::FileExt::write_all_at(&file.unwrap(), &new, 0).unwrap();
    let rest = client.rest();
    assert!(rest.len() < content.len() - MIB, "{}", rest.len());
    // Pages that are being sent are shared with the file (pitfall 1).
    let of_either = |(at, byte)| byte == content[MIB + at] || byte == new[MIB + at];
    assert!(rest.into_iter().enumerate().all(of_either));
    let failure = server.log.failure();
    assert!(failure.contains("changed while it was sent"), "{failure}");
    assert!(!server.log.exchanges(1)[0].complete);
    assert_eq!(server.stats.changed.get(), 1);
    assert_serves(&server);
}

/// A log: its beginning stays the same, and only that was promised.
#[test]
fn a_file_that_is_appended_to_is_sent_as_long_as_it_was() {
    let (files, content) = big_and_small();
    let server = Server::start(serve_dir(&files));
    let mut client = begin(&server, &content);
    let mut file = File::options().append(true).open(files.path("big.txt"));
    std::io::Write::write_all(file.as_mut().unwrap(), b"one more line\n").unwrap();
    assert!(client.read(content.len() - MIB) == content[MIB..]);
    assert_eq!(client.answer().body, b"small");
    assert_eq!(client.get("/big.txt").len(), content.len() as u64 + 14);
    assert_eq!(server.stats.changed.get(), 0);
}

/// Name and mode do not belong to the content.
#[test]
fn a_file_that_is_removed_is_sent_to_its_end() {
    use std::os::unix::fs::PermissionsExt as _;
    let (files, content) = big_and_small();
    let server = Server::start(serve_dir(&files));
    let mut client = begin(&server, &content);
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(files.path("big.txt"), mode).unwrap();
    std::fs::remove_file(files.path("big.txt")).unwrap();
    assert!(client.read(content.len() - MIB) == content[MIB..]);
    assert_eq!(client.answer().body, b"small");
}

#[test]
fn pitfall_33_a_body_whose_file_was_rewritten_before_it_is_read_is_an_error() {
    use http_body_util::BodyExt as _;
    let (files, content) = big_and_small();
    let body = underpass_http::FileBody::open(files.open("big.txt")).unwrap();
    std::fs::write(files.path("big.txt"), changed(&content)).unwrap();
    let error = crate::support::block_on(body.collect()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

/// A body that is read by hand ends in an error if the file lost its last bytes, even though the
/// page that held them still exists.
#[test]
fn pitfall_22_a_body_that_lost_the_end_of_its_last_page_is_an_error() {
    use http_body_util::BodyExt as _;
    let files = Files::new().with("big.txt", &bytes(MIB + 500));
    let body = underpass_http::FileBody::open(files.open("big.txt")).unwrap();
    set_len(&files, MIB as u64 + 400);
    let Err(error) = crate::support::block_on(body.collect()) else {
        panic!("it looks whole");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

#[test]
fn pitfall_22_a_body_whose_reader_found_zeros_is_an_error_at_once() {
    use http_body_util::BodyExt as _;
    let (files, _) = big_and_small();
    let mut body = underpass_http::FileBody::open(files.open("big.txt")).unwrap();
    crate::support::block_on(async {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.len() < MORE_THAN_BUFFERS, "there is more to come");
        set_len(&files, 0);
        assert_eq!(frame[frame.len() - 1], 0);
        let error = body.frame().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        assert!(body.frame().await.is_none());
    });
}

/// ext4 with small inodes has times in whole seconds. So a version often has the same size and
/// times as the one before.
#[test]
fn pitfall_33_a_small_file_rewritten_within_a_tick_of_its_clock_is_the_new_one() {
    let Some(image) = Image::mount(&["mkfs.ext4", "-q", "-F", "-I", "128"]) else {
        return;
    };
    let root = image.root();
    let path = format!("{root}/file");
    let server = Server::start(move |stats| {
        let believed = Cache::default()
            .entries(16)
            .valid_for(Duration::from_secs(3600));
        ServeDir::new(root).stats(Arc::clone(stats)).cache(believed)
    });
    let mut client = Client::connect(server.address);
    for version in 0..50 {
        let content = format!("version {version:5}");
        std::fs::write(&path, &content).unwrap();
        for _ in 0..2 {
            assert_eq!(client.get("/file").body, content.as_bytes());
        }
    }
}

/// The same for a mapped file: the bytes are the new ones, but the tag is the old one.
#[test]
fn pitfall_33_a_tag_that_two_versions_may_share_is_good_for_no_range() {
    let Some(image) = Image::mount(&["mkfs.ext4", "-q", "-F", "-I", "128"]) else {
        return;
    };
    let root = image.root();
    let path = format!("{root}/file");
    let server = Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)));
    let mut client = Client::connect(server.address);
    let mut content = bytes(20 * KIB);
    for _ in 0..20 {
        content = changed(&content);
        std::fs::write(&path, &content).unwrap();
        let first = client.get("/file");
        let tag = first.field("etag").unwrap();
        content = changed(&content);
        std::fs::write(&path, &content).unwrap();
        let fields = format!("Range: bytes=100-\r\nIf-Range: {tag}\r\n");
        client.ask("GET", "/file", &fields);
        let second = client.answer();
        assert_eq!(second.status, 200, "{tag}");
        assert!(second.body == content);
    }
}
