//! A running `underpass serve`, and requests to it.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use super::{Dir, Outcome, Running, underpass};

/// The server, with the URLs that it prints.
pub(crate) struct Server {
    pub(crate) running: Running,
    /// The line that says what is served.
    pub(crate) line: String,
    /// The URL, which ends in a slash.
    pub(crate) url: String,
}

impl Server {
    /// Serves `dir` on a free port.
    pub(crate) fn start(dir: &Dir, options: &[&str]) -> Self {
        let args = [&["serve", dir.root(), "--listen", "127.0.0.1:0"], options].concat();
        Self::of(underpass(&args))
    }

    /// Starts any command that serves and prints its URL.
    pub(crate) fn of(command: Command) -> Self {
        Self::saying(Running::start(command))
    }

    /// Starts one that prints another line first. Returns that line and the server.
    pub(crate) fn complaining(command: Command) -> (String, Self) {
        let mut running = Running::start(command);
        let complaint = running.line();
        (complaint, Self::saying(running))
    }

    fn saying(mut running: Running) -> Self {
        let line = running.line();
        let said = line.strip_prefix("underpass: serving ");
        let said = said.unwrap_or_else(|| panic!("not the line of a server: {line:?}"));
        let place = said.split(" on ").nth(1).unwrap();
        let url = place.split(' ').next().unwrap().to_owned();
        Self { running, line, url }
    }

    /// The next line that it prints, which must name the address of the metrics. Returned without
    /// "metrics" at its end.
    pub(crate) fn metrics(&mut self) -> String {
        let line = self.running.line();
        let url = line.strip_prefix("underpass: metrics on ").unwrap();
        url.strip_suffix("metrics").unwrap().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        curl(&[&format!("{}{path}", self.url)])
    }

    /// Asks it to end, and waits until it has ended.
    pub(crate) fn stop(self) -> Outcome {
        self.running.signal(Signal::TERM);
        self.running.finish()
    }
}

/// The response that curl got.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// The head in lower-case letters.
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Runs curl, which must get a response, and parses it.
#[track_caller]
pub(crate) fn curl(args: &[&str]) -> Reply {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--include", "--max-time", "60"])
        // So that there is one head, and not a 100 before it.
        .args(["--header", "Expect:"])
        .args(args)
        .stdin(Stdio::null());
    let outcome = command.output().unwrap();
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(outcome.status.success(), "{command:?}: {said}");
    let all = outcome.stdout;
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(all[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Reply {
        status,
        head: head.to_ascii_lowercase(),
        body: all[end + 4..].to_vec(),
    }
}
