//! What a keep-alive connection that has nothing to do keeps in memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use serde_json::{Value, json};

use super::goal::{self, Goal, Wanted};
use super::load::Load;
use super::running::Running;
use super::series::{self, Series};
use super::servers::{NGINX, UNDERPASS};
use super::small::start_with;
use super::{Bench, Section, remove, response};
use crate::error::{Context, Error, Result};
use crate::table::Table;

const CONNECTIONS: usize = 10_000;
const NAME: &str = "idle";
const SIZE: u64 = 1 << 10;
/// Descriptors that either side needs besides: the files, the ends of pipes, what the libraries hold.
const OTHER_FILES: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(10);
const NOTE: &str = "KiB a connection: what VmRSS grew by between the first answer and the last, over the connections, each of which has had
one answer and then idles. What the kernel keeps for a socket is the same for all and not in it; nginx makes the table of its
connections when it starts (20000 here), so that is in what it takes with one.
";

/// Resident memory with one connection, and with all.
#[derive(Debug, Serialize)]
struct Sample {
    one_kib: u64,
    all_kib: u64,
    connections: usize,
}

const EACH: fn(&Sample) -> f64 =
    |sample| sample.all_kib.saturating_sub(sample.one_kib) as f64 / sample.connections as f64;

pub(super) fn run(bench: &Bench) -> Result<Section> {
    allow_files(CONNECTIONS as u64 + OTHER_FILES)?;
    let file = bench.file(NAME, SIZE)?;
    let wanted = |server: &str| [UNDERPASS, NGINX].contains(&server);
    let rows = bench.interleave(NAME, wanted, |start, _| {
        let (mut server, load) = start_with(bench, start, NAME, SIZE, CONNECTIONS)?;
        let filled = bench.on_load_side(|| fill(&server, &load));
        server.explain(filled)
    })?;
    remove(&file)?;
    let measured = series::summary(&rows, UNDERPASS, EACH);
    let what = "resident KiB of underpass for an idle connection";
    let goals = [Goal::new(what, Wanted::AtMost(16.0), measured)];
    Ok(Section {
        text: format!("{}\n{}{NOTE}", table(&rows), goal::table(&goals)),
        json: json!({
            "connections": CONNECTIONS,
            "servers": rows.iter().map(Series::to_json).collect::<Value>(),
            "goals": goal::to_json(&goals),
        }),
        void: series::void(NAME, &rows),
    })
}

fn table(rows: &[Series<Sample>]) -> Table {
    let heading = format!("{CONNECTIONS} idle connections");
    let mut table = Table::new(&[
        &heading,
        "KiB each",
        "min–max",
        "MiB with one",
        "MiB with all",
    ]);
    for row in rows {
        table.row(row.row(|| {
            Some(vec![
                row.median(EACH, 2),
                row.spread(EACH, 2),
                row.median(|sample| sample.one_kib as f64 / 1024.0, 1),
                row.median(|sample| sample.all_kib as f64 / 1024.0, 1),
            ])
        }));
    }
    table
}

/// Opens all connections one after the other, each with one request, and keeps them open.
fn fill(server: &Running, load: &Load) -> Result<Sample> {
    let request = load.request(0);
    let mut open = vec![ask(load, &request)?];
    let one_kib = server.resident_kib()?;
    while open.len() < load.connections {
        open.push(ask(load, &request)?);
    }
    let all_kib = server.resident_kib()?;
    // Whoever closed idle connections to save memory is not compared.
    for socket in &mut open {
        answer(socket, load, &request)?;
    }
    Ok(Sample {
        one_kib,
        all_kib,
        connections: load.connections,
    })
}

fn ask(load: &Load, request: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(load.addr).context(|| "cannot connect".into())?;
    socket
        .set_read_timeout(Some(PATIENCE))
        .context(|| "cannot set up a connection".into())?;
    answer(&mut socket, load, request)?;
    Ok(socket)
}

fn answer(socket: &mut TcpStream, load: &Load, request: &str) -> Result<()> {
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

/// Raises the limit for this process and the servers that it starts.
pub(crate) fn allow_files(wanted: u64) -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum.map(|maximum| maximum.max(wanted)),
    };
    setrlimit(Resource::Nofile, raised).context(|| format!("cannot open {wanted} files"))
}
