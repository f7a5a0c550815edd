//! `serve s3://…`: stores as there are: with https, with odd keys, with credentials or without.

use rustix::process::Signal;
use underpass_testing::s3::{BUCKET, Fault, On, S3};

use crate::buckets::Served;
use crate::support::{Dir, MIB, Running, assert_bytes, bytes, curl, needs, underpass};

/// As programs with OpenSSL name it, and as those of AWS do.
#[test]
fn an_authority_of_ones_own_is_named_by_a_variable() {
    for variable in ["SSL_CERT_FILE", "AWS_CA_BUNDLE"] {
        let s3 = S3::start_with_tls();
        let dir = Dir::in_memory();
        let authority = dir.file("ca.pem", s3.authority().as_bytes());
        let content = bytes(1, 5 * MIB);
        s3.put("site/file", content.clone());
        let Some(served) = Served::start_with(s3, &[(variable, &authority)]) else {
            return;
        };
        assert_bytes(&served.get("file", &[]).body, &content);
        served.server.stop().ok();
    }
}

#[test]
fn names_that_no_object_can_have_are_not_there() {
    let s3 = S3::start();
    for key in [
        "both",
        "both/child",
        "a//b",
        "line\nbreak",
        "x/../y",
        "x/\u{1}",
        "d/",
        "d/e",
    ] {
        s3.put(&format!("site/{key}"), key);
    }
    let Some(served) = Served::start(s3, &[]) else {
        return;
    };
    let listing = served.get("?format=json", &[]);
    assert_eq!(listing.status, 200, "{}", listing.text());
    let text = listing.text();
    let count = |name: &str| text.matches(&format!(r#""name":"{name}""#)).count();
    assert_eq!(["both", "d", "a", "x"].map(count), [2, 1, 1, 1], "{text}");
    assert_eq!(text.matches(r#""name""#).count(), 5, "{text}");
    assert_eq!(served.get("both", &[]).text(), "both");
    assert_eq!(served.get("both/child", &[]).text(), "both/child");
    for path in [
        "line%0Abreak",
        "x/%01",
        "%ff",
        "d/e/",
        &"k".repeat(1025),
        &"k/".repeat(600),
    ] {
        let reply = served.get(path, &["--path-as-is"]);
        assert_eq!(reply.status, 404, "{path}: {}", reply.text());
    }
    served.server.stop().ok();
}

/// Starts it without any variable of AWS but the endpoint, and returns its first two lines.
fn anonymous(s3: &S3, cache: &Dir) -> (Running, String, String) {
    let url = format!("s3://{BUCKET}/site");
    let listen = ["--listen", "127.0.0.1:0", "--cache", &cache.path("cache")];
    let mut command = underpass(&[&["serve", &url], &listen[..]].concat());
    command.env("AWS_ENDPOINT_URL", s3.endpoint());
    let mut running = Running::start(command);
    // In any order: the store is asked meanwhile.
    let lines = [running.line(), running.line()];
    let is_ready_first = lines[0].contains("serving");
    let [ready, told] = if is_ready_first { [0, 1] } else { [1, 0] };
    (running, lines[ready].clone(), lines[told].clone())
}

/// Many public buckets are so.
#[test]
fn who_may_read_and_not_list_is_served_objects() {
    if !needs::tool("curl") {
        return;
    }
    let s3 = S3::start();
    s3.put("site/index.html", "index");
    s3.put("site/file", "file");
    s3.fault(On::list(), Fault::Error(403, "AccessDenied", "no"));
    let cache = Dir::in_memory();
    let (running, ready, told) = anonymous(&s3, &cache);
    assert!(told.contains("requests are anonymous"), "{told}");
    assert!(told.contains("only objects are served"), "{told}");
    let place = ready.split(" on ").nth(1).unwrap();
    let url = place.split(' ').next().unwrap();
    let get = |path: &str| curl(&[&format!("{url}{path}")]);
    assert_eq!(get("").text(), "index");
    assert_eq!(get("file").text(), "file");
    assert_eq!(get("missing").status, 404);
    running.signal(Signal::TERM);
    running.finish().ok();
}

#[test]
fn an_endpoint_that_is_none_is_refused() {
    let cache = Dir::in_memory();
    let args = ["serve", "s3://bucket", "--cache", &cache.path("cache")];
    let mut command = underpass(&args);
    command.env("AWS_ENDPOINT_URL", "localhost:8333");
    let outcome = Running::start(command).finish();
    outcome.fails(2, &["AWS_ENDPOINT_URL is \"localhost:8333\""]);
}
