//! A running `underpass relay`.

use rustix::process::Signal;

use serde_json::Value;

use super::{Metrics, Outcome, Running, Stream, underpass, underpass_by};

pub(crate) struct Relay {
    pub(crate) running: Running,
    /// The line that says what is relayed to where.
    pub(crate) line: String,
    /// The address at which it listens, as [`Stream::connect`] takes it.
    pub(crate) address: String,
}

impl Relay {
    /// Starts a relay from a free port to `to`, which is `tcp://…` or `unix:…`.
    pub(crate) fn to(to: &str, options: &[&str]) -> Self {
        Self::between("127.0.0.1:0", to, options)
    }

    pub(crate) fn between(listen: &str, to: &str, options: &[&str]) -> Self {
        Self::start(&[&["--listen", listen, "--to", to], options].concat())
    }

    pub(crate) fn start(options: &[&str]) -> Self {
        Self::of(Running::start(underpass(&[&["relay"], options].concat())))
    }

    /// Starts one under a limit set by prlimit(1), which it reports.
    pub(crate) fn limited(limit: &str, to: &str, options: &[&str]) -> Self {
        let args = ["relay", "--listen", "127.0.0.1:0", "--to", to];
        let command = underpass_by("prlimit", &[limit, "--"], &[&args, options].concat());
        let mut running = Running::start(command);
        let line = running.line();
        assert!(line.contains("do not fit into"), "{line}");
        Self::of(running)
    }

    /// Wraps any program that becomes a relay.
    pub(crate) fn of(mut running: Running) -> Self {
        let line = running.line();
        let said = line.strip_prefix("underpass: relaying ");
        let said = said.unwrap_or_else(|| panic!("not the line of a relay: {line:?}"));
        let place = said.split(' ').next().unwrap();
        let address = if place.starts_with("unix:") || place.starts_with("tls://") {
            place.to_owned()
        } else {
            format!("tcp://{place}")
        };
        Self {
            running,
            line,
            address,
        }
    }

    pub(crate) fn connect(&self) -> Stream {
        Stream::connect(&self.address)
    }

    /// Its address as `HOST:PORT` or `unix:PATH`.
    pub(crate) fn place(&self) -> &str {
        self.address.trim_start_matches("tcp://")
    }

    /// Its metrics, if they were asked for.
    pub(crate) fn metrics(&mut self) -> Metrics {
        Metrics::of(&self.running.line())
    }

    /// Asks it to end, and returns the receipts on its standard output.
    #[track_caller]
    pub(crate) fn receipts(self) -> Vec<Value> {
        let outcome = self.stop().ok();
        let lines = outcome.text().lines();
        lines
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Asks it to end, and waits until it has ended.
    pub(crate) fn stop(self) -> Outcome {
        self.running.signal(Signal::TERM);
        self.running.finish()
    }
}

/// The bytes that one direction of a receipt moved by `route`.
pub(crate) fn by(direction: &Value, route: &str) -> u64 {
    let used = direction["routes"].as_array().unwrap();
    let used = used.iter().find(|used| used["route"] == route);
    used.map_or(0, |used| used["bytes"].as_u64().unwrap())
}
