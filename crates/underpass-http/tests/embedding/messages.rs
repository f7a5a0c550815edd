//! What the compiler says where a bound of `serve` is missing: it names what to do.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use crate::support::Files;

/// Each function misses one bound.
const SOURCE: &str = r"
use std::future::Ready;
use std::io;
use underpass_http::{Listener, RequestBody, ServeDir, serve};

pub struct Door;
pub struct Doors;

impl Listener for Doors {
    type Socket = Door;
    type Opening = Ready<io::Result<Door>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        std::future::pending().await
    }
}

pub fn on_sockets_of_its_own(files: ServeDir) {
    let _ = serve(Doors, files);
}

pub fn on_no_listener(files: ServeDir) {
    let _ = serve(std::net::TcpListener::bind(``).unwrap(), files);
}

pub fn what_is_no_service(listener: impl Listener<Socket = impl underpass_http::HttpSocket>) {
    let _ = serve(listener, Door);
}

pub fn uses(_: RequestBody) {}
";

const EXPECTED: [&str; 12] = [
    "`Door` is no socket that HTTP can be served on",
    "the connections of this listener are `Door`",
    "`impl underpass_http::HttpSocket for Door {}`",
    "for TLS see `underpass_tls::TlsListener`",
    "`TcpListener` is no listener that connections can be accepted from",
    "make one with `from_std`",
    "import `underpass_http::ListenerExt`",
    "`serve` cannot serve `Door`",
    "is no service that answers requests, and makes none",
    "call `.with_state(state)`",
    "|request: Request<RequestBody>| request.map(axum::body::Body::new))`",
    "`HandleErrorLayer`",
];

/// The library that this test was built with, or one of the same source and other features.
fn library(directory: &Path) -> PathBuf {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    let libraries = entries.filter(|entry| {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_string_lossy();
        let is_library = path.extension().is_some_and(|it| it == "rlib");
        is_library && name.starts_with("libunderpass_http-")
    });
    let made = |entry: &DirEntry| -> SystemTime { entry.metadata().unwrap().modified().unwrap() };
    libraries.max_by_key(made).unwrap().path()
}

/// What the compiler says, on one line.
fn said(source: &str) -> String {
    let files = Files::new().with("lib.rs", source.as_bytes());
    let this = std::env::current_exe().unwrap();
    let directory = this.parent().unwrap();
    let library = library(directory);
    let compiler = Path::new(env!("CARGO")).with_file_name("rustc");
    let output = Command::new(compiler)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata"])
        .arg(format!("--extern=underpass_http={}", library.display()))
        .arg(format!("-Ldependency={}", directory.display()))
        .args(["-o", &files.path("out"), &files.path("lib.rs")])
        .output()
        .unwrap();
    assert!(!output.status.success(), "it compiles");
    let said = String::from_utf8(output.stderr).unwrap();
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn the_compiler_says_what_to_do() {
    let said = said(&SOURCE.replace("``", "\"\""));
    for expected in EXPECTED {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
