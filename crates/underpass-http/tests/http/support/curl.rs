//! The curl program.

use std::process::{Command, Output, Stdio};

use super::{Reply, Server};

/// The result of curl: the heads of the responses in order, and the body of the last one.
pub(crate) struct Fetched {
    pub(crate) replies: Vec<Reply>,
    pub(crate) output: Output,
}

/// Runs curl with a path of `server`. The path is sent as it is.
#[track_caller]
pub(crate) fn run(server: &Server, path: &str, args: &[&str]) -> Fetched {
    run_with_input(server, path, args, Stdio::null())
}

#[track_caller]
pub(crate) fn run_with_input(server: &Server, path: &str, args: &[&str], input: Stdio) -> Fetched {
    let fetched = attempt(server, path, args, input);
    let Output { status, stderr, .. } = &fetched.output;
    assert!(
        status.success(),
        "curl: {status} {}",
        String::from_utf8_lossy(stderr)
    );
    fetched
}

/// Runs curl, which may fail.
pub(crate) fn attempt(server: &Server, path: &str, args: &[&str], input: Stdio) -> Fetched {
    let heads = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new("curl")
        .args([
            "-q",
            "-sS",
            "--path-as-is",
            "--max-time",
            "20",
            "--noproxy",
            "*",
            "-D",
        ])
        .arg(heads.path())
        .args(crate::wire::curl_options(args))
        .args(args)
        .arg(server.url(path))
        .stdin(input)
        .output()
        .unwrap();
    let heads = std::fs::read_to_string(heads.path()).unwrap();
    let heads = heads.split("\r\n\r\n").filter(|head| !head.is_empty());
    let replies = heads.map(|head| Reply::of_head(head.as_bytes())).collect();
    Fetched { replies, output }
}

impl Fetched {
    /// The last response, with the body as curl decoded it.
    #[track_caller]
    pub(crate) fn reply(self) -> Reply {
        let mut reply = self.replies.last().expect("a response").clone();
        reply.body = self.output.stdout;
        reply
    }

    pub(crate) fn statuses(&self) -> Vec<u16> {
        self.replies.iter().map(|reply| reply.status).collect()
    }
}

/// Whether this curl supports a feature, such as `brotli`.
pub(crate) fn knows(feature: &str) -> bool {
    let output = Command::new("curl").arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let features = text
        .lines()
        .filter_map(|line| line.strip_prefix("Features: "));
    features
        .flat_map(str::split_whitespace)
        .any(|its| its == feature)
        || super::needs::lacking(&format!("this curl does not know {feature}"))
}
