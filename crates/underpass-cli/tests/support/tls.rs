//! Certificates of an authority that only the tests know, and a peer with TLS that shares no code
//! with underpass.

use std::process::{Command, Stdio};

use super::{Dir, Running, collected, needs};

const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/scripts/tls.py");

/// Files in PEM, made by openssl(1).
pub(crate) struct Certs<'a> {
    dir: &'a Dir,
}

impl<'a> Certs<'a> {
    /// An authority, and a certificate that it has signed for `localhost` and 127.0.0.1. `None`
    /// without openssl or python3.
    pub(crate) fn new(dir: &'a Dir) -> Option<Self> {
        if !needs::tool("openssl") || !needs::tool("python3") {
            return None;
        }
        let certs = Self { dir };
        certs.authority("ca");
        certs.signed("server", "ca", "DNS:localhost,IP:127.0.0.1", 30);
        Some(certs)
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path(name)
    }

    pub(crate) fn ca(&self) -> String {
        self.path("ca.pem")
    }

    /// The options by which a server shows the certificate `name`.
    pub(crate) fn server(&self, name: &str) -> [String; 4] {
        let (cert, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        ["--tls-cert".to_owned(), cert, "--tls-key".to_owned(), key]
    }

    /// Certificates for localhost that nobody believes who trusts `ca`: `elsewhere` is for another
    /// name, `expired` is too old, and `unknown` is signed by another authority.
    pub(crate) fn not_believed(&self) {
        self.signed("elsewhere", "ca", "DNS:elsewhere.example", 30);
        self.signed("expired", "ca", "DNS:localhost", -1);
        self.authority("other");
        self.signed("unknown", "other", "DNS:localhost", 30);
    }

    pub(crate) fn authority(&self, name: &str) {
        let subject = format!("/CN=the tests' {name}");
        openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            &subject,
            "-keyout",
            &self.path(&format!("{name}.key")),
            "-out",
            &self.path(&format!("{name}.pem")),
        ]);
    }

    /// A certificate for `names`, valid for so many days; of a negative number it has expired.
    pub(crate) fn signed(&self, name: &str, ca: &str, names: &str, days: i32) {
        let path = |suffix: &str| self.path(&format!("{name}.{suffix}"));
        let extensions = self.dir.file(
            &format!("{name}.ext"),
            format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n").as_bytes(),
        );
        openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &path("key"),
            "-out",
            &path("csr"),
        ]);
        openssl(&[
            "x509",
            "-req",
            "-in",
            &path("csr"),
            "-CA",
            &self.path(&format!("{ca}.pem")),
            "-CAkey",
            &self.path(&format!("{ca}.key")),
            "-CAcreateserial",
            "-days",
            &days.to_string(),
            "-extfile",
            &extensions,
            "-out",
            &path("pem"),
        ]);
    }

    /// What the receiver has received.
    pub(crate) fn received(&self) -> Vec<u8> {
        std::fs::read(self.path("peer.out")).unwrap()
    }

    /// A peer that sends the file `content` to `port`, and ends by `how`: `close`, `cut` or `1.2`.
    pub(crate) fn sender(&self, port: &str, content: &str, how: &str) -> Running {
        let mut peer = collected("python3");
        peer.args([PEER, "send", port, &self.ca(), how]);
        peer.stdin(std::fs::File::open(content).unwrap());
        Running::start(peer)
    }

    /// A peer that receives into the file `out` with the certificate `name`, and its port.
    pub(crate) fn receiver(&self, name: &str, how: &str) -> (Running, String) {
        let (cert, key) = (
            self.path(&format!("{name}.pem")),
            self.path(&format!("{name}.key")),
        );
        let mut peer = collected("python3");
        peer.args([PEER, "receive", &cert, &key, how, &self.path("peer.out")]);
        peer.stdin(Stdio::null());
        let mut peer = Running::start(peer);
        let line = peer.line();
        let port = line.strip_prefix("listening on ").unwrap().to_owned();
        (peer, port)
    }
}

/// Runs openssl(1) to its end.
pub(crate) fn openssl(args: &[&str]) {
    let made = Command::new("openssl").args(args).output().unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "openssl {args:?}: {said}");
}
