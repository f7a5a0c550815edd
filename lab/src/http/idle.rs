//! How much memory an idle keep-alive connection holds.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::load::Load;
use super::{check, response};
use crate::bench::{Bench, remove};
use crate::contender::Places;
use crate::error::{Context, Error, Result};
use crate::process::allow_files;
use crate::record::{Case, Metric, Sample};
use crate::server::running::Running;
use crate::tls::Tls;

/// Descriptors that either side needs besides the connections: files, pipes, what libraries open.
const OTHER_FILES: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(10);
const EACH: &str = "KiB a connection";
const WITH_ONE: &str = "MiB with one";
const WITH_ALL: &str = "MiB with all";

/// A connection, encrypted or not.
trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    of(bench, None)
}

pub(crate) fn run_over_tls(bench: &Bench) -> Result<Vec<Case>> {
    of(bench, Some(&Arc::new(Tls::new()?)))
}

fn of(bench: &Bench, tls: Option<&Arc<Tls>>) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let size = bench.scenario.sizes.first().map_or(1 << 10, |size| size.0);
    let mut cases = Vec::new();
    for &connections in &bench.scenario.connections {
        allow_files(connections as u64 + OTHER_FILES)?;
        let file = bench.file("idle", size)?;
        let name = format!("{connections} idle connections");
        let told = [Metric::told(WITH_ONE, 1), Metric::told(WITH_ALL, 1)];
        let metrics = [Metric::less(EACH, 2)].into_iter().chain(told).collect();
        let case = bench.case(&name, metrics, &contenders, |who, round| {
            let places = tls.map_or_else(Places::default, |tls| tls.places());
            let mut server = Running::start_at(bench, who, places)?;
            let load = Load::new(server.addr, "idle", size, connections).over(tls);
            if round == 0 {
                server.explain(check::content(&load, &file))?;
            }
            let filled = bench.on_load_side(|| fill(&server, &load));
            server.explain(filled)
        })?;
        remove(&file)?;
        cases.push(case);
    }
    Ok(cases)
}

/// Opens all connections one after the other, with one request each, and keeps them open.
fn fill(server: &Running, load: &Load) -> Result<Sample> {
    let request = load.request(0);
    let mut open = vec![ask(load, &request)?];
    let one_kib = server.resident_kib()?;
    while open.len() < load.connections {
        open.push(ask(load, &request)?);
    }
    let all_kib = server.resident_kib()?;
    // A server that closed idle connections to save memory is not compared.
    for socket in &mut open {
        answer(&mut **socket, load, &request)?;
    }
    let grown = all_kib.saturating_sub(one_kib) as f64;
    Ok(Sample::of([
        (EACH, grown / load.connections as f64),
        (WITH_ONE, one_kib as f64 / 1024.0),
        (WITH_ALL, all_kib as f64 / 1024.0),
    ]))
}

fn ask(load: &Load, request: &str) -> Result<Box<dyn Connection>> {
    let socket = TcpStream::connect(load.addr).context(|| "cannot connect".into())?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .context(|| "cannot set up a connection".into())?;
    let mut connection: Box<dyn Connection> = match &load.tls {
        Some(tls) => Box::new(tls.stream(socket)?),
        None => Box::new(socket),
    };
    answer(&mut *connection, load, request)?;
    Ok(connection)
}

fn answer(socket: &mut dyn Connection, load: &Load, request: &str) -> Result<()> {
    let (mut got, mut chunk) = (Vec::new(), [0; 4096]);
    socket
        .write_all(request.as_bytes())
        .context(|| "cannot ask".into())?;
    loop {
        match socket.read(&mut chunk).context(|| "no answer".into())? {
            0 => return Err(Error::new("the server closed a connection")),
            count => got.extend_from_slice(&chunk[..count]),
        }
        if let Some(head) = response::parse(&got)? {
            match (head.body == load.body, (got.len() - head.len) as u64) {
                (true, body) if body == load.body => return Ok(()),
                (true, body) if body < load.body => {}
                _ => return Err(Error::new("a body of the wrong length")),
            }
        }
    }
}
