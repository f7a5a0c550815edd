//! The objects of a store: all of what files promise, and bytes that are not there yet. The store
//! is one of this process, whose bytes arrive when the test says so.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use underpass_http::{Exchange, Failure, Observe, ServerStats, StoreError};

use crate::support::store::{BLOCK, Metadata, Store};
use crate::support::{
    Client, IN_MEMORY, Reply, Server, Settings, between_uploads, bytes, curl, eventually,
};

/// Several blocks, and a part of one.
const LEN: usize = 5 * BLOCK + 123;

/// Makes a request on another thread, which may have to wait.
fn later(server: &Server, path: &'static str, fields: &'static str) -> Waiting {
    let address = server.address;
    std::thread::spawn(move || Client::ask_at(address, "GET", path, fields))
}

type Waiting = std::thread::JoinHandle<Reply>;

#[test]
fn an_object_is_sent_like_a_file_and_uncopied() {
    let content = bytes(1, LEN);
    let store = Store::of(&[("a/file", &content)]);
    let server = Server::new(store.serve());
    for _ in 0..2 {
        Client::get(&server, "/a/file", "")
            .has_status(200)
            .has("content-length", &LEN.to_string())
            .has("accept-ranges", "bytes")
            .has_body(&content);
    }
    let stats = server.stop_uncopied(2 * LEN as u64);
    assert_eq!(stats.fallbacks_unmapped.get(), 0);
}

/// Holes read as zeros, and the content has none that a hole could pass for.
#[test]
fn pitfall_55_what_has_not_arrived_is_waited_for_and_never_sent() {
    let content: Vec<u8> = bytes(2, LEN).iter().map(|byte| byte | 1).collect();
    let store = Store::new();
    let stored = store.put("file", &content, Metadata::default());
    let server = Server::new(store.serve());
    let waiting = later(&server, "/file", "");
    // Blocks arrive in any order, but are asked for in theirs.
    stored.await_wanted(0);
    assert!(server.comes_to(1, |stats| stats.store_waits.get()));
    stored.arrive(5);
    stored.arrive(1);
    assert!(!waiting.is_finished());
    stored.arrive(0);
    stored.await_wanted(2);
    stored.arrive(2);
    stored.await_wanted(3);
    stored.arrive(4);
    stored.arrive(3);
    let reply = waiting.join().unwrap().has_status(200);
    assert!(!reply.body.contains(&0));
    reply.has_body(&content);
    server.stop_uncopied(LEN as u64);
}

/// Many bodies wait on the one thread of the server, while others are served.
#[test]
fn who_waits_for_a_store_holds_up_nobody_else() {
    const WAITING: usize = 60;
    let (content, other) = (bytes(3, LEN), bytes(4, LEN));
    let store = Store::of(&[("other", &other)]);
    let stored = store.put("file", &content, Metadata::default());
    let server = Server::new(store.serve());
    let waiting: Vec<_> = (0..WAITING).map(|_| later(&server, "/file", "")).collect();
    assert!(server.comes_to(WAITING as u64, |stats| stats.store_waits.get()));
    Client::get(&server, "/other", "").has_body(&other);
    assert!(waiting.iter().all(|it| !it.is_finished()));
    let stored = stored.arrives();
    (0..LEN.div_ceil(BLOCK)).for_each(|block| stored.arrive(block));
    for reply in waiting {
        reply.join().unwrap().has_body(&content);
    }
}

#[test]
fn a_range_fetches_what_it_needs_and_the_next_bytes_are_not_waited_for() {
    let content = bytes(5, LEN);
    for (range, blocks) in [
        ("0-9", vec![0]),
        ("70000-140000", vec![1, 2]),
        ("-10", vec![5]),
        ("10-19,200000-200009,327700-", vec![0, 3, 5]),
    ] {
        let store = Store::new();
        let stored = store.put("file", &content, Metadata::default()).arrives();
        let server = Server::new(store.serve());
        let reply = Client::get(&server, "/file", &format!("Range: bytes={range}\r\n"));
        assert_eq!(stored.present_blocks(), blocks, "{range}");
        let reply = reply.has_status(206);
        if blocks.len() < 3 {
            let field = reply.field("content-range").unwrap();
            let span = field.trim_start_matches("bytes ").split_once('/').unwrap();
            let (first, last) = span.0.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            reply.has_body(&content[first..=last]);
        } else {
            let body = &reply.body;
            for part in [
                &content[10..20],
                &content[200_000..200_010],
                &content[327_700..],
            ] {
                assert!(body.windows(part.len()).any(|it| it == part), "{range}");
            }
        }
    }
}

/// Conditions are checked before ranges, and neither needs the content.
#[test]
fn pitfall_57_what_needs_no_content_fetches_none() {
    let store = Store::new();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let metadata = Metadata {
        etag: Some("\"v1\""),
        modified: Some(modified),
        ..Metadata::default()
    };
    let stored = store.put("file", &bytes(6, LEN), metadata);
    let server = Server::new(store.serve());
    Client::ask(&server, "HEAD", "/file", "")
        .has_status(200)
        .has("etag", "\"v1\"")
        .has("last-modified", "Tue, 14 Nov 2023 22:13:20 GMT")
        .has("content-length", &LEN.to_string());
    let beyond = "Range: bytes=999999999-\r\n";
    for (fields, status) in [
        ("If-None-Match: \"v1\"\r\n", 304),
        ("If-None-Match: W/\"v1\"\r\n", 304),
        ("If-Modified-Since: Tue, 14 Nov 2023 22:13:20 GMT\r\n", 304),
        ("If-Match: \"v2\"\r\n", 412),
        (&format!("If-Match: \"v2\"\r\n{beyond}"), 412),
        (&format!("If-None-Match: \"v1\"\r\n{beyond}"), 304),
        (beyond, 416),
    ] {
        Client::get(&server, "/file", fields).has_status(status);
    }
    assert!(stored.present_blocks().is_empty());
    assert_eq!(server.stats.store_waits.get(), 0);
}

#[test]
fn a_weak_tag_stays_weak_and_a_missing_one_is_made() {
    let store = Store::new();
    let tagged = |etag| Metadata {
        etag,
        ..Metadata::default()
    };
    let content = bytes(7, LEN);
    store
        .put("weak", &content, tagged(Some("W/\"1\"")))
        .arrives();
    store.put("bare", &content, tagged(Some("abc-2"))).arrives();
    store.put("none", &content, tagged(None)).arrives();
    let server = Server::new(store.serve());
    let range = |etag: &str| format!("Range: bytes=0-0\r\nIf-Range: {etag}\r\n");
    Client::get(&server, "/weak", &range("W/\"1\""))
        .has_status(200)
        .has("etag", "W/\"1\"");
    Client::get(&server, "/bare", &range("\"abc-2\""))
        .has_status(206)
        .has("etag", "\"abc-2\"");
    let reply = Client::get(&server, "/none", "").has_status(200);
    assert!(reply.etag().starts_with("W/\""));
}

#[test]
fn the_fields_that_an_object_was_stored_with_are_sent() {
    let store = Store::new();
    let typed = |content_type| Metadata {
        content_type: Some(content_type),
        ..Metadata::default()
    };
    store.put("a.html", b"a", typed("text/x-own")).arrives();
    store
        .put("b.css", b"b", typed("binary/octet-stream"))
        .arrives();
    store
        .put(
            "c.svgz",
            b"c",
            Metadata {
                content_encoding: Some("gzip"),
                cache_control: Some("max-age=7"),
                ..Metadata::default()
            },
        )
        .arrives();
    let whole = "max-age=60".parse().unwrap();
    let server = Server::new(store.serve().cache_control(whole));
    Client::get(&server, "/a.html", "")
        .has("content-type", "text/x-own")
        .has("cache-control", "max-age=60")
        .has_body(b"a");
    Client::get(&server, "/b.css", "").has("content-type", "text/css");
    Client::get(&server, "/c.svgz", "")
        .has("content-type", "image/svg+xml")
        .has("content-encoding", "gzip")
        .has("cache-control", "max-age=7");
}

#[test]
fn what_is_hot_asks_the_store_nothing() {
    let small = bytes(8, 1000);
    let large = bytes(9, LEN);
    let store = Store::of(&[("small", &small), ("large", &large)]);
    let files = store.serve().precompressed_br().precompressed_gzip();
    let hour = underpass_http::Cache::default().valid_for(Duration::from_secs(3600));
    let server = Server::new(files.cache(hour));
    for (path, content) in [("/small", &small), ("/large", &large)] {
        Client::get(&server, path, "").has_body(content);
        let name = &path[1..];
        assert_eq!(store.asked()[0], name);
        between_uploads(|| {
            store.asked();
            let hits = server.stats.cache_hits.get();
            for _ in 0..3 {
                Client::get(&server, path, "").has_body(content);
            }
            store.asked().is_empty() && server.stats.cache_hits.get() == hits + 3
        });
    }
}

/// By whatever route they leave: a response that is prepared or not, ranges, a page of an error.
#[test]
fn bytes_that_were_sent_of_objects_are_counted() {
    let (small, large) = (bytes(8, 1000), bytes(9, LEN));
    let store = Store::of(&[("small", &small), ("large", &large), ("404.html", b"no")]);
    let server = Server::new(store.serve().not_found_page("404.html"));
    let mut sent = 0;
    for (path, fields, status) in [
        ("/small", "", 200),
        ("/small", "", 200),
        ("/small", "Range: bytes=1-9\r\n", 206),
        ("/small", "If-None-Match: *\r\n", 304),
        ("/large", "", 200),
        ("/large", "Range: bytes=70000-140000\r\n", 206),
        ("/large", "Range: bytes=0-9,200000-200009\r\n", 206),
        ("/other", "", 404),
    ] {
        sent += Client::get(&server, path, fields)
            .has_status(status)
            .body
            .len();
    }
    Client::ask(&server, "HEAD", "/large", "").has_status(200);
    // A text of the server's own.
    Client::ask(&server, "DELETE", "/large", "").has_status(405);
    assert!(sent > LEN);
    assert_eq!(server.stop().bytes_of_objects.get(), sent as u64);
}

#[test]
fn another_version_is_sent_next_and_the_old_one_to_its_end() {
    let (old, new) = (bytes(10, LEN), bytes(11, LEN));
    let store = Store::new();
    let tagged = |etag| Metadata {
        etag: Some(etag),
        ..Metadata::default()
    };
    let before = store.put("file", &old, tagged("\"old\""));
    let server = Server::new(store.serve());
    let waiting = later(&server, "/file", "");
    before.await_wanted(0);
    before.arrive(0);
    store.put("file", &new, tagged("\"new\"")).arrives();
    Client::get(&server, "/file", "")
        .has("etag", "\"new\"")
        .has_body(&new);
    (1..LEN.div_ceil(BLOCK)).for_each(|block| before.arrive(block));
    let reply = waiting.join().unwrap();
    reply.has("etag", "\"old\"").has_body(&old);
}

/// Bytes that were sent by any route.
fn sent(stats: &ServerStats) -> u64 {
    let routes = [
        &stats.bytes_sendfile,
        &stats.bytes_mapped,
        &stats.bytes_encrypted,
    ];
    routes.iter().map(|route| route.get()).sum()
}

/// What an observer is told of failures, with their causes.
#[derive(Default)]
struct Failures(Mutex<Vec<String>>);

impl Observe for Failures {
    fn exchange(&self, _: &Exchange) {}

    fn failed(&self, failure: &Failure<'_>) {
        let first: &(dyn std::error::Error + 'static) = failure.error;
        let causes = std::iter::successors(Some(first), |error| error.source());
        let causes: Vec<_> = causes.map(ToString::to_string).collect();
        self.0.lock().unwrap().push(causes.join(": "));
    }
}

/// A body that cannot go on ends short, so that no client takes it for whole.
#[test]
fn pitfall_52_a_body_ends_short_rather_than_with_another_version() {
    let content = bytes(12, LEN);
    let unavailable = StoreError::unavailable("the store answers 503");
    for failure in [None, Some(unavailable)] {
        let store = Store::new();
        let stored = store.put("file", &content, Metadata::default());
        let failures = Arc::<Failures>::default();
        let settings = Settings {
            observer: Some(Arc::clone(&failures) as Arc<dyn Observe>),
            ..Settings::default()
        };
        let server = Server::with(store.serve(), settings);
        stored.arrive(0);
        stored.arrive(1);
        let is_changed = failure.is_none();
        let stats = Arc::clone(&server.stats);
        let breaking = std::thread::spawn(move || {
            stored.await_wanted(2);
            // The response has begun.
            eventually(|| sent(&stats) > IN_MEMORY as u64);
            stored.breaks(failure);
        });
        let fetched = curl::attempt(&server, "/file", &[], Stdio::null());
        breaking.join().unwrap();
        assert!(!fetched.output.status.success());
        assert_eq!(fetched.replies[0].status, 200);
        let came = &fetched.output.stdout;
        assert!(came.len() <= 2 * BLOCK, "{}", came.len());
        assert!(content.starts_with(came));
        let stats = server.stop();
        // What was sent counts; what was to come does not.
        assert!(stats.bytes_of_objects.get() <= 2 * BLOCK as u64);
        let counted = (stats.changed.get(), stats.store_failures.get());
        assert_eq!(counted, if is_changed { (1, 0) } else { (0, 1) });
        let told = failures.0.lock().unwrap();
        let is_told = told.iter().any(|it| it.contains("while it was sent"));
        assert!(is_told, "{told:?}");
    }
}

/// The old file is let go by all, also by the cache of open files, before the new one has anything:
/// on a full disk the new one needs its room.
#[test]
fn pitfall_56_a_body_whose_file_left_the_cache_goes_on_in_another_file() {
    let content = bytes(13, LEN);
    let store = Store::new();
    let old = store.put("file", &content, Metadata::default());
    let server = Server::new(store.serve());
    old.arrive(0);
    old.arrive(1);
    let waiting = later(&server, "/file", "");
    old.await_wanted(2);
    let new = store.put("file", &content, Metadata::default());
    old.leaves(&new);
    let old = Arc::downgrade(&{ old });
    new.await_wanted(2);
    eventually(|| old.strong_count() == 0);
    assert!(!waiting.is_finished());
    let new = new.arrives();
    new.arrive(2);
    waiting.join().unwrap().has_status(200).has_body(&content);
    assert_eq!(new.present_blocks(), [2, 3, 4, 5]);
    let stats = server.stop_uncopied(LEN as u64);
    assert_eq!((stats.changed.get(), stats.store_failures.get()), (0, 0));
}

/// As long as it is open, its room is not free.
#[test]
fn pitfall_56_the_cache_of_open_files_lets_go_of_what_left() {
    let content = bytes(14, LEN);
    let store = Store::new();
    let put = |name: &str| store.put(name, &content, Metadata::default()).arrives();
    let old = put("file");
    let server = Server::new(store.serve());
    Client::get(&server, "/file", "").has_body(&content);
    old.leaves(&put("file"));
    let old = Arc::downgrade(&{ old });
    assert!(old.strong_count() > 0, "it is open");
    let mut others = 0;
    eventually(|| {
        others += 1;
        put(&format!("other-{others}"));
        Client::get(&server, &format!("/other-{others}"), "").has_body(&content);
        old.strong_count() == 0
    });
}

#[test]
fn a_store_that_fails_is_a_bad_gateway_and_says_when_to_ask_again() {
    let later = Duration::from_millis(4200);
    for (failure, status, retry) in [
        (StoreError::bad("secret"), 502, None),
        (StoreError::unavailable("secret"), 503, None),
        (
            StoreError::unavailable("secret").retry_after(later),
            503,
            Some("5"),
        ),
        (StoreError::timed_out("secret"), 504, None),
    ] {
        let store = Store::of(&[("file", b"content")]);
        store.fails(failure);
        let server = Server::new(store.serve().listing(true));
        for path in ["/file", "/directory", "/directory/", "/"] {
            let reply = Client::get(&server, path, "").expect_error(status);
            assert_eq!(reply.field("retry-after"), retry, "{path}");
            assert!(!reply.text().contains("secret"), "{path}");
        }
    }
}

/// The content of a small object is part of the lookup, so its failure has a status.
#[test]
fn a_small_object_that_cannot_be_had_is_an_error_and_not_a_short_body() {
    let store = Store::new();
    let stored = store.put("small", &bytes(13, IN_MEMORY), Metadata::default());
    stored.breaks(Some(StoreError::timed_out("too slow")));
    let server = Server::new(store.serve());
    Client::get(&server, "/small", "").expect_error(504);
    let changed = store.put("changing", b"old", Metadata::default());
    let waiting = self::later(&server, "/changing", "");
    changed.await_wanted(0);
    store.put("changing", b"new", Metadata::default()).arrives();
    changed.breaks(None);
    waiting.join().unwrap().has_status(200).has_body(b"new");
}

#[test]
fn directories_are_what_names_have_in_common() {
    let store = Store::of(&[
        ("index.html", b"root"),
        ("docs/index.html", b"docs"),
        ("docs/deep/a.txt", b"a"),
        ("page.html", b"page"),
        ("docs/.hidden", b"h"),
        ("both", b"object"),
        ("both/file", b"below"),
    ]);
    let server = Server::new(store.serve().listing(true).html_as_default_extension(true));
    Client::get(&server, "/", "").has_body(b"root");
    Client::get(&server, "/docs/", "").has_body(b"docs");
    Client::get(&server, "/page", "").has_body(b"page");
    Client::get(&server, "/both", "").has_body(b"object");
    Client::get(&server, "/docs", "")
        .has_status(301)
        .has("location", "./docs/");
    Client::get(&server, "/docs/deep", "").has_status(301);
    let listed = Client::get(&server, "/docs/deep/", "Accept: application/json\r\n");
    let listed = listed.has_status(200);
    assert!(
        listed
            .text()
            .contains(r#"{"name":"a.txt","type":"file","size":1}"#)
    );
    for path in [
        "/none",
        "/none/",
        "/docs/.hidden",
        "/docs/deep/a.txt/",
        "/doc",
        "/%FF",
    ] {
        Client::get(&server, path, "").expect_error(404);
    }
    Client::get(&server, "/docs/deep/?archive=tar", "").expect_error(404);
}

#[test]
fn an_empty_bucket_has_an_empty_listing() {
    let store = Store::new();
    let server = Server::new(store.serve().listing(true));
    let listed = Client::get(&server, "/", "Accept: application/json\r\n");
    listed.has_body(br#"{"path":"/","entries":[]}"#);
}

#[test]
fn listings_are_put_together_from_pages() {
    let names: Vec<_> = (0..10).map(|it| format!("d/file {it}")).collect();
    let mut objects: Vec<(&str, &[u8])> = names.iter().map(|it| (it.as_str(), &b"x"[..])).collect();
    objects.extend([
        ("d/.hidden", &b"h"[..]),
        ("d/sub/x", b"x"),
        ("d/sub/y", b"y"),
    ]);
    let store = Store::of(&objects);
    let server = Server::new(store.serve().listing(true));
    let page = Client::get(&server, "/d/", "Accept: text/html\r\n").has_status(200);
    let html = page.text();
    for name in &names {
        assert!(html.contains(&name[2..]), "{name}");
    }
    assert_eq!(html.matches("./sub/").count(), 1);
    assert!(!html.contains("./.hidden"));
    let json = Client::get(&server, "/d/?format=json", "").has_status(200);
    let sub = r#"{"path":"/d/","entries":[{"name":"sub","type":"directory"},"#;
    assert!(json.text().starts_with(sub), "{}", json.text());
    let rest = Client::get(&server, "/d/?format=json&after=file%207", "");
    let files =
        r#"{"name":"file 8","type":"file","size":1},{"name":"file 9","type":"file","size":1}]}"#;
    assert_eq!(rest.text(), format!("{sub}{files}"));
}

#[test]
fn siblings_pages_and_applications_are_those_of_files() {
    let store = Store::of(&[
        ("a.js", b"plain"),
        ("a.js.br", b"brotli"),
        ("app.html", b"app"),
        ("404.html", b"nothing"),
    ]);
    let server = Server::new(store.serve().precompressed_br().spa("app.html"));
    Client::get(&server, "/a.js", "Accept-Encoding: br\r\n")
        .has("content-encoding", "br")
        .has("content-type", "text/javascript; charset=utf-8")
        .has("vary", "accept-encoding")
        .has_body(b"brotli");
    Client::get(&server, "/a.js", "").has_body(b"plain");
    Client::get(&server, "/route", "Accept: text/html\r\n")
        .has_status(200)
        .has_body(b"app");
    let server = Server::new(store.serve().not_found_page("404.html"));
    Client::get(&server, "/route", "")
        .has_status(404)
        .has_body(b"nothing");
}

#[test]
fn uploads_to_a_store_are_refused() {
    let store = Store::new();
    let files = store.serve().uploads(underpass_http::Uploads::default());
    let server = Server::new(files);
    Client::put(&server, "/new", "", b"content").expect_error(501);
}
