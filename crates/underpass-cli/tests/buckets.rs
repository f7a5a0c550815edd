//! `serve s3://…`: the objects of a store are served like files. The store is a small one of the
//! tests, which says what it was asked.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use underpass_testing::s3::{BUCKET, Fault, On, S3};

use crate::support::{
    Dir, MIB, Metrics, Reply, Running, Server, assert_bytes, bytes, curl, needs, underpass,
};

/// The blocks in which objects are fetched.
pub(crate) const BLOCK: usize = 4 * MIB;

/// A bucket that is served from a cache of its own.
pub(crate) struct Served {
    pub(crate) s3: S3,
    pub(crate) server: Server,
    pub(crate) metrics: Metrics,
    /// Keeps the directory.
    cache: Dir,
}

impl Served {
    /// `None` if there is no curl.
    pub(crate) fn start(s3: S3, options: &[&str]) -> Option<Self> {
        if !needs::tool("curl") {
            return None;
        }
        let cache = Dir::in_memory();
        let directory = cache.path("cache");
        Some(Self::start_in(cache, &directory, s3, options))
    }

    /// With variables besides those of the store.
    pub(crate) fn start_with(s3: S3, variables: &[(&str, &str)]) -> Option<Self> {
        if !needs::tool("curl") {
            return None;
        }
        let cache = Dir::in_memory();
        let directory = cache.path("cache");
        let with = |command: &mut Command| {
            command.envs(variables.iter().copied());
        };
        Some(Self::start_as(cache, &directory, s3, &[], with))
    }

    /// Keeps the cache in `directory`.
    pub(crate) fn start_in(cache: Dir, directory: &str, s3: S3, options: &[&str]) -> Self {
        Self::start_as(cache, directory, s3, options, |_| {})
    }

    fn start_as(
        cache: Dir,
        directory: &str,
        s3: S3,
        options: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let url = format!("s3://{BUCKET}/site");
        let mut args = vec!["serve", &url, "--cache", directory];
        args.extend(["--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0"]);
        args.extend(options);
        let mut command = underpass(&args);
        command.envs(s3.environment());
        change(&mut command);
        let mut server = Server::of(command);
        let metrics = Metrics::of(&server.running.line());
        Self {
            s3,
            server,
            metrics,
            cache,
        }
    }

    /// How many files it has open that have no name any more.
    pub(crate) fn open_without_a_name(&self) -> usize {
        let descriptors = format!("/proc/{}/fd", self.server.running.pid());
        let links = std::fs::read_dir(descriptors).unwrap();
        // What was closed meanwhile has none.
        let links = links.filter_map(|it| std::fs::read_link(it.unwrap().path()).ok());
        let files = links.filter(|it| it.to_string_lossy().ends_with(".data (deleted)"));
        files.count()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    pub(crate) fn get(&self, path: &str, args: &[&str]) -> Reply {
        curl(&[args, &[&self.url(path)]].concat())
    }

    /// Which blocks of an object the store was asked for, in any order.
    fn fetched(&self, key: &str) -> Vec<usize> {
        let requests = self.s3.requests();
        let gets = requests
            .iter()
            .filter(|it| it.method == "GET" && it.key == key);
        let mut blocks: Vec<_> = gets
            .flat_map(|it| {
                let range = it.field("range").expect("a part is asked for");
                let (first, last) = range.trim_start_matches("bytes=").split_once('-').unwrap();
                let block = |at: &str| at.parse::<usize>().unwrap() / BLOCK;
                block(first)..=block(last)
            })
            .collect();
        blocks.sort_unstable();
        blocks
    }
}

#[test]
fn a_bucket_is_served_like_a_directory() {
    let s3 = S3::start();
    let big = bytes(1, 9 * MIB + 5);
    s3.put("site/index.html", "<p>hello");
    s3.put("site/docs/a b.txt", "text");
    s3.put("elsewhere", "secret");
    let fields = [("content-type", "video/x"), ("cache-control", "max-age=9")];
    let etag = s3.put_with("site/big", big.clone(), &fields);
    let Some(mut served) = Served::start(s3, &[]) else {
        return;
    };
    assert_eq!(served.get("", &[]).text(), "<p>hello");
    let head = served.get("big", &["--head"]);
    assert_eq!(head.status, 200);
    assert_eq!(served.fetched("site/big"), [0; 0]);
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let reply = served.get("big", &[version]);
        assert_eq!(reply.field("etag"), Some(etag.as_str()));
        assert_eq!(reply.field("content-type"), Some("video/x"));
        assert_eq!(reply.field("cache-control"), Some("max-age=9"));
        assert_bytes(&reply.body, &big);
    }
    assert_eq!(served.fetched("site/big"), [0, 1, 2]);
    assert_eq!(served.s3.count("HEAD", "site/big"), 1);
    let tag = format!("If-None-Match: {etag}");
    assert_eq!(served.get("big", &["-H", &tag]).status, 304);
    let range = served.get("big", &["-r", "5000000-5000009"]);
    assert_eq!(range.body, &big[5_000_000..5_000_010]);
    let listing = served.get("docs/?format=json", &[]);
    assert!(listing.text().contains(r#""name":"a b.txt""#));
    assert_eq!(served.get("docs", &[]).status, 301);
    assert_eq!(served.get("docs/a%20b.txt", &[]).text(), "text");
    assert_eq!(served.get("../elsewhere", &["--path-as-is"]).status, 404);
    assert_eq!(served.metrics.sample("underpass_store_fills_total"), 5);
    let received = served
        .metrics
        .sample("underpass_store_received_bytes_total");
    assert_eq!(received, big.len() as u64 + 8 + 4);
    let by_sendfile = r#"underpass_http_response_bytes_total{route="sendfile"}"#;
    // Over HTTP/1.1 all of it and the range; over HTTP/2 it is mapped.
    let expected = big.len() as u64 + 10;
    assert_eq!(served.metrics.sample(by_sendfile), expected);
    let sent = "underpass_http_store_sent_bytes_total";
    let expected = 2 * big.len() as u64 + 10 + 8 + 4;
    served.metrics.await_more_than(sent, expected - 1);
    assert_eq!(served.metrics.sample(sent), expected);
    served.server.stop().ok();
}

#[test]
fn a_range_of_a_cold_object_fetches_its_blocks_only() {
    let s3 = S3::start();
    let big = bytes(2, 20 * MIB);
    s3.put("site/big", big.clone());
    let Some(served) = Served::start(s3, &[]) else {
        return;
    };
    let reply = served.get("big", &["-r", "13000000-13000009"]);
    assert_eq!(reply.status, 206);
    assert_eq!(reply.body, &big[13_000_000..13_000_010]);
    assert_eq!(served.fetched("site/big"), [3]);
    served.server.stop().ok();
}

/// The store is paid by the request.
#[test]
fn whoever_wants_the_first_bytes_has_them_asked_for_at_once() {
    let asked = |options: &[&str]| {
        let s3 = S3::start();
        s3.put("site/file", bytes(7, 2 * MIB));
        let served = Served::start(s3, &[])?;
        let reply = served.get("file", options);
        assert!(reply.status < 300, "{options:?}: {}", reply.status);
        let requests = served.s3.requests().into_iter();
        let methods: Vec<_> = requests
            .filter(|it| it.key == "site/file")
            .map(|it| it.method)
            .collect();
        served.server.stop().ok();
        Some(methods.join(" "))
    };
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        for (options, expected) in [
            (&[][..], "GET"),
            (&["-r", "0-99"], "GET"),
            (&["-r", "99-"], "HEAD GET"),
            (&["-H", "If-None-Match: \"other\""], "HEAD GET"),
            (&["--head"], "HEAD"),
        ] {
            let Some(asked) = asked(&[options, &[version]].concat()) else {
                return;
            };
            assert_eq!(asked, expected, "{options:?}");
        }
    }
}

/// Whoever asks, and however many: a block comes from the store once.
#[test]
fn many_clients_of_a_cold_object_have_each_block_fetched_once() {
    const CLIENTS: usize = 20;
    let s3 = S3::start();
    let big = bytes(3, 9 * MIB);
    s3.put("site/big", big.clone());
    // Nothing that can be sent arrives until all of them have asked.
    s3.fault(On::get("site/big"), Fault::Stop(1000));
    let Some(mut served) = Served::start(s3, &[]) else {
        return;
    };
    let url = served.url("big");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let url = url.clone();
            std::thread::spawn(move || curl(&[&url]).body)
        })
        .collect();
    let waits = "underpass_http_store_waits_total";
    served.metrics.await_more_than(waits, CLIENTS as u64 - 1);
    let tasks = format!("/proc/{}/task", served.server.running.pid());
    let threads = std::fs::read_dir(tasks).unwrap().count();
    assert!(threads < CLIENTS, "{threads} threads for those who wait");
    served.s3.release();
    for client in clients {
        assert_bytes(&client.join().unwrap(), &big);
    }
    assert_eq!(served.fetched("site/big"), [0, 1, 2]);
    served.server.stop().ok();
}

/// A response counts by how much of it was in the cache when it began, whatever its protocol and
/// whether it is sent from memory; and each request to the store counts.
#[test]
fn metrics_say_how_many_responses_came_from_the_cache() {
    let s3 = S3::start();
    s3.put("site/big", bytes(11, 16 * BLOCK));
    s3.put("site/small", "small");
    let Some(mut served) = Served::start(s3, &[]) else {
        return;
    };
    let two = "bytes=1-2,9000000-9000001";
    let requests: [(&str, &[&str], [u64; 3]); 11] = [
        ("big", &["--head"], [0, 0, 0]),
        ("big", &["-r", "0-9"], [0, 0, 1]),
        ("big", &["-H", &format!("Range: {two}")], [0, 1, 1]),
        ("big", &["-r", "63000000-63000009"], [0, 1, 2]),
        ("big", &["-H", &format!("Range: {two}")], [1, 1, 2]),
        ("big", &["--http2-prior-knowledge"], [1, 2, 2]),
        ("big", &[], [2, 2, 2]),
        ("small", &[], [2, 2, 3]),
        ("small", &[], [3, 2, 3]),
        ("small", &["--http2-prior-knowledge"], [4, 2, 3]),
        ("missing", &[], [4, 2, 3]),
    ];
    for (path, args, expected) in requests {
        served.get(path, args);
        let counts = ["whole", "part", "nothing"].map(|cached| {
            let name = format!("underpass_http_store_responses_total{{cached=\"{cached}\"}}");
            served.metrics.sample(&name)
        });
        assert_eq!(counts, expected, "{path} {args:?}");
    }
    let asked = served.s3.requests().len() as u64;
    assert!(asked > 0);
    let requests = served.metrics.sample("underpass_store_requests_total");
    assert_eq!(requests, asked);
    assert_eq!(served.metrics.sample("underpass_store_circuit_open"), 0);
    served.server.stop().ok();
}

/// Requests that were repeated count, and that the store is left alone shows.
#[test]
fn metrics_say_when_the_store_is_not_asked_any_more() {
    let s3 = S3::start();
    s3.put("site/small", "small");
    s3.fault(On::get("site/small"), Fault::Status(500));
    let Some(mut served) = Served::start(s3, &[]) else {
        return;
    };
    let open = "underpass_store_circuit_open";
    let begun = std::time::Instant::now();
    while served.metrics.sample(open) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it stays closed");
        assert!(served.get("small", &[]).status >= 500);
    }
    assert!(served.metrics.sample("underpass_store_retries_total") > 0);
    served.s3.release();
    while served.get("small", &[]).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it stays open");
    }
    assert_eq!(served.metrics.sample(open), 0);
    served.server.stop().ok();
}

#[test]
fn an_object_that_was_replaced_is_served_in_its_new_version() {
    let s3 = S3::start();
    let (old, new) = (bytes(4, 5 * MIB), bytes(5, 6 * MIB));
    let before = s3.put("site/file", old.clone());
    let Some(served) = Served::start(s3, &["--revalidate", "0"]) else {
        return;
    };
    let reply = served.get("file", &[]);
    assert_eq!(reply.field("etag"), Some(before.as_str()));
    assert_bytes(&reply.body, &old);
    let after = served.s3.put("site/file", new.clone());
    let reply = served.get("file", &[]);
    assert_eq!(reply.field("etag"), Some(after.as_str()));
    assert_bytes(&reply.body, &new);
    served.s3.remove("site/file");
    assert_eq!(served.get("file", &[]).status, 404);
    served.server.stop().ok();
}

/// A body that cannot go on ends short: before its Content-Length, or by RST_STREAM.
#[test]
fn pitfall_52_an_object_that_is_replaced_while_it_is_sent_ends_the_body_short() {
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let s3 = S3::start();
        let old = bytes(6, 6 * BLOCK);
        s3.put("site/big", old.clone());
        let Some(mut served) = Served::start(s3, &[]) else {
            return;
        };
        // The first blocks arrive, and no others.
        served.get("big", &["-r", "0-9"]);
        served
            .metrics
            .await_more_than("underpass_store_fills_total", 0);
        served.s3.fault(On::get("site/big"), Fault::Hang);
        let waits = "underpass_http_store_waits_total";
        let before = served.metrics.sample(waits);
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", version, &served.url("big")]);
        let client = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        // It reads all the time: what it does not take would not be waited for.
        let client = std::thread::spawn(move || client.unwrap().wait_with_output());
        // What is there is sent, and more is waited for.
        served.metrics.await_more_than(waits, before);
        served.s3.put("site/big", bytes(7, 6 * BLOCK));
        served.s3.release();
        let output = client.join().unwrap().unwrap();
        assert!(!output.status.success(), "{version}");
        assert!(
            old.starts_with(&output.stdout),
            "{version}: another version"
        );
        assert!(output.stdout.len() < old.len());
        served
            .metrics
            .await_more_than("underpass_http_changed_total", 0);
        let line = served.server.running.line();
        assert!(line.contains("while it was sent"), "{line}");
        assert_eq!(served.metrics.sample("underpass_http_changed_total"), 1);
        served.server.stop().ok();
    }
}

#[test]
fn a_store_that_fails_is_told_to_clients_and_on_standard_error() {
    let s3 = S3::start();
    s3.put("site/small", "small");
    s3.put("site/gone", "gone");
    s3.fault(
        On::get("site/small"),
        Fault::Error(500, "InternalError", "x"),
    );
    s3.fault(On::get("site/refused"), Fault::Status(403));
    s3.fault(On::head("site/refused"), Fault::Status(403));
    let Some(mut served) = Served::start(s3, &[]) else {
        return;
    };
    let reply = served.get("small", &[]);
    assert_eq!(reply.status, 502, "{}", reply.text());
    let line = served.server.running.line();
    assert!(line.contains("site/small"), "{line}");
    assert_eq!(served.get("refused", &["--head"]).status, 403);
    assert_eq!(served.get("refused", &[]).status, 403);
    assert_eq!(served.get("missing", &[]).status, 404);
    served.s3.release();
    let begun = std::time::Instant::now();
    // The failure is remembered for a moment.
    while served.get("small", &[]).status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it stays away");
        std::thread::yield_now();
    }
    served.server.stop().ok();
}

/// One failure breaks off many responses. It is told once, in words of the store.
#[test]
fn a_store_that_fails_while_many_are_sent_is_told_once() {
    const CLIENTS: usize = 4;
    let s3 = S3::start();
    s3.put("site/big", bytes(12, 4 * BLOCK));
    let Some(mut served) = Served::start(s3, &[]) else {
        return;
    };
    served.get("big", &["-r", "0-9"]);
    let fills = "underpass_store_fills_total";
    served.metrics.await_more_than(fills, 0);
    served.s3.fault(On::get("site/big"), Fault::Status(400));
    let get = || {
        let output = Command::new("curl")
            .args(["-sS", "--max-time", "60", &served.url("big")])
            .output()
            .unwrap();
        assert!(!output.status.success());
        output.stdout.len()
    };
    let sent = get();
    for _ in 1..CLIENTS {
        get();
    }
    let failures = "underpass_http_store_failures_total";
    served.metrics.await_more_than(failures, CLIENTS as u64 - 1);
    let told = served.server.stop().ok().stderr;
    assert_eq!(told.matches("while it was sent").count(), 1, "{told}");
    let line = told.lines().next().unwrap_or_default();
    let words = line
        .strip_prefix("underpass: 127.0.0.1:")
        .unwrap_or_default();
    let (_, words) = words.split_once(": ").unwrap_or_default();
    let len = 4 * BLOCK;
    let beginning =
        format!("sent {sent} of {len} bytes of /big: the store failed while it was sent: no byte ");
    assert!(words.starts_with(&beginning), "{told}");
    assert!(words.contains("400"), "{told}");
}

/// Blocks are noted on the disk some time after they came, but not later than the end.
#[test]
fn what_came_right_before_a_stop_is_there_after_it() {
    let s3 = S3::start();
    let big = bytes(3, 9 * MIB + 5);
    s3.put("site/big", big.clone());
    if !needs::tool("curl") {
        return;
    }
    let cache = Dir::in_memory();
    let directory = cache.path("cache");
    let mut served = Served::start_in(cache, &directory, s3, &[]);
    for _ in 0..2 {
        assert_bytes(&served.get("big", &[]).body, &big);
        assert_eq!(served.fetched("site/big"), [0, 1, 2]);
        let Served {
            s3, server, cache, ..
        } = served;
        server.stop().ok();
        served = Served::start_in(cache, &directory, s3, &[]);
    }
}

#[test]
fn wrong_credentials_are_told_at_the_start_and_serving_goes_on() {
    if !needs::tool("curl") {
        return;
    }
    let s3 = S3::start();
    s3.put("site/file", "file");
    s3.require_key("another");
    let cache = Dir::in_memory();
    let url = format!("s3://{BUCKET}/site");
    let listen = ["--listen", "127.0.0.1:0", "--cache", &cache.path("cache")];
    let mut command = underpass(&[&["serve", &url], &listen[..]].concat());
    command.envs(s3.environment());
    let mut running = Running::start(command);
    // In any order: the store is asked meanwhile.
    let lines = [running.line(), running.line()];
    let is_ready_first = lines[0].contains("serving");
    let [ready, told] = if is_ready_first { [0, 1] } else { [1, 0] }.map(|at| &lines[at]);
    assert!(told.contains("AWS_ACCESS_KEY_ID"), "{told}");
    let place = ready.split(" on ").nth(1).unwrap();
    let file = format!("{}file", place.split(' ').next().unwrap());
    // The answer to HEAD has no body that could say why.
    assert_eq!(curl(&["--head", &file]).status, 403);
    let other = file.replace("file", "other");
    assert_eq!(curl(&[&other]).status, 502);
    running.signal(Signal::TERM);
    running.finish().ok();
}
