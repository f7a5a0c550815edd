//! `underpass serve --acme`, and what a client sees of its certificates.

use std::process::Command;

use super::{Dir, Metrics, Pebble, Reply, Server, curl, needs, underpass};

/// Whether pebble is here, and what the tests ask servers with.
pub(crate) fn has_pebble() -> bool {
    ["pebble", "pebble-challtestsrv", "curl", "openssl"]
        .into_iter()
        .all(needs::tool)
}

/// A server that gets certificates.
pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) metrics: Metrics,
}

impl Node {
    /// Starts one for `name`. If it is `waiting`, it has no certificate yet, and says so. `None` if
    /// another server may have got one for it meanwhile.
    pub(crate) fn start(
        at: (&Pebble, &Dir),
        name: &str,
        listen: &str,
        waiting: impl Into<Option<bool>>,
        more: &[&str],
    ) -> Self {
        let (pebble, dir) = at;
        let options = pebble.options(name, &dir.path("state"));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let replaced = |option: &&str| {
            let option = option.split_inclusive('=').next().unwrap();
            more.iter().all(|it| !it.starts_with(option))
        };
        let options: Vec<&str> = options.into_iter().filter(replaced).collect();
        let usual = ["serve", dir.root(), "--listen", listen, "--threads=1"];
        let metrics = ["--metrics=127.0.0.1:0"];
        let mut server = Server::of(underpass(&[&usual[..], &options, &metrics, more].concat()));
        let mut line = server.running.line();
        let is_waiting = line.contains("there is no certificate yet for");
        let expected = waiting.into();
        assert_eq!(is_waiting, expected.unwrap_or(is_waiting), "{line}");
        if is_waiting {
            line = server.running.line();
        }
        if line.contains("redirecting") {
            line = server.running.line();
        }
        let metrics = Metrics::of(&line);
        Self { server, metrics }
    }

    /// Where it serves HTTPS: `127.0.0.1:8443`.
    pub(crate) fn address(&self) -> String {
        let address = self.server.url.strip_prefix("https://").unwrap();
        address.trim_end_matches('/').to_owned()
    }

    pub(crate) fn line(&mut self) -> String {
        self.server.running.line()
    }

    pub(crate) fn await_certificate(&mut self, name: &str) {
        let line = self.line();
        let wanted = format!("underpass: got the certificate for {name}, valid until ");
        assert!(line.starts_with(&wanted), "{line}");
    }

    pub(crate) fn count(&mut self, what: &str, name: &str) -> u64 {
        self.metrics
            .sample(&format!("underpass_acme_{what}_total{{name=\"{name}\"}}"))
    }

    pub(crate) fn last_error(&mut self, name: &str, reason: &str) -> u64 {
        let labels = format!("name=\"{name}\",reason=\"{reason}\"");
        self.metrics
            .sample(&format!("underpass_acme_last_error{{{labels}}}"))
    }
}

/// Asks for `https://NAME/a` at `address`.
pub(crate) fn get(name: &str, address: &str, root: &str) -> Reply {
    let connect = format!("::{address}");
    let url = format!("https://{name}/a");
    curl(&["--cacert", root, "--connect-to", &connect, &url])
}

/// The serial number of the certificate for `name` at `address`.
pub(crate) fn serial(name: &str, address: &str) -> String {
    let script = "openssl s_client -connect \"$0\" -servername \"$1\" </dev/null 2>/dev/null \
                  | openssl x509 -noout -serial";
    let shown = Command::new("sh")
        .args(["-c", script, address, name])
        .output()
        .unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

/// The serial number of the certificate in a file.
pub(crate) fn serial_in(file: &str) -> String {
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in", file])
        .output()
        .unwrap();
    let serial = String::from_utf8(shown.stdout).unwrap();
    assert!(serial.starts_with("serial="), "{serial}");
    serial
}

/// The folder in the state directory that belongs to pebble.
pub(crate) fn acme_files(pebble: &Pebble, dir: &Dir) -> String {
    let host = &pebble.address;
    dir.path(&format!("state/{host}-14000-dir"))
}
