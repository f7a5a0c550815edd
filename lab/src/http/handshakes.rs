//! TLS handshakes in a closed loop: each connection asks for one small file, and the next one
//! begins when the server has closed it. One thread drives all of them.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustls::{ClientConnection, HandshakeKind};

use super::check;
use super::histogram::Histogram;
use super::load::Load;
use super::response;
use crate::bench::{Bench, WARMUP, remove};
use crate::clock::{Clock, Spent};
use crate::error::{Context, Error, Result};
use crate::record::{Case, Metric, Sample, warning};
use crate::server::running::Running;
use crate::sys;
use crate::tls::{Handshakes, Tls};

const HANDSHAKES: &str = "handshakes/s";
const CPU: &str = "CPU µs/handshake";
const P50: &str = "p50 µs";
const P99: &str = "p99 µs";
const SERVER_BUSY: &str = "server busy %";
const LOAD_BUSY: &str = "load busy %";
/// Above it the load, not the server, may be what is measured.
const LOAD_LIMIT: f64 = 95.0;
/// How often a load that gets nothing looks at the clock, and after how long it gives up.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let size = bench.scenario.sizes.first().map_or(1 << 10, |size| size.0);
    let file = bench.file("hot-0", size)?;
    let tls = std::sync::Arc::new(Tls::new()?);
    let mut cases = Vec::new();
    for &connections in &bench.scenario.connections {
        for (kind, name) in [
            (HandshakeKind::Full, "full"),
            (HandshakeKind::Resumed, "resumed"),
        ] {
            let name = format!("{name}, {connections} at a time");
            let mut case = bench.case(&name, metrics(), &contenders, |who, round| {
                let mut server = Running::start_at(bench, who, tls.places())?;
                let load = Load::new(server.addr, "hot-0", size, connections).over(Some(&tls));
                if round == 0 {
                    server.explain(check::content(&load, &file))?;
                }
                let measured = bench.on_load_side(|| {
                    let window = bench.window(round);
                    let mut visits = Visits::new(&load, &tls, kind, window)?;
                    visits.run(WARMUP)?;
                    let cpu = || server.cpu();
                    let clock = Clock::start(&cpu)?;
                    visits.count = Count::new();
                    visits.run(window)?;
                    visits.sample(&clock.stop()?)
                });
                server.explain(measured)
            })?;
            let limit = "the load may be the limit, it used nearly all of its processor";
            let limit = warning(&case.rows, LOAD_BUSY, |busy| busy > LOAD_LIMIT, limit);
            case.remarks.extend(limit);
            cases.push(case);
        }
    }
    remove(&file)?;
    Ok(cases)
}

fn metrics() -> Vec<Metric> {
    vec![
        Metric::more(HANDSHAKES, 0),
        Metric::less(CPU, 1),
        Metric::told(P50, 0),
        Metric::told(P99, 0),
        Metric::told(SERVER_BUSY, 0),
        Metric::told(LOAD_BUSY, 0),
    ]
}

struct Count {
    done: u64,
    /// Handshakes that were not of the kind that is measured.
    others: u64,
    latencies: Histogram,
}

impl Count {
    fn new() -> Self {
        Self {
            done: 0,
            others: 0,
            latencies: Histogram::new(),
        }
    }
}

/// All connections that are under way.
struct Visits<'a> {
    load: &'a Load,
    kind: HandshakeKind,
    handshakes: Handshakes,
    epoll: OwnedFd,
    open: Vec<Visit>,
    count: Count,
}

impl<'a> Visits<'a> {
    /// Begins all of them. Those that resume are preceded by full ones, for as long as the window
    /// will be.
    fn new(load: &'a Load, tls: &Tls, kind: HandshakeKind, window: Duration) -> Result<Self> {
        let (first, then) = match kind {
            HandshakeKind::Resumed => {
                let (gathering, resuming) = tls.resumed();
                (gathering, Some(resuming))
            }
            _ => (tls.full(), None),
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC);
        let mut new = Self {
            load,
            kind,
            handshakes: first,
            epoll: epoll.context(|| "the load cannot poll".into())?,
            open: Vec::new(),
            count: Count::new(),
        };
        for at in 0..load.connections {
            let visit = new.begin(at)?;
            new.open.push(visit);
        }
        if let Some(resuming) = then {
            new.run(WARMUP + window)?;
            new.handshakes = resuming;
        }
        Ok(new)
    }

    fn begin(&self, at: usize) -> Result<Visit> {
        let mut visit = Visit::begin(self.load.addr, self.handshakes.begin()?)?;
        let data = epoll::EventData::new_u64(at as u64);
        epoll::add(&self.epoll, &visit.socket, data, epoll::EventFlags::IN)
            .context(|| "the load cannot poll".into())?;
        visit.write()?;
        Ok(visit)
    }

    fn run(&mut self, time: Duration) -> Result<()> {
        let (started, mut heard) = (Instant::now(), Instant::now());
        let mut events = Vec::with_capacity(self.open.len());
        while started.elapsed() < time {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context(|| "the load cannot poll".into()),
            }
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            if !events.is_empty() {
                heard = Instant::now();
            } else if heard.elapsed() > PATIENCE {
                return Err(Error::new("the server stands still"));
            }
            for event in events.drain(..) {
                let at = event.data.u64() as usize;
                if self.open[at].advance(self.load)? {
                    self.end(at)?;
                }
            }
        }
        Ok(())
    }

    /// Counts a connection that is over, and begins the next one in its place.
    fn end(&mut self, at: usize) -> Result<()> {
        let visit = &self.open[at];
        self.count.done += 1;
        self.count.others += u64::from(visit.tls.handshake_kind() != Some(self.kind));
        self.count.latencies.record(visit.latency);
        self.open[at] = self.begin(at)?;
        Ok(())
    }

    fn sample(&self, spent: &Spent) -> Result<Sample> {
        let Count { done, others, .. } = self.count;
        if done == 0 {
            return Err(Error::new("no connection ended in the window"));
        }
        if others > 0 {
            let kind = self.kind;
            let wrong = format!("{others} of {done} handshakes were not of the kind {kind:?}");
            return Err(Error::new(wrong));
        }
        let (done, latencies) = (done as f64, &self.count.latencies);
        Ok(Sample::of([
            (HANDSHAKES, done / spent.seconds),
            (CPU, spent.cpu_s * 1e6 / done),
            (P50, latencies.quantile_us(0.5)),
            (P99, latencies.quantile_us(0.99)),
            (SERVER_BUSY, spent.cpu_s * 100.0 / spent.seconds),
            (LOAD_BUSY, spent.own_cpu_s * 100.0 / spent.seconds),
            ("handshakes", done),
            ("seconds", spent.seconds),
            ("server CPU s", spent.cpu_s),
            ("load CPU s", spent.own_cpu_s),
            ("longest µs", latencies.max_us()),
        ]))
    }
}

/// One connection: a handshake, a response, and the server's end.
struct Visit {
    socket: TcpStream,
    tls: ClientConnection,
    started: Instant,
    has_asked: bool,
    got: Vec<u8>,
    /// From the connection to the last byte of the response, once that is there.
    latency: Duration,
}

impl Visit {
    fn begin(addr: SocketAddr, tls: ClientConnection) -> Result<Self> {
        let started = Instant::now();
        let socket = TcpStream::connect(addr)
            .and_then(|socket| {
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                Ok(socket)
            })
            .context(|| format!("the load cannot connect to {addr}"))?;
        Ok(Self {
            socket,
            tls,
            started,
            has_asked: false,
            got: Vec::new(),
            latency: Duration::ZERO,
        })
    }

    /// Goes on as far as it can; whether the server has closed the connection after its response.
    fn advance(&mut self, load: &Load) -> Result<bool> {
        loop {
            match self.tls.read_tls(&mut self.socket) {
                Ok(0) => return self.closed(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context(|| "the load cannot receive".into()),
            }
            let opened = self.tls.process_new_packets();
            opened.context(|| "the TLS handshake failed".into())?;
            if !self.has_asked && !self.tls.is_handshaking() {
                self.has_asked = true;
                let asked = self.tls.writer().write_all(load.last_request().as_bytes());
                asked.context(|| "the load cannot ask".into())?;
            }
            self.write()?;
            if self.has_asked {
                self.read(load.body)?;
            }
        }
    }

    /// What is written is little, and a socket that has sent nothing else has room for it.
    fn write(&mut self) -> Result<()> {
        while self.tls.wants_write() {
            let written = self.tls.write_tls(&mut self.socket);
            written.context(|| "the load cannot send".into())?;
        }
        Ok(())
    }

    fn read(&mut self, body: u64) -> Result<()> {
        let mut chunk = [0; 4096];
        loop {
            match self.tls.reader().read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(got) => self.got.extend_from_slice(&chunk[..got]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context(|| "the load cannot receive".into()),
            }
            let Some(head) = response::parse(&self.got)? else {
                continue;
            };
            let got = (self.got.len() - head.len) as u64;
            if head.body != body || got > body {
                return Err(Error::new("a body of the wrong length"));
            }
            if got == body {
                self.latency = self.started.elapsed();
            }
        }
    }

    fn closed(&self) -> Result<bool> {
        if self.latency == Duration::ZERO {
            return Err(Error::new("the server closed a connection"));
        }
        Ok(true)
    }
}
