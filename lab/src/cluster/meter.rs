//! A proxy between the nodes and their store. It counts what is asked for, and can be made slow.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::error::{Context, Result};

/// How much is passed on at a time.
const PIECE: usize = 64 << 10;

/// It ends when it is dropped.
pub(super) struct Meter {
    pub(super) addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    ended: AtomicBool,
    /// Bytes a second for all connections together; 0 is without a limit.
    rate: AtomicU64,
    /// Whoever sends holds this while it waits, so that the rate is of all connections.
    turn: Mutex<()>,
    bytes: AtomicU64,
    requests: Mutex<BTreeMap<String, u64>>,
}

/// What passed since the meter was started.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed {
    pub(super) bytes: u64,
    pub(super) requests: u64,
}

impl Meter {
    /// Passes connections on to `store`.
    pub(super) fn start(store: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context(|| "cannot listen".into())?;
        let addr = listener.local_addr().context(|| "cannot listen".into())?;
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if theirs.ended.load(Ordering::Relaxed) {
                    return;
                }
                // Without a store, the client's connection is closed.
                if let Ok(store) = TcpStream::connect(store) {
                    theirs.join(&client, &store);
                }
            }
        });
        Ok(Self { addr, shared })
    }

    /// From now on, answers come at no more than this many bytes a second; 0 is without a limit.
    pub(super) fn limit(&self, rate: u64) {
        self.shared.rate.store(rate, Ordering::Relaxed);
    }

    pub(super) fn passed(&self) -> Passed {
        let requests = self.requests();
        Passed {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            requests: requests.values().sum(),
        }
    }

    /// How often each was asked for: method, path and range.
    pub(super) fn requests(&self) -> BTreeMap<String, u64> {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn forget(&self) {
        let requests = self.shared.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clear();
        self.shared.bytes.store(0, Ordering::Relaxed);
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // So that the listening thread sees it.
        let _ = TcpStream::connect(self.addr);
    }
}

impl Shared {
    fn join(self: &Arc<Self>, client: &TcpStream, store: &TcpStream) {
        let pair = || Some((client.try_clone().ok()?, store.try_clone().ok()?));
        let (Some((from, to)), Some((back, answers))) = (pair(), pair()) else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = store.set_nodelay(true);
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.ask(from, to));
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.answer(answers, back));
    }

    /// Passes requests on and notes them.
    fn ask(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut heads = Heads::default();
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            for line in heads.more(&buffer[..count]) {
                let requests = self.requests.lock();
                let mut requests = requests.unwrap_or_else(PoisonError::into_inner);
                *requests.entry(line).or_default() += 1;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn answer(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
            let rate = self.rate.load(Ordering::Relaxed);
            if rate > 0 {
                let _turn = self.turn.lock();
                std::thread::sleep(Duration::from_secs_f64(count as f64 / rate as f64));
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
    }
}

/// Finds the heads in a stream of requests.
#[derive(Default)]
struct Heads {
    got: Vec<u8>,
    /// Bytes of a body that are still to come.
    skip: u64,
}

impl Heads {
    /// Takes more of the stream. Returns method, path and range of each request that is complete.
    fn more(&mut self, mut bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let skipped = self.skip.min(bytes.len() as u64);
            self.skip -= skipped;
            bytes = &bytes[skipped as usize..];
            if bytes.is_empty() && self.skip > 0 {
                return lines;
            }
            self.got.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.got, b"\r\n\r\n") else {
                return lines;
            };
            let rest = self.got.split_off(end + 4);
            let head = String::from_utf8_lossy(&self.got).into_owned();
            self.got.clear();
            let (line, length) = parse(&head);
            lines.push(line);
            self.skip = length;
            let skipped = self.skip.min(rest.len() as u64);
            self.skip -= skipped;
            self.got = rest[skipped as usize..].to_vec();
            bytes = &[];
            if self.got.is_empty() {
                return lines;
            }
        }
    }
}

fn parse(head: &str) -> (String, u64) {
    let field = |name: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(':'));
        let found = fields.find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim().to_owned())
    };
    let line = head.lines().next().unwrap_or_default();
    let line = line.rsplit_once(' ').map_or(line, |(line, _)| line);
    let line = match field("range") {
        Some(range) => format!("{line} {range}"),
        None => line.to_owned(),
    };
    let length = field("content-length").and_then(|it| it.parse().ok());
    (line, length.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::super::client;
    use super::*;

    #[test]
    fn requests_are_found_wherever_the_stream_is_cut() {
        let text = b"PUT /b/x HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcdeGET /b/x HTTP/1.1\r\n\
                     Range: bytes=0-9\r\n\r\nGET /b/y HTTP/1.1\r\n\r\n";
        let expected = ["PUT /b/x", "GET /b/x bytes=0-9", "GET /b/y"];
        for cut in 1..text.len() {
            let mut heads = Heads::default();
            let mut lines = heads.more(&text[..cut]);
            lines.extend(heads.more(&text[cut..]));
            assert_eq!(lines, expected, "{cut}");
        }
        let mut heads = Heads::default();
        let bytes = text.iter().flat_map(|byte| heads.more(&[*byte]));
        assert_eq!(bytes.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn what_passes_is_counted() {
        let store = TcpListener::bind("127.0.0.1:0").unwrap();
        let meter = Meter::start(store.local_addr().unwrap()).unwrap();
        std::thread::spawn(move || {
            for mut stream in store.incoming().flatten() {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
            }
        });
        for _ in 0..2 {
            let answer = client::get(meter.addr, "/b/x", Some((0, 2))).unwrap();
            assert_eq!(answer.body, b"abc");
        }
        assert_eq!(meter.requests()["GET /b/x bytes=0-2"], 2);
        assert_eq!(meter.passed().requests, 2);
        meter.forget();
        assert_eq!(meter.passed().requests, 0);
    }
}
