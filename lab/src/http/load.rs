//! The load: keep-alive connections in a closed loop, driven by one thread. Each requests the same
//! file again as soon as it has all of it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::histogram::Histogram;
use super::response;
use crate::clock::Clock;
use crate::error::{Context, Error, Result};
use crate::sys;
use crate::tls::{self, Records, Tls};

/// Bytes read at the start of a response, where the head is; a small body comes with it.
const HEAD: usize = 8 << 10;
/// The most bytes that one discarding `recv` takes. The kernel writes nothing into the buffer, so
/// its pages never exist.
const DISCARD: usize = 64 << 20;
/// A server that sends nothing for this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a load that receives nothing looks at the clock.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// What is requested, and by how many connections.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) addr: SocketAddr,
    /// Each connection has its own path; if there are fewer paths, they are used again from the
    /// first.
    pub(super) paths: Vec<String>,
    pub(super) body: u64,
    pub(super) connections: usize,
    /// The most bytes that one `recv` discards: no other thread of this processor runs meanwhile.
    pub(super) discard: usize,
    /// What comes is opened, record by record, instead of discarded unseen.
    pub(super) tls: Option<Arc<Tls>>,
}

/// What was received in the window.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) seconds: f64,
    /// Responses that ended in the window.
    pub(super) requests: u64,
    /// Bytes of bodies that arrived in the window.
    pub(super) bytes: u64,
    pub(super) server_cpu_s: f64,
    pub(super) load_cpu_s: f64,
    /// How long the load was ready to run while its processor ran others.
    pub(super) load_wait_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    pub(super) max_us: f64,
}

impl Window {
    /// Fails if nothing arrived: rates and costs would mean nothing.
    pub(super) fn some_arrived(self) -> Result<Self> {
        match self.bytes {
            0 => Err(Error::new("nothing arrived in the window")),
            _ => Ok(self),
        }
    }
}

struct Connection {
    socket: TcpStream,
    request: String,
    /// The part of the head that has arrived, until the head is complete.
    head: Vec<u8>,
    /// The bytes of the body that are missing; `None` before the head is read.
    left: Option<u64>,
    asked: Instant,
    records: Option<Records>,
}

impl Load {
    pub(super) fn new(addr: SocketAddr, path: &str, body: u64, connections: usize) -> Self {
        Self {
            addr,
            paths: vec![path.to_owned()],
            body,
            connections,
            discard: DISCARD,
            tls: None,
        }
    }

    pub(super) fn over(self, tls: Option<&Arc<Tls>>) -> Self {
        Self {
            tls: tls.cloned(),
            ..self
        }
    }

    /// The request of one connection, as a small client writes it.
    pub(super) fn request(&self, connection: usize) -> String {
        let (host, path) = (self.host(), &self.paths[connection % self.paths.len()]);
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: lab\r\nAccept: */*\r\n\r\n")
    }

    /// The same, of a connection that is not used again.
    pub(super) fn last_request(&self) -> String {
        let (host, path) = (self.host(), &self.paths[0]);
        format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
    }

    fn host(&self) -> String {
        match self.tls {
            Some(_) => format!("{}:{}", tls::NAME, self.addr.port()),
            None => self.addr.to_string(),
        }
    }

    /// Runs for `warmup`, and then for `window`, which alone is counted. `server_cpu` is called at
    /// both ends of the window.
    pub(super) fn run(
        &self,
        warmup: Duration,
        window: Duration,
        server_cpu: &dyn Fn() -> Result<Duration>,
    ) -> Result<Window> {
        let mut driver = Driver::new(self)?;
        driver.drive(warmup, |_| false)?;
        driver.count = Count::new();
        let clock = Clock::start(server_cpu)?;
        driver.drive(window, |_| false)?;
        driver.count_awaited();
        let (spent, count) = (clock.stop()?, &driver.count);
        Ok(Window {
            seconds: spent.seconds,
            requests: count.requests,
            bytes: count.bytes,
            server_cpu_s: spent.cpu_s,
            load_cpu_s: spent.own_cpu_s,
            load_wait_s: spent.own_wait_s,
            p50_us: count.latencies.quantile_us(0.5),
            p99_us: count.latencies.quantile_us(0.99),
            max_us: count.latencies.max_us(),
        })
    }

    /// Runs until told to stop, and keeps updating the number of bytes that arrived.
    pub(super) fn pull(&self, stop: &AtomicBool, arrived: &AtomicU64) -> Result<()> {
        let tell = |count: &Count| {
            arrived.store(count.bytes, Ordering::Relaxed);
            stop.load(Ordering::Relaxed)
        };
        Driver::new(self)?.drive(Duration::MAX, tell)
    }
}

struct Count {
    requests: u64,
    bytes: u64,
    latencies: Histogram,
}

impl Count {
    fn new() -> Self {
        Self {
            requests: 0,
            bytes: 0,
            latencies: Histogram::new(),
        }
    }
}

struct Driver<'a> {
    load: &'a Load,
    epoll: rustix::fd::OwnedFd,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    count: Count,
    heard: Instant,
}

impl<'a> Driver<'a> {
    /// Connects all, and sends the first requests.
    fn new(load: &'a Load) -> Result<Self> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).context(|| "the load cannot poll".into())?;
        let mut connections = Vec::with_capacity(load.connections);
        for at in 0..load.connections {
            let mut connection = Connection::open(load, load.request(at))?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&epoll, &connection.socket, data, epoll::EventFlags::IN)
                .context(|| "the load cannot poll".into())?;
            connection.ask()?;
            connections.push(connection);
        }
        Ok(Self {
            load,
            epoll,
            connections,
            buffer: vec![0; load.discard.max(HEAD)],
            count: Count::new(),
            heard: Instant::now(),
        })
    }

    /// Receives and sends requests for `time`, or until `stop` returns true. It gets the counts
    /// after each turn.
    fn drive(&mut self, time: Duration, stop: impl Fn(&Count) -> bool) -> Result<()> {
        let started = Instant::now();
        let mut events = Vec::with_capacity(self.connections.len());
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&LOOK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context(|| "the load cannot poll".into()),
            }
            let now = Instant::now();
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            if now.duration_since(started) >= time || stop(&self.count) {
                return Ok(());
            }
            if !events.is_empty() {
                self.heard = now;
            } else if now.duration_since(self.heard) > PATIENCE {
                return Err(Error::new("the server stands still"));
            }
            for event in events.drain(..) {
                self.receive(event.data.u64() as usize)?;
            }
        }
    }

    /// Records the age of the responses that are still awaited. Otherwise a server that has stalled
    /// would look like one without latency.
    fn count_awaited(&mut self) {
        for connection in &self.connections {
            self.count.latencies.record(connection.asked.elapsed());
        }
    }

    /// Reads what one connection has, and sends the next request when the response is complete.
    fn receive(&mut self, at: usize) -> Result<()> {
        let (connection, body) = (&mut self.connections[at], self.load.body);
        let before = connection.left.unwrap_or(body);
        if connection.records.is_some() {
            connection.receive_records(body)?;
        } else {
            connection.receive(&mut self.buffer, body)?;
        }
        self.count.bytes += before - connection.left.unwrap_or(body);
        if connection.left == Some(0) {
            self.count.requests += 1;
            let latency = connection.asked.elapsed();
            self.count.latencies.record(latency);
            connection.ask()?;
        }
        Ok(())
    }
}

impl Connection {
    fn open(load: &Load, request: String) -> Result<Self> {
        let failed = || format!("the load cannot connect to {}", load.addr);
        let socket = TcpStream::connect(load.addr).context(failed)?;
        socket.set_nodelay(true).context(failed)?;
        socket.set_read_timeout(Some(PATIENCE)).context(failed)?;
        let records = load.tls.as_ref().map(|tls| tls.records(&socket));
        let records = records.transpose()?;
        socket.set_nonblocking(true).context(failed)?;
        Ok(Self {
            socket,
            request,
            head: Vec::new(),
            left: None,
            asked: Instant::now(),
            records,
        })
    }

    fn ask(&mut self) -> Result<()> {
        self.left = None;
        self.asked = Instant::now();
        // Nothing is under way on this connection: its buffer has room for so little.
        if let Some(records) = &mut self.records {
            return records.send(&self.socket, self.request.as_bytes());
        }
        (&self.socket)
            .write_all(self.request.as_bytes())
            .context(|| "the load cannot ask".into())
    }

    /// Takes what is there of a response.
    fn receive(&mut self, buffer: &mut [u8], body: u64) -> Result<()> {
        let (left, more) = match self.left {
            Some(left) => (left, true),
            None => match self.receive_head(buffer, body)? {
                Some((left, more)) => (left, more),
                None => return Ok(()),
            },
        };
        self.left = Some(if more && left > 0 {
            self.discard(buffer, left)?
        } else {
            left
        });
        Ok(())
    }

    /// The same of records, whose bytes are opened before they are counted.
    fn receive_records(&mut self, body: u64) -> Result<()> {
        let (head, left) = (&mut self.head, &mut self.left);
        let Some(records) = &mut self.records else {
            return Ok(());
        };
        records.receive(&self.socket, |bytes| {
            let mut got = bytes.len();
            if left.is_none() {
                head.extend_from_slice(bytes);
                let Some(parsed) = response::parse(head)? else {
                    return at_most(HEAD, head.len());
                };
                expect(body, parsed.body)?;
                got = head.len() - parsed.len;
                head.clear();
            }
            *left = Some(rest(left.unwrap_or(body), got)?);
            Ok(())
        })
    }

    /// Once the head is whole: what is missing of the body, and whether more may be there already.
    fn receive_head(&mut self, buffer: &mut [u8], body: u64) -> Result<Option<(u64, bool)>> {
        let kept = self.head.len();
        at_most(HEAD - 1, kept)?;
        buffer[..kept].copy_from_slice(&self.head);
        let got = receive(&self.socket, &mut buffer[kept..HEAD], RecvFlags::empty())?;
        let bytes = &buffer[..kept + got];
        let Some(head) = response::parse(bytes)? else {
            self.head = bytes.to_vec();
            return Ok(None);
        };
        self.head.clear();
        expect(body, head.body)?;
        let left = rest(body, bytes.len() - head.len)?;
        Ok(Some((left, bytes.len() == HEAD)))
    }

    /// Discards what has arrived of the body, and returns how much is still missing.
    fn discard(&self, buffer: &mut [u8], mut left: u64) -> Result<u64> {
        loop {
            let ask = left.min(buffer.len() as u64) as usize;
            let got = receive(&self.socket, &mut buffer[..ask], RecvFlags::TRUNC)?;
            left -= got as u64;
            if left == 0 || got < ask {
                return Ok(left);
            }
        }
    }
}

fn at_most(most: usize, got: usize) -> Result<()> {
    if got > most {
        return Err(Error::new(format!("a response head of over {HEAD} bytes")));
    }
    Ok(())
}

/// Whether a body is as long as it should be.
fn expect(body: u64, got: u64) -> Result<()> {
    if got != body {
        return Err(Error::new(format!("Content-Length {got}, not {body}")));
    }
    Ok(())
}

/// What is missing of a body after so many bytes of it.
fn rest(left: u64, got: usize) -> Result<u64> {
    let rest = left.checked_sub(got as u64);
    rest.ok_or_else(|| Error::new("more bytes than the Content-Length says"))
}

/// Bytes that were there; 0 for none at the moment.
fn receive(socket: &TcpStream, buffer: &mut [u8], flags: RecvFlags) -> Result<usize> {
    match recv(socket, buffer, flags) {
        Ok((_, 0)) => Err(Error::new("the server closed a connection")),
        Ok((_, got)) => Ok(got),
        Err(Errno::AGAIN | Errno::INTR) => Ok(0),
        Err(errno) => Err(errno).context(|| "the load cannot receive".into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;

    /// Answers each request on one connection with these pieces, each in a packet of its own.
    fn server(pieces: &'static [&'static str]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            socket.set_nodelay(true).unwrap();
            while socket.read(&mut [0; 4096]).is_ok_and(|got| got > 0) {
                for piece in pieces {
                    std::thread::sleep(Duration::from_millis(2));
                    if socket.write_all(piece.as_bytes()).is_err() {
                        return;
                    }
                }
            }
        });
        addr
    }

    fn run(addr: SocketAddr, body: u64) -> Result<Window> {
        let (warmup, window) = (Duration::from_millis(20), Duration::from_millis(200));
        Load::new(addr, "x", body, 1).run(warmup, window, &|| Ok(Duration::ZERO))
    }

    #[test]
    fn counts_whole_responses_however_they_are_cut() {
        let addr = server(&[
            "HTTP/1.1 200 OK\r\nConte",
            "nt-Length: 6\r\n\r\nab",
            "cd",
            "ef",
        ]);
        let window = run(addr, 6).unwrap();
        assert!(window.requests >= 2, "{window:?}");
        assert!(
            window.bytes.abs_diff(6 * window.requests) <= 6,
            "{window:?}"
        );
        assert!(window.p50_us >= 8_000.0, "{window:?}");
    }

    #[test]
    fn a_wrong_length_a_wrong_status_and_bytes_too_many_are_errors() {
        let says = |addr, body| run(addr, body).unwrap_err().to_string();
        let short = server(&["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"]);
        assert_eq!(says(short, 7), "Content-Length 6, not 7");
        let more = server(&["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdefg"]);
        assert_eq!(says(more, 6), "more bytes than the Content-Length says");
        let refused = server(&["HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n"]);
        assert_eq!(
            says(refused, 0),
            "the server answered \"HTTP/1.1 503 Later\""
        );
    }

    #[test]
    fn a_server_that_stands_still_has_the_latency_of_its_standing_still() {
        let window = run(server(&[]), 6).unwrap();
        assert_eq!((window.requests, window.bytes), (0, 0));
        assert!(window.p99_us >= 200_000.0, "{window:?}");
        assert!(window.some_arrived().is_err());
    }

    #[test]
    fn large_bodies_are_discarded_to_the_byte() {
        let dir = tempfile::tempdir().unwrap();
        let file = crate::testfile::make(dir.path(), "x", (3 << 20) + 5).unwrap();
        let addr = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap();
        std::thread::spawn(move || super::super::bare::serve(file.parent().unwrap(), addr));
        while TcpStream::connect(addr).is_err() {}
        let window = run(addr, (3 << 20) + 5).unwrap();
        assert!(window.requests > 0 && window.bytes > 3 << 20, "{window:?}");
    }

    fn run_over_tls(body: usize, spoil: impl FnMut(&mut [u8]) + Send + 'static) -> Result<Window> {
        let tls = Arc::new(Tls::new().unwrap());
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n").into_bytes();
        answer.resize(answer.len() + body, b'b');
        let addr = tls::tests::server(&tls, answer, spoil);
        let (warmup, window) = (Duration::from_millis(20), Duration::from_millis(200));
        let load = Load::new(addr, "x", body as u64, 1).over(Some(&tls));
        load.run(warmup, window, &|| Ok(Duration::ZERO))
    }

    #[test]
    fn records_are_opened_and_counted_to_the_byte() {
        for body in [1, (3 << 20) + 5] {
            let window = run_over_tls(body, |_| {}).unwrap();
            assert!(window.requests > 1, "{window:?}");
            let (bytes, whole) = (window.bytes, body as u64 * window.requests);
            assert!(bytes.abs_diff(whole) <= body as u64, "{window:?}");
        }
    }

    #[test]
    fn one_changed_bit_of_a_record_is_an_error() {
        let mut sent = 0;
        let spoil = move |bytes: &mut [u8]| {
            sent += bytes.len();
            if sent > 1 << 20 {
                bytes[bytes.len() - 20] ^= 1;
            }
        };
        let error = run_over_tls(3 << 20, spoil).unwrap_err().to_string();
        assert_eq!(error, "a record that cannot be opened");
    }
}
