//! h2load, the load of the HTTP/2 scenarios: its command line, and what it reports.

use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::program;
use crate::run::{self, Invocation};

/// What the load speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    H2c,
    H2,
    /// HTTP/1.1 over TLS, to compare with.
    Https,
}

/// What it asks for, and how.
#[derive(Debug)]
pub(super) struct H2load<'a> {
    pub(super) addr: SocketAddr,
    pub(super) path: &'a str,
    pub(super) protocol: Protocol,
    pub(super) connections: usize,
    pub(super) streams: usize,
}

/// The responses that came in one run.
#[derive(Debug, PartialEq)]
pub(super) struct Report {
    pub(super) requests: u64,
    /// Bytes of bodies.
    pub(super) bytes: u64,
    pub(super) seconds: f64,
}

/// One run of it.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) report: Report,
    /// From its start to its end, which is a little longer than what it measures.
    pub(super) wall: Duration,
    pub(super) cpu_s: f64,
}

impl H2load<'_> {
    /// A command that asks for this many responses. It does not ask for a duration: if that ends
    /// before all handshakes have, h2load 1.52 waits for ever.
    pub(super) fn command(&self, requests: u64) -> Result<Invocation> {
        let program = program::rival("h2load", "Debian package nghttp2-client");
        let clients = requests.min(self.connections as u64).max(1);
        let command = Invocation::new(program.map_err(Error::new)?)
            .args(["--requests", &requests.max(1).to_string()])
            .args(["--clients", &clients.to_string()])
            .args(["--max-concurrent-streams", &self.streams.to_string()]);
        let command = match self.protocol {
            Protocol::H2c => command,
            Protocol::H2 => command.args(TLS),
            Protocol::Https => command.args(TLS).arg("--h1"),
        };
        Ok(command.arg(self.protocol.url(self.addr, self.path)))
    }

    /// Runs it on this thread's processor.
    pub(super) fn run(&self, requests: u64) -> Result<Finished> {
        let finished = run::run(&self.command(requests)?)?;
        Ok(Finished {
            report: parse(&finished.stdout, self.protocol)?,
            wall: finished.wall,
            cpu_s: finished.usage.user_s + finished.usage.system_s,
        })
    }

    /// How many responses come in a second, roughly: from a run that takes at least `least`.
    pub(super) fn rate(&self, least: Duration) -> Result<f64> {
        let mut requests = (self.connections * self.streams) as u64;
        loop {
            let report = self.run(requests)?.report;
            let enough = report.seconds / least.as_secs_f64();
            if enough >= 1.0 {
                return Ok(report.requests as f64 / report.seconds);
            }
            requests = (requests as f64 * (1.2 / enough).clamp(1.2, 10.0)).ceil() as u64;
        }
    }
}

impl Protocol {
    fn url(self, addr: SocketAddr, path: &str) -> String {
        match self {
            Self::H2c => format!("http://{addr}/{path}"),
            Self::H2 | Self::Https => format!("https://localhost:{}/{path}", addr.port()),
        }
    }

    /// What h2load calls it.
    fn alpn(self) -> &'static str {
        match self {
            Self::H2c => "h2c",
            Self::H2 => "h2",
            Self::Https => "http/1.1",
        }
    }

    /// The load's name among the commands of a run.
    pub(super) fn load_name(self) -> &'static str {
        match self {
            Self::H2c | Self::H2 => "h2load, the load",
            Self::Https => "h2load, the load for HTTP/1.1",
        }
    }

    /// As curl writes it.
    pub(super) fn version(self) -> &'static str {
        match self {
            Self::H2c | Self::H2 => "2",
            Self::Https => "1.1",
        }
    }
}

/// All servers do the same work.
const TLS: [&str; 4] = [
    "--tls13-ciphers",
    "TLS_AES_128_GCM_SHA256",
    "--groups",
    "X25519",
];

/// Reads its report. One response that is not a success, or another protocol than the one that is
/// measured, is an error.
fn parse(said: &str, protocol: Protocol) -> Result<Report> {
    let unknown = || Error::new(format!("h2load reports nothing of use: {said}"));
    let line = |start: &str| {
        let mut lines = said.lines();
        lines
            .find_map(|line| line.strip_prefix(start))
            .ok_or_else(unknown)
    };
    let spoken = line("Application protocol: ")?;
    if spoken != protocol.alpn() {
        return Err(Error::new(format!("h2load spoke {spoken}")));
    }
    if protocol != Protocol::H2c && line("Cipher: ")? != "TLS_AES_128_GCM_SHA256" {
        return Err(Error::new("h2load and the server agreed on another cipher"));
    }
    // requests: 9 total, 9 started, 9 done, 9 succeeded, 0 failed, 0 errored, 0 timeout
    let requests = line("requests: ")?;
    let count = |what: &str| {
        let mut parts = requests.split(", ");
        let count = parts.find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok());
        count.ok_or_else(unknown)
    };
    let (done, succeeded) = (count("done")?, count("succeeded")?);
    if done != succeeded || count("failed")? + count("errored")? + count("timeout")? > 0 {
        return Err(Error::new(format!(
            "not every request succeeded: {requests}"
        )));
    }
    // finished in 504.53ms, 35700.00 req/s, 39.16MB/s
    let time = line("finished in ")?.split(',').next().and_then(seconds);
    // traffic: 1.0KB (1000) total, 1B (1) headers (space savings 1.0%), 1B (1) data
    let data = line("traffic: ")?.rsplit_once('(');
    let data = data.and_then(|(_, data)| data.strip_suffix(") data")?.parse().ok());
    Ok(Report {
        requests: done,
        bytes: data.ok_or_else(unknown)?,
        seconds: time.ok_or_else(unknown)?,
    })
}

/// A time as it writes them: `97us`, `504.53ms`, `2.00s`.
fn seconds(text: &str) -> Option<f64> {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0)];
    units
        .iter()
        .find_map(|(unit, seconds)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds))
}

/// Checks that the responses had their whole length.
pub(super) fn check_length(report: &Report, size: u64) -> Result<()> {
    if report.bytes != report.requests.saturating_mul(size) || report.bytes == 0 {
        return Err(Error::new(format!(
            "{} responses of {size} bytes had {} bytes",
            report.requests, report.bytes
        )));
    }
    Ok(())
}

/// What a server sent to curl for the same URL, and the version of HTTP that both spoke.
pub(super) fn ask_curl(
    protocol: Protocol,
    addr: SocketAddr,
    path: &str,
) -> Result<std::process::Child> {
    let program = program::rival("curl", "Debian package curl");
    let mut curl = std::process::Command::new(program.map_err(Error::new)?);
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "60"])
        // The certificate was checked by the https scenarios; here it is the bytes.
        .args(["--insecure", "--write-out", "%{stderr}%{http_version}"])
        .arg(match protocol {
            Protocol::H2c => "--http2-prior-knowledge",
            Protocol::H2 => "--http2",
            Protocol::Https => "--http1.1",
        })
        .arg(protocol.url(addr, path))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    curl.spawn().context(|| "cannot start curl".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "starting benchmark...\n\
        TLS Protocol: TLSv1.3\nCipher: TLS_AES_128_GCM_SHA256\nApplication protocol: h2\n\
        finished in 504.53ms, 35700.00 req/s, 39.16MB/s\n\
        requests: 3 total, 3 started, 3 done, 3 succeeded, 0 failed, 0 errored, 0 timeout\n\
        status codes: 3 2xx, 0 3xx, 0 4xx, 0 5xx\n\
        traffic: 19B (19) total, 1B (1) headers (space savings 39.55%), 17.43KB (3072) data\n";

    #[test]
    fn its_report_is_read() {
        let report = parse(SAID, Protocol::H2).unwrap();
        assert_eq!((report.requests, report.bytes), (3, 3072));
        assert!((report.seconds - 0.504_53).abs() < 1e-9);
        check_length(&report, 1024).unwrap();
        assert!(check_length(&report, 1023).is_err());
        assert!(check_length(&report, 1025).is_err());
    }

    #[test]
    fn times_are_read() {
        for (text, expected) in [("97us", 97e-6), ("2.50s", 2.5), ("7ms", 7e-3)] {
            let read = seconds(text).unwrap();
            assert!((read - expected).abs() < 1e-12, "{text}: {read}");
        }
        assert_eq!(seconds("7"), None);
    }

    #[test]
    fn one_failure_or_another_protocol_is_an_error() {
        for (from, to) in [
            ("3 succeeded, 0 failed", "2 succeeded, 1 failed"),
            ("0 errored", "1 errored"),
            ("0 timeout", "1 timeout"),
            ("protocol: h2", "protocol: http/1.1"),
            ("AES_128", "AES_256"),
            (") data", ")"),
            ("finished in 504.53ms", "finished in 504.53"),
        ] {
            let said = SAID.replace(from, to);
            assert_ne!(said, SAID);
            assert!(parse(&said, Protocol::H2).is_err(), "{to}");
        }
    }
}
