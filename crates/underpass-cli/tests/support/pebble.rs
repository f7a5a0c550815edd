//! An ACME server for one test: Let's Encrypt's pebble, with a DNS server for which every name is
//! at the test's own loopback address, so that ports need not be free.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use super::{Authority, Dir, curl};

/// The ACME server. It checks challenges as real ones do.
pub(crate) struct Pebble {
    /// Where it looks for servers, and where it listens itself.
    pub(crate) address: String,
    authority: Authority,
    dir: Dir,
    dns: Process,
    server: Process,
}

/// A process that is killed when the test is over.
struct Process(Child);

/// How long a certificate is valid unless the test says otherwise.
pub(crate) const DAYS_90: u32 = 90 * 86_400;

/// A name for which it gives no certificate.
pub(crate) const BLOCKED_NAME: &str = "blocked.example.test";

const TLS_PORT: u16 = 5001;
const HTTP_PORT: u16 = 5002;

impl Pebble {
    /// Starts one whose certificates are valid for this many seconds.
    pub(crate) fn start(validity: u32) -> Self {
        let address = own_address();
        let authority = Authority::new("of the ACME server");
        let dir = Dir::in_memory();
        let pair = authority.pair("pebble", &[&address]);
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "{address}:14000", "managementListenAddress": "{address}:15000",
            "certificate": "{}", "privateKey": "{}", "httpPort": {HTTP_PORT}, "tlsPort": {TLS_PORT},
            "domainBlocklist": ["{BLOCKED_NAME}"], "certificateValidityPeriod": {validity}}}}}"#,
            pair.certificate, pair.key
        );
        dir.file("pebble.json", config.as_bytes());
        let dns = Self::start_dns(&address);
        let server = Self::start_server(&address, &dir);
        Self {
            address,
            authority,
            dir,
            dns,
            server,
        }
    }

    fn start_dns(address: &str) -> Process {
        let mut command = Command::new("pebble-challtestsrv");
        command
            .args(["-defaultIPv4", address, "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-dns01", &format!("{address}:8053")])
            .args(["-management", &format!("{address}:8055")]);
        Process::start(command, "Starting management server")
    }

    fn start_server(address: &str, dir: &Dir) -> Process {
        let mut command = Command::new("pebble");
        command
            .args(["-config", &dir.path("pebble.json")])
            .args(["-dnsserver", &format!("{address}:8053")])
            .env("PEBBLE_VA_NOSLEEP", "1")
            // It refuses one nonce in twenty, at random; one attempt in a thousand fails by that.
            .env("PEBBLE_WFE_NONCEREJECT", "0")
            // Every certificate needs a challenge that succeeds.
            .env("PEBBLE_AUTHZREUSE", "0")
            .env_remove("PEBBLE_VA_ALWAYS_VALID");
        Process::start(command, "ACME directory available")
    }

    /// Ends it. Nothing answers at its address then.
    pub(crate) fn stop(&mut self) {
        self.server.end();
    }

    /// Starts it again. It has forgotten everything.
    pub(crate) fn start_again(&mut self) {
        self.stop();
        self.server = Self::start_server(&self.address, &self.dir);
    }

    /// No name leads anywhere any more.
    pub(crate) fn stop_dns(&mut self) {
        self.dns.end();
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://{}:14000/dir", self.address)
    }

    /// The address of a server that it looks for at port 443.
    pub(crate) fn tls_address(&self) -> String {
        format!("{}:{TLS_PORT}", self.address)
    }

    /// The address of a server that it looks for at port 80.
    pub(crate) fn http_address(&self) -> String {
        format!("{}:{HTTP_PORT}", self.address)
    }

    /// The options with which `serve` asks it for a certificate.
    pub(crate) fn options(&self, name: &str, state: &str) -> Vec<String> {
        [
            format!("--acme={name}"),
            format!("--acme-directory={}", self.directory()),
            format!("--acme-ca={}", self.authority.file),
            format!("--acme-state={state}"),
            "--acme-email=admin@example.test".to_owned(),
        ]
        .to_vec()
    }

    /// The file with the root of its certificates.
    pub(crate) fn root(&self) -> String {
        let url = format!("https://{}:15000/roots/0", self.address);
        let root = curl(&["--cacert", &self.authority.file, &url]);
        assert_eq!(root.status, 200);
        self.dir.file("root.pem", &root.body)
    }
}

/// Renewal information (ARI), which pebble lacks: a program between the client and pebble.
pub(crate) struct RenewalInfo {
    address: String,
    dir: Dir,
    _server: Process,
}

const RENEWAL_INFO: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/scripts/renewal_info.py"
);

impl RenewalInfo {
    /// With `echoes`, it repeats which certificate an order replaces, as it must.
    pub(crate) fn start(pebble: &Pebble, echoes: bool) -> Self {
        let (address, dir) = (pebble.address.clone(), Dir::in_memory());
        let pair = pebble.authority.pair("renewal-info", &[&address]);
        let mut command = Command::new("python3");
        command
            .args([RENEWAL_INFO, &address, &pair.certificate, &pair.key])
            .args([dir.path("days"), dir.path("orders")])
            .args(echoes.then_some("echo"));
        Self {
            address,
            dir,
            _server: Process::start(command, "listening"),
        }
    }

    /// Suggests to renew certificates in this many days.
    pub(crate) fn suggest(&self, days: i32) {
        self.dir.file("days", days.to_string().as_bytes());
    }

    /// What was ordered, as JSON.
    pub(crate) fn orders(&self) -> Vec<String> {
        let orders = std::fs::read_to_string(self.dir.path("orders")).unwrap();
        orders.lines().map(str::to_owned).collect()
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://{}:14001/dir", self.address)
    }

    /// The file that a server with its state in `dir` keeps the certificate for `name` in.
    pub(crate) fn certificate(&self, dir: &Dir, name: &str) -> String {
        dir.path(&format!("state/{}-14001-dir/{name}.pem", self.address))
    }
}

impl Process {
    /// Starts it, and waits until it prints a line with `ready`.
    fn start(mut command: Command, ready: &str) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let this = Self(child);
        loop {
            let line = lines.next();
            let line = line.unwrap_or_else(|| panic!("{command:?} ended")).unwrap();
            if line.contains(ready) {
                break;
            }
        }
        // It must not wait for somebody who reads what it prints.
        thread::spawn(move || lines.for_each(drop));
        this
    }

    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// A loopback address that no other test uses.
fn own_address() -> String {
    static USED: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id();
    let number = USED.fetch_add(1, Ordering::Relaxed);
    assert!(number < 255);
    format!("127.{}.{}.{number}", 1 + process % 250, process / 250 % 256)
}
