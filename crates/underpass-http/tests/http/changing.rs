//! Files that are rewritten in place between two requests: length, tag and bytes of a response
//! belong to one version, however long a lookup is trusted (pitfall 33).

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use underpass_http::ServeFile;

use crate::support::{Client, IN_MEMORY, Reply, Server, Settings, Tree, bytes, request};

/// Requests that take different ways: the shortcut, hyper, and those in between.
const FIELDS: [(&str, &str); 2] = [("plain", ""), ("through hyper", "X-Other: 1\r\n")];

/// A way in which programs rewrite a file without giving it another name.
type Rewriting = fn(&Path, &[u8]);

const REWRITINGS: [(&str, Rewriting); 3] = [
    ("emptied and written", |path, content| {
        fs::write(path, content).unwrap();
    }),
    ("written over", |path, content| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(content, 0).unwrap();
        file.set_len(content.len() as u64).unwrap();
    }),
    ("cut, then written over", |path, content| {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(content.len() as u64).unwrap();
        file.write_all_at(content, 0).unwrap();
    }),
];

/// Lengths around the limits at which the way of sending changes.
const LENGTHS: [usize; 7] = [
    0,
    300,
    IN_MEMORY,
    IN_MEMORY + 1,
    30_000,
    30_000,
    (4 << 20) + 1,
];

fn ask(client: &mut Client, fields: &str) -> Reply {
    client.send(request("GET", "/file", fields).as_bytes());
    client.reply("GET").has_status(200)
}

#[test]
fn pitfall_33_a_file_rewritten_between_two_requests_is_of_one_version() {
    for (how, rewrite) in REWRITINGS {
        for (route, fields) in FIELDS {
            let tree = Tree::of(&[("file", b"first")]);
            let server = Server::new(tree.serve());
            let mut client = Client::new(&server);
            let mut tags = vec![ask(&mut client, fields).etag().to_owned()];
            for (version, length) in LENGTHS
                .into_iter()
                .chain(LENGTHS.into_iter().rev())
                .enumerate()
            {
                let content = bytes(version as u64, length);
                rewrite(&tree.path("file"), &content);
                for _ in 0..2 {
                    let reply = ask(&mut client, fields).has_body(&content);
                    if tags.last().is_none_or(|last| last != reply.etag()) {
                        tags.push(reply.etag().to_owned());
                    }
                }
            }
            let count = tags.len();
            tags.sort();
            tags.dedup();
            assert_eq!((tags.len(), count), (15, 15), "{how}, {route}: {tags:?}");
        }
    }
}

/// A client with a part of the old version gets the whole new version, never a part of it.
#[test]
fn pitfall_33_an_old_tag_does_not_mix_versions() {
    let (old, new) = (bytes(1, 30_000), bytes(2, 30_000));
    let tree = Tree::of(&[("file", &old)]);
    let server = Server::new(tree.serve());
    let tag = Client::get(&server, "/file", "").etag().to_owned();
    for (_, rewrite) in REWRITINGS {
        rewrite(&tree.path("file"), &new);
        for range in ["bytes=10000-", "bytes=0-9,20000-20009"] {
            let fields = format!("Range: {range}\r\nIf-Range: {tag}\r\n");
            Client::get(&server, "/file", &fields)
                .has_status(200)
                .has_body(&new);
        }
        Client::get(&server, "/file", &format!("If-None-Match: {tag}\r\n")).has_status(200);
        Client::get(&server, "/file", &format!("If-Match: {tag}\r\n")).expect_error(412);
        rewrite(&tree.path("file"), &old);
        Client::get(&server, "/file", "Range: bytes=1-2\r\n")
            .has_status(206)
            .has_body(&old[1..3]);
    }
}

#[test]
fn pitfall_33_a_rewritten_sibling_is_of_one_version() {
    let tree = Tree::of(&[("file", b"plain"), ("file.gz", &bytes(0, 30_000))]);
    let server = Server::new(tree.serve().precompressed_gzip());
    for version in 1..6 {
        let content = bytes(version, 30_000 + version as usize);
        fs::write(tree.path("file.gz"), &content).unwrap();
        Client::get(&server, "/file", "Accept-Encoding: gzip\r\n")
            .has_status(200)
            .has("content-encoding", "gzip")
            .has_body(&content);
    }
}

#[test]
fn pitfall_33_a_rewritten_file_of_its_own_service_is_of_one_version() {
    let tree = Tree::of(&[("file", &bytes(0, 30_000))]);
    let server = Server::of(ServeFile::new(tree.path("file")), Settings::default());
    for version in 1..6 {
        let content = bytes(version, 30_000 + version as usize);
        fs::write(tree.path("file"), &content).unwrap();
        Client::get(&server, "/", "").has_body(&content);
    }
}

/// A sibling that was made from an older version is not sent for the newer one.
#[test]
fn a_sibling_older_than_its_file_is_not_sent() {
    let tree = Tree::of(&[("file", b"new"), ("file.gz", b"gzip"), ("file.br", b"br")]);
    let at = |nanoseconds| std::time::UNIX_EPOCH + std::time::Duration::from_nanos(nanoseconds);
    let file = at(1_700_000_000_500_000_000);
    crate::support::set_modified(&tree.path("file"), file);
    let server = Server::new(tree.serve_fresh().precompressed_gzip().precompressed_br());
    for (sibling, is_sent) in [
        (1_700_000_000_500_000_000, true),
        (1_700_000_001_000_000_000, true),
        // Some compressors copy the time in whole seconds.
        (1_700_000_000_000_000_000, true),
        (1_700_000_000_499_999_999, false),
        (1_699_999_999_999_999_999, false),
        (1_000_000_000_000_000_000, false),
    ] {
        crate::support::set_modified(&tree.path("file.gz"), at(sibling));
        crate::support::set_modified(&tree.path("file.br"), at(1));
        let reply = Client::get(&server, "/file", "Accept-Encoding: gzip, br\r\n");
        let expected = is_sent.then_some("gzip");
        assert_eq!(reply.field("content-encoding"), expected, "{sibling}");
    }
}
