//! `serve --tls-cert`: files over HTTPS, to the clients that people use.

use std::fs::File;
use std::process::Command;

use crate::support::{Authority, Dir, MIB, Metrics, Reply, Server, bytes, curl, needs};

/// A server of HTTPS that encrypts in its own process, and an authority that its clients trust.
struct Secured {
    server: Server,
    authority: Authority,
    metrics: Metrics,
}

impl Secured {
    fn start(dir: &Dir, options: &[&str]) -> Self {
        let authority = Authority::new("authority");
        let pair = authority.pair("site", &["localhost", "127.0.0.1"]);
        let more = ["--no-ktls", "--metrics", "127.0.0.1:0"];
        let mut server = Server::start(dir, &[&pair.options(), &more[..], options].concat());
        let metrics = Metrics::of(&server.running.line());
        Self {
            server,
            authority,
            metrics,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    fn curl(&self, args: &[&str]) -> Reply {
        curl(&[&["--cacert", &self.authority.file], args].concat())
    }

    /// Bytes that were sent by `route`.
    fn sent(&mut self, route: &str) -> u64 {
        let name = format!("underpass_http_response_bytes_total{{route=\"{route}\"}}");
        self.metrics.sample(&name)
    }

    fn handshakes(&mut self, version: &str, cipher: &str) -> u64 {
        let labels = format!("version=\"TLS {version}\",cipher=\"{cipher}\",mode=\"user\"");
        self.metrics
            .sample(&format!("underpass_tls_handshakes_total{{{labels}}}"))
    }
}

#[test]
fn files_are_sent_encrypted() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(1600, 3 * MIB + 1);
    dir.file("big", &content);
    let mut it = Secured::start(&dir, &[]);
    assert!(it.server.url.starts_with("https://127.0.0.1:"));
    assert!(it.server.line.contains("TLS"), "{}", it.server.line);
    let big = it.url("big");
    assert!(it.curl(&[&big]).body == content);
    // Straight from the file's mapping, and with the head.
    assert!((content.len() as u64..content.len() as u64 + 1000).contains(&it.sent("encrypt")));
    assert_eq!((it.sent("sendfile"), it.sent("write")), (0, 0));
    let part = it.curl(&["--range", "1000000-1000999", &big]);
    assert_eq!(part.status, 206);
    assert!(part.body == content[1_000_000..1_001_000]);
    let head = it.curl(&["--head", &big]);
    assert_eq!(head.field("content-length"), Some("3145729"));
    it.server.stop().ok();
}

#[test]
fn versions_and_ciphers_are_counted() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut it = Secured::start(&dir, &[]);
    let a = it.url("a");
    for (options, version, cipher) in [
        (
            ["--tls13-ciphers", "TLS_AES_128_GCM_SHA256"],
            "1.3",
            "AES-128-GCM",
        ),
        (
            ["--tls13-ciphers", "TLS_AES_256_GCM_SHA384"],
            "1.3",
            "AES-256-GCM",
        ),
        (
            ["--tls13-ciphers", "TLS_CHACHA20_POLY1305_SHA256"],
            "1.3",
            "ChaCha20-Poly1305",
        ),
        (
            ["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            "1.2",
            "AES-128-GCM",
        ),
        (
            ["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384"],
            "1.2",
            "AES-256-GCM",
        ),
        (
            ["--ciphers", "ECDHE-ECDSA-CHACHA20-POLY1305"],
            "1.2",
            "ChaCha20-Poly1305",
        ),
    ] {
        let only = if version == "1.2" { "1.2" } else { "1.3" };
        let args = [&options[..], &["--tlsv1.2", "--tls-max", only, &a]].concat();
        assert_eq!(it.curl(&args).text(), "content", "{options:?}");
        assert_eq!(it.handshakes(version, cipher), 1, "{options:?}");
    }
    it.server.stop().ok();
}

/// The SHA-256 of what `command` prints to its standard output.
fn hash_of(command: &str) -> String {
    let hashing = format!("set -o pipefail; {command} | sha256sum");
    let outcome = Command::new("bash")
        .args(["-c", &hashing])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{command}: {said}");
    String::from_utf8(outcome.stdout).unwrap()
}

const GIB: u64 = 1 << 30;

#[test]
fn a_gibibyte_arrives_whole() {
    if !["curl", "bash", "sha256sum"].into_iter().all(needs::tool) {
        return;
    }
    let dir = Dir::in_memory();
    let path = dir.file("sparse", &bytes(1601, MIB));
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(GIB)
        .unwrap();
    let before = hash_of(&format!("cat {path}"));
    let mut it = Secured::start(&dir, &[]);
    let (ca, url) = (&it.authority.file, it.url("sparse"));
    let get = format!("curl --silent --show-error --fail --cacert {ca} {url}");
    assert_eq!(hash_of(&get), before);
    assert!(it.sent("encrypt") >= GIB);
    assert_eq!(it.sent("sendfile"), 0);
    // Pitfall 45: nothing was encrypted in place.
    assert_eq!(hash_of(&format!("cat {path}")), before);
    it.server.stop().ok();
}
