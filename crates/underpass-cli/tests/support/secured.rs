//! A running `underpass serve` with HTTPS, and an authority that its clients trust.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use super::peer::PATIENCE;
use super::{Authority, Dir, Metrics, Pair, Reply, Server, curl};

/// A server of HTTPS that encrypts in its own process, with one thread.
pub(crate) struct Secured {
    pub(crate) server: Server,
    pub(crate) authority: Authority,
    pub(crate) pair: Pair,
    pub(crate) metrics: Metrics,
}

impl Secured {
    pub(crate) fn start(dir: &Dir, options: &[&str]) -> Self {
        Self::of(Authority::new("authority"), dir, options)
    }

    /// One whose certificate this authority signs.
    pub(crate) fn of(authority: Authority, dir: &Dir, options: &[&str]) -> Self {
        let pair = authority.pair("site", &["localhost", "127.0.0.1"]);
        let usual = ["--no-ktls", "--threads=1", "--metrics=127.0.0.1:0"];
        let mut server = Server::start(dir, &[&pair.options(), &usual[..], options].concat());
        let metrics = Metrics::of(&server.running.line());
        Self {
            server,
            authority,
            pair,
            metrics,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url)
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn address(&self) -> &str {
        let address = self.server.url.strip_prefix("https://").unwrap();
        address.trim_end_matches('/')
    }

    pub(crate) fn curl(&self, args: &[&str]) -> Reply {
        curl(&[&["--cacert", &self.authority.file], args].concat())
    }

    /// A TCP connection, before any handshake.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What `openssl s_client` prints when it is given `input`.
    pub(crate) fn openssl(&self, args: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("openssl");
        command
            .args(["s_client", "-connect", self.address()])
            .args(["-CAfile", &self.authority.file])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A handshake that fails ends it before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input);
        let outcome = child.wait_with_output().unwrap();
        [outcome.stdout, outcome.stderr]
            .map(|said| String::from_utf8_lossy(&said).into_owned())
            .concat()
    }

    /// The certificate that a client gets who asks for `name`, by its subject.
    pub(crate) fn subject(&self, name: &str) -> String {
        let said = self.openssl(&["-servername", name], b"");
        let mut lines = said.lines();
        let subject = lines.find_map(|line| line.strip_prefix("subject=CN = "));
        subject.unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    /// Bytes that were sent by `route`.
    pub(crate) fn sent(&mut self, route: &str) -> u64 {
        let name = format!("underpass_http_response_bytes_total{{route=\"{route}\"}}");
        self.metrics.sample(&name)
    }

    /// Handshakes that succeeded.
    pub(crate) fn handshakes(&mut self, version: &str, cipher: &str) -> u64 {
        let labels = format!("version=\"TLS {version}\",cipher=\"{cipher}\",mode=\"user\"");
        self.metrics
            .sample(&format!("underpass_tls_handshakes_total{{{labels}}}"))
    }

    /// Waits until this many handshakes have failed for `reason`.
    pub(crate) fn await_failed(&mut self, reason: &str, count: u64) {
        let name = format!("underpass_tls_handshakes_failed_total{{reason=\"{reason}\"}}");
        self.metrics.await_more_than(&name, count - 1);
        assert_eq!(self.metrics.sample(&name), count, "{reason}");
    }
}
