//! `lab memory`: the peak resident memory of underpass must not grow with what it moves.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::child::send_by_sendfile;
use crate::error::{Context, Error, Result};
use crate::header::Header;
use crate::pin::Pinning;
use crate::receipt::Receipt;
use crate::run::{Finished, Invocation, run};
use crate::sink::Sink;
use crate::table::Table;
use crate::{output, program, size, sys, testfile};

/// What every command must stay under, whatever the size of the file: the project's promise.
const LIMIT_KIB: u64 = 12 << 10;
const SMALL: u64 = 1 << 20;
/// How long a feeder waits between two tries to reach a `recv` that does not listen yet.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Size of the large file, which is sparse; what is received from it is not
    #[arg(long, default_value = "4GiB", value_parser = size::parse)]
    size: u64,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where files are made, and removed afterwards [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Print one JSON object in place of the table
    #[arg(long)]
    json: bool,
}

/// One run of one command on one file.
struct Bench {
    underpass: PathBuf,
    from: PathBuf,
    to: PathBuf,
    size: u64,
}

type Measure = fn(&Bench) -> Result<Finished>;

/// `true` moves nothing: a process starts with its parent's peak (see `sys::Usage`), so no row can be under its.
const COMMANDS: &[(&str, Measure)] = &[
    ("true (the floor)", |_| run(&Invocation::new("true"))),
    ("underpass send", Bench::send),
    ("underpass recv", Bench::recv),
    ("underpass copy", Bench::copy),
    ("underpass explain", Bench::explain),
];

/// Peak in KiB of one command, on each of the files.
struct Row {
    name: &'static str,
    peaks: Vec<Result<u64>>,
}

/// Measures and prints; an error when a command is over the limit or did not do its work.
pub(crate) fn run_all(options: &Options) -> Result<()> {
    let underpass = program::underpass(options.underpass.as_deref())?;
    let underpass = underpass
        .ok_or_else(|| Error::new("no underpass binary: build it or name it with --underpass"))?;
    let header = Header::here()
        .with("underpass", program::describe(Some(&underpass)))
        .with("limit", size::exact(LIMIT_KIB << 10));
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&place, options.size)?;
    let dir = tempfile::Builder::new()
        .prefix("lab-memory-")
        .tempdir_in(&place);
    let dir = dir.context(|| format!("cannot make a directory in {}", place.display()))?;

    let sizes = [options.size, SMALL];
    let rows = measure(&underpass, dir.path(), &sizes)?;
    print(options, &header, &sizes, &rows)?;
    verdict(&rows)
}

fn measure(underpass: &Path, dir: &Path, sizes: &[u64]) -> Result<Vec<Row>> {
    let mut rows: Vec<_> = COMMANDS
        .iter()
        .map(|(name, _)| Row {
            name,
            peaks: Vec::new(),
        })
        .collect();
    for &size in sizes {
        let from = testfile::make_sparse(dir, "source", size)?;
        let to = dir.join("target");
        let bench = Bench {
            underpass: underpass.to_owned(),
            from,
            to: to.clone(),
            size,
        };
        for (row, (_, measure)) in rows.iter_mut().zip(COMMANDS) {
            let finished = measure(&bench);
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            row.peaks
                .push(finished.map(|finished| finished.usage.max_rss_kib));
            // Only some commands make it, and a failed one may not have.
            let _ = fs::remove_file(&to);
        }
    }
    Ok(rows)
}

impl Bench {
    fn send(&self) -> Result<Finished> {
        let sink = Sink::start(Pinning::new(false)?)?;
        let send = self
            .underpass("send")
            .arg(&self.from)
            .arg(format!("tcp://127.0.0.1:{}", sink.port()));
        let finished = self.with_receipt(send);
        let received = sink.finish();
        let (finished, received) = (finished?, received?);
        if received.bytes != self.size {
            return Err(Error::new(format!(
                "the sink received {} of {} bytes",
                received.bytes, self.size
            )));
        }
        Ok(finished)
    }

    fn recv(&self) -> Result<Finished> {
        let addr = free_address()?;
        let receiver_gone = AtomicBool::new(false);
        let recv = self
            .underpass("recv")
            .arg(format!("tcp://{addr}"))
            .arg(&self.to)
            .arg("--force");
        let (finished, fed) = thread::scope(|scope| {
            let feeder = scope.spawn(|| feed(&self.from, addr, &receiver_gone));
            let finished = self.with_receipt(recv);
            receiver_gone.store(true, Ordering::Relaxed);
            (
                finished,
                feeder
                    .join()
                    .unwrap_or_else(|_| Err(Error::new("the feeding thread died"))),
            )
        });
        let finished = finished?;
        fed?;
        self.arrived(finished)
    }

    fn copy(&self) -> Result<Finished> {
        let finished = self.with_receipt(self.underpass("copy").arg(&self.from).arg(&self.to))?;
        self.arrived(finished)
    }

    fn explain(&self) -> Result<Finished> {
        run(&self.underpass("explain").arg(&self.from).arg(&self.to))
    }

    fn underpass(&self, command: &str) -> Invocation {
        Invocation::new(&self.underpass).arg(command)
    }

    fn with_receipt(&self, invocation: Invocation) -> Result<Finished> {
        let finished = run(&invocation.args(["--receipt", "json", "--quiet"]))?;
        Receipt::parse(&finished.stdout)?.check(self.size, None)?;
        Ok(finished)
    }

    fn arrived(&self, finished: Finished) -> Result<Finished> {
        let length = fs::metadata(&self.to)
            .context(|| format!("cannot look at {}", self.to.display()))?
            .len();
        if length != self.size {
            return Err(Error::new(format!(
                "{length} of {} bytes are in the target",
                self.size
            )));
        }
        Ok(finished)
    }
}

/// A port that was free a moment ago: `recv` cannot tell which one it would choose itself.
fn free_address() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    listener
        .and_then(|listener| listener.local_addr())
        .context(|| "cannot find a free port".into())
}

/// Sends the file as soon as somebody listens, unless the one who should is gone.
fn feed(from: &Path, addr: SocketAddr, receiver_gone: &AtomicBool) -> Result<()> {
    loop {
        match TcpStream::connect(addr) {
            Ok(socket) => return send_by_sendfile(from, &socket),
            Err(_) if receiver_gone.load(Ordering::Relaxed) => {
                return Err(Error::new("nobody listened"));
            }
            Err(_) => thread::sleep(RETRY),
        }
    }
}

fn print(options: &Options, header: &Header, sizes: &[u64], rows: &[Row]) -> Result<()> {
    if options.json {
        let rows: Vec<_> = rows.iter().map(Row::to_json).collect();
        let result =
            json!({ "header": header, "sizes": sizes, "limit_kib": LIMIT_KIB, "commands": rows });
        return output::print(&format!("{result}\n"));
    }
    let sizes: Vec<_> = sizes.iter().map(|&size| size::exact(size)).collect();
    let headings = ["peak resident, MiB"]
        .into_iter()
        .chain(sizes.iter().map(String::as_str));
    let mut table = Table::new(&headings.collect::<Vec<_>>());
    for row in rows {
        table.row(
            [row.name.to_owned()]
                .into_iter()
                .chain(row.peaks.iter().map(cell)),
        );
    }
    let failures: Vec<_> = rows
        .iter()
        .flat_map(Row::failures)
        .map(|why| why + "\n")
        .collect();
    output::print(&format!("{header}\n{table}{}", failures.concat()))
}

fn cell(peak: &Result<u64>) -> String {
    match peak {
        Ok(kib) if *kib > LIMIT_KIB => format!("{:.1} OVER", *kib as f64 / 1024.0),
        Ok(kib) => format!("{:.1}", *kib as f64 / 1024.0),
        Err(_) => "VOID".to_owned(),
    }
}

impl Row {
    fn failures(&self) -> Vec<String> {
        let failed = self.peaks.iter().filter_map(|peak| peak.as_ref().err());
        failed
            .map(|why| format!("VOID: {}: {why}", self.name))
            .collect()
    }

    fn is_bad(&self) -> bool {
        self.peaks
            .iter()
            .any(|peak| !matches!(peak, Ok(kib) if *kib <= LIMIT_KIB))
    }

    fn to_json(&self) -> Value {
        let peak = |peak: &Result<u64>| match peak {
            Ok(kib) => json!(kib),
            Err(why) => json!({ "void": why.to_string() }),
        };
        json!({ "name": self.name, "max_rss_kib": self.peaks.iter().map(peak).collect::<Value>() })
    }
}

fn verdict(rows: &[Row]) -> Result<()> {
    let bad: Vec<_> = rows
        .iter()
        .filter(|row| row.is_bad())
        .map(|row| row.name)
        .collect();
    if bad.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!(
        "over {} or void: {}",
        size::exact(LIMIT_KIB << 10),
        bad.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_allowed_and_a_failure_is_not() {
        let row = |peak| Row {
            name: "x",
            peaks: vec![Ok(1), peak],
        };
        assert!(verdict(&[row(Ok(LIMIT_KIB))]).is_ok());
        assert!(verdict(&[row(Ok(LIMIT_KIB + 1))]).is_err());
        assert!(verdict(&[row(Err(Error::new("broken")))]).is_err());
        assert_eq!(cell(&Ok(LIMIT_KIB)), "12.0");
        assert_eq!(cell(&Ok(LIMIT_KIB * 2)), "24.0 OVER");
    }

    #[test]
    fn a_feeder_gives_up_when_the_receiver_is_gone() {
        let gone = AtomicBool::new(true);
        let fed = feed(Path::new("/dev/null"), free_address().unwrap(), &gone);
        assert_eq!(fed, Err(Error::new("nobody listened")));
    }
}
