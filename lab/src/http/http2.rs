//! Files in the page cache by HTTP/2: h2load is the load, and curl compares the bytes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::h2load::{self, Finished, H2load, Protocol};
use super::rate::{self, CPU_PER_GB, CPU_PER_REQUEST, LOAD_BUSY, RATE, REQUESTS, SERVER_BUSY};
use crate::bench::{Bench, WARMUP, remove};
use crate::contender::{Contender, Places};
use crate::error::{Context, Error, Result};
use crate::record::{Case, Metric, Sample, Side};
use crate::scenario::Kind;
use crate::server::routes;
use crate::server::running::Running;
use crate::size;
use crate::tls::Tls;

const CHUNK: usize = 1 << 20;

/// Over plain TCP.
pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    cases(bench, None)
}

/// With a certificate made for this run.
pub(crate) fn run_over_tls(bench: &Bench) -> Result<Vec<Case>> {
    cases(bench, Some(&Arc::new(Tls::new()?)))
}

fn cases(bench: &Bench, tls: Option<&Arc<Tls>>) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let scenario = bench.scenario;
    let streams = scenario.streams.unwrap_or(1);
    let mut cases = Vec::new();
    for (at, size) in scenario.sizes.iter().enumerate() {
        let file = bench.file(&format!("hot-{at}"), size.0)?;
        for &connections in &scenario.connections {
            let of = Of {
                file: &file,
                size: size.0,
                connections,
                streams,
                route: scenario.routes.get(at).map(String::as_str),
                tls,
                rates: RefCell::default(),
            };
            cases.push(of.case(bench, &contenders)?);
        }
        remove(&file)?;
    }
    Ok(cases)
}

/// What one case measures.
struct Of<'a> {
    file: &'a Path,
    size: u64,
    connections: usize,
    streams: usize,
    /// The route that ours must have taken.
    route: Option<&'a str>,
    tls: Option<&'a Arc<Tls>>,
    /// Roughly how many responses come in a second, by contender.
    rates: RefCell<HashMap<String, f64>>,
}

impl Of<'_> {
    fn case(&self, bench: &Bench, contenders: &[Contender]) -> Result<Case> {
        let plural = |count: usize, what: &str| {
            let ending = if count == 1 { "" } else { "s" };
            format!("{count} {what}{ending}")
        };
        let size = size::exact(self.size);
        let connections = plural(self.connections, "connection");
        let name = if self.streams == 1 {
            format!("{size}, {connections}")
        } else {
            format!("{size}, {connections} of {} streams", self.streams)
        };
        let metrics = metrics(bench.scenario.kind);
        let mut case = bench.case(&name, metrics, contenders, |who, round| {
            self.measure(bench, who, round)
        })?;
        let remarks = rate::remarks(&case.rows, &case.metrics[0]);
        case.remarks.extend(remarks);
        Ok(case)
    }

    fn measure(&self, bench: &Bench, who: &Contender, round: u32) -> Result<Sample> {
        let places = self.tls.map_or_else(Places::default, |tls| tls.places());
        let mut server = Running::start_at(bench, who, places)?;
        let path = self.file.file_name().unwrap_or_default().to_string_lossy();
        let protocol = match self.tls {
            None => Protocol::H2c,
            Some(_) if who.row.http1 => Protocol::Https,
            Some(_) => Protocol::H2,
        };
        let load = H2load {
            addr: server.addr,
            path: &path,
            protocol,
            connections: self.connections,
            streams: self.streams,
        };
        if round == 0 {
            let rate = bench.on_load_side(|| load.rate(WARMUP));
            let rate = server.explain(rate)?;
            self.rates.borrow_mut().insert(who.name().to_owned(), rate);
            let command = load.command(requests(rate, bench.window(1)))?;
            bench.commands.note(protocol.load_name(), &command, None);
            server.explain(content(protocol, server.addr, &path, self.file))?;
        }
        let rate = self.rates.borrow().get(who.name()).copied();
        let rate = rate.ok_or_else(|| Error::new("its first round failed"))?;
        let measured = requests(rate, bench.window(round));
        let measured = measured.max((self.connections * self.streams) as u64);
        let run = || {
            if round > 0 {
                load.run(requests(rate, WARMUP))?;
            }
            let before = server.cpu()?;
            let finished = load.run(measured)?;
            Ok((finished, server.cpu()?.saturating_sub(before).as_secs_f64()))
        };
        let run = bench.on_load_side(run);
        let (finished, server_cpu_s) = server.explain(run)?;
        server.explain(h2load::check_length(&finished.report, self.size))?;
        let routes = server.routes()?;
        if let (Some(route), Side::Ours) = (self.route, who.row.side) {
            routes::check(&routes, route, finished.report.bytes)?;
        }
        Ok(sample(&finished, server_cpu_s).with_routes(routes))
    }
}

fn metrics(kind: Kind) -> Vec<Metric> {
    let told = [Metric::told(SERVER_BUSY, 0), Metric::told(LOAD_BUSY, 0)];
    let by = match kind {
        Kind::H2Bulk => [Metric::more(RATE, 2), Metric::less(CPU_PER_GB, 3)],
        _ => [Metric::more(REQUESTS, 0), Metric::less(CPU_PER_REQUEST, 2)],
    };
    by.into_iter().chain(told).collect()
}

/// How many responses to ask for, so that it takes about `time`.
fn requests(rate: f64, time: Duration) -> u64 {
    (rate * time.as_secs_f64()).ceil() as u64
}

/// `server_cpu_s` is from h2load's start to its end.
fn sample(finished: &Finished, server_cpu_s: f64) -> Sample {
    let (seconds, wall) = (finished.report.seconds, finished.wall.as_secs_f64());
    let (requests, bytes) = (
        finished.report.requests as f64,
        finished.report.bytes as f64,
    );
    Sample::of([
        (REQUESTS, requests / seconds),
        (CPU_PER_REQUEST, server_cpu_s * 1e6 / requests),
        (RATE, bytes / 1e9 / seconds),
        (CPU_PER_GB, server_cpu_s * 1e9 / bytes),
        (SERVER_BUSY, server_cpu_s * 100.0 / wall),
        (LOAD_BUSY, finished.cpu_s * 100.0 / wall),
        ("requests", requests),
        ("bytes", bytes),
        ("seconds", seconds),
        ("server CPU s", server_cpu_s),
        ("load CPU s", finished.cpu_s),
    ])
}

/// Compares every byte that curl gets with `file`, and the version of HTTP with `protocol`.
fn content(protocol: Protocol, addr: SocketAddr, path: &str, file: &Path) -> Result<()> {
    let mut curl = h2load::ask_curl(protocol, addr, path)?;
    let same = match curl.stdout.take() {
        Some(got) => is_same(got, file)?,
        None => false,
    };
    let finished = curl.wait_with_output();
    let finished = finished.context(|| "cannot wait for curl".into())?;
    let said = String::from_utf8_lossy(&finished.stderr);
    if !same || !finished.status.success() || said != protocol.version() {
        let why = format!("/{path} was not served as it is: curl said '{said}'");
        return Err(Error::new(why));
    }
    Ok(())
}

fn is_same(mut got: impl Read, file: &Path) -> Result<bool> {
    let failed = || "cannot compare".to_owned();
    let mut file = File::open(file).context(failed)?;
    let (mut ours, mut theirs) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let count = file.read(&mut ours).context(failed)?;
        if count == 0 {
            return Ok(got.read(&mut theirs).context(failed)? == 0);
        }
        if got.read_exact(&mut theirs[..count]).is_err() || ours[..count] != theirs[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::Commands;
    use crate::contender;
    use crate::pin::Pinning;
    use crate::scenario;
    use crate::testfile;

    #[test]
    fn every_installed_rival_speaks_http2() {
        for (name, protocol) in [("h2-small", Protocol::H2), ("h2c-small", Protocol::H2c)] {
            let dir = tempfile::tempdir().unwrap();
            testfile::open_to_all(dir.path()).unwrap();
            let file = testfile::make(dir.path(), "hot-0", 100 << 10).unwrap();
            let other = testfile::make(dir.path(), "other", 100 << 10).unwrap();
            std::fs::write(&other, vec![0; 100 << 10]).unwrap();
            let scenario = &scenario::named(&[name.to_owned()]).unwrap()[0];
            let bench = Bench {
                scenario,
                root: dir.path(),
                pinning: Pinning::new(false).unwrap(),
                underpass: None,
                before: None,
                commands: &Commands::default(),
            };
            let tls = Tls::new().unwrap();
            for who in contender::all(scenario.kind.race(), None).unwrap() {
                // The lab's own children are subcommands of the lab, and a test binary has none.
                if who.row.program == "lab" {
                    continue;
                }
                if let Err(why) = &who.program {
                    println!("skipped: {name}: {}: {why}", who.name());
                    continue;
                }
                let mut server = Running::start_at(&bench, &who, tls.places()).unwrap();
                let asked = |file| content(protocol, server.addr, "hot-0", file);
                let (same, different) = (asked(&file), asked(&other));
                server
                    .explain(same)
                    .unwrap_or_else(|error| panic!("{name}: {}: {error}", who.name()));
                assert!(different.is_err(), "{name}: {}", who.name());
            }
        }
    }
}
