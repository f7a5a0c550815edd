//! A proxy between the nodes and their store. It counts what is asked for, and can be made slow.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    requests: Mutex<BTreeMap<String, Asked>>,
}

/// What passed since the meter was started.
#[derive(Debug, Clone, Default)]
pub(super) struct Passed {
    pub(super) bytes: u64,
    /// By method, path and range.
    pub(super) requests: BTreeMap<String, Asked>,
}

/// How often something was asked for, and the bytes of bodies that came for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Asked {
    pub(super) count: u64,
    pub(super) bodies: u64,
}

impl Passed {
    /// All requests that begin like this.
    pub(super) fn asked(&self, begin: &str) -> Asked {
        let those = self
            .requests
            .iter()
            .filter(|(line, _)| line.starts_with(begin));
        those.fold(Asked::default(), |sum, (_, one)| Asked {
            count: sum.count + one.count,
            bodies: sum.bodies + one.bodies,
        })
    }
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
        Passed {
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            requests: self.shared.requests().clone(),
        }
    }

    pub(super) fn forget(&self) {
        self.shared.requests().clear();
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
        let open = Arc::<Open>::default();
        let (shared, both) = (Arc::clone(self), Arc::clone(&open));
        std::thread::spawn(move || shared.ask(from, to, &both));
        let shared = Arc::clone(self);
        std::thread::spawn(move || shared.answer(answers, back, &open));
    }

    fn requests(&self) -> MutexGuard<'_, BTreeMap<String, Asked>> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes requests on and notes them.
    fn ask(&self, mut from: TcpStream, mut to: TcpStream, open: &Open) {
        let mut messages = Messages::default();
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            for part in messages.more(&buffer[..count], request) {
                if let Part::Head(line) = part {
                    self.requests().entry(line.clone()).or_default().count += 1;
                    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
                    open.push_back(line);
                }
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    fn answer(&self, mut from: TcpStream, mut to: TcpStream, open: &Open) {
        let mut messages = Messages::default();
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            self.bytes.fetch_add(count as u64, Ordering::Relaxed);
            for part in messages.more(&buffer[..count], |head| answer(head, open)) {
                if let Part::Body(line, count) = part {
                    self.requests().entry(line).or_default().bodies += count;
                }
            }
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

/// The requests of a connection that have no answer yet.
type Open = Mutex<VecDeque<String>>;

/// A part of a message, with the line of its request.
#[derive(Debug, PartialEq, Eq)]
enum Part {
    Head(String),
    /// So many bytes of its body.
    Body(String, u64),
}

/// Takes a stream of requests or answers apart.
#[derive(Default)]
struct Messages {
    /// Of a head that is not complete.
    got: Vec<u8>,
    /// Whose body comes now, and how much of it is still to come.
    line: String,
    left: u64,
}

impl Messages {
    /// Takes more of the stream. `parse` gets each head that is complete, and returns the line of
    /// its request and the length of its body.
    fn more(&mut self, mut bytes: &[u8], parse: impl Fn(&str) -> (String, u64)) -> Vec<Part> {
        let mut parts = Vec::new();
        while !bytes.is_empty() {
            let body = self.left.min(bytes.len() as u64);
            if body > 0 {
                self.left -= body;
                bytes = &bytes[body as usize..];
                parts.push(Part::Body(self.line.clone(), body));
            }
            let known = self.got.len();
            self.got.extend_from_slice(bytes);
            let Some(end) = memchr::memmem::find(&self.got, b"\r\n\r\n") else {
                break;
            };
            let end = end + 4;
            bytes = &bytes[end - known..];
            (self.line, self.left) = parse(&String::from_utf8_lossy(&self.got[..end]));
            self.got.clear();
            parts.push(Part::Head(self.line.clone()));
        }
        parts
    }
}

/// Method, path and range of a request, and the length of its body.
fn request(head: &str) -> (String, u64) {
    let line = head.lines().next().unwrap_or_default();
    let line = line.rsplit_once(' ').map_or(line, |(line, _)| line);
    let line = match field(head, "range") {
        Some(range) => format!("{line} {range}"),
        None => line.to_owned(),
    };
    (line, length(head).unwrap_or(0))
}

/// The request that this answers, and the length of the body: all that is still to come on the
/// connection, if the head does not say.
fn answer(head: &str, open: &Open) -> (String, u64) {
    let status = head.split(' ').nth(1).unwrap_or_default();
    if status.starts_with('1') {
        return (String::new(), 0);
    }
    let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
    let line = open.pop_front().unwrap_or_default();
    let is_empty = line.starts_with("HEAD ") || ["204", "304"].contains(&status);
    let length = if is_empty { Some(0) } else { length(head) };
    (line, length.unwrap_or(u64::MAX))
}

fn length(head: &str) -> Option<u64> {
    field(head, "content-length")?.parse().ok()
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let found = fields.find(|(it, _)| it.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
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
        let lines = |parts: Vec<Part>| {
            let lines = parts.into_iter().filter_map(|part| match part {
                Part::Head(line) => Some(line),
                Part::Body(..) => None,
            });
            lines.collect::<Vec<_>>()
        };
        for cut in 1..text.len() {
            let mut messages = Messages::default();
            let mut parts = messages.more(&text[..cut], request);
            parts.extend(messages.more(&text[cut..], request));
            assert_eq!(lines(parts), expected, "{cut}");
        }
        let mut messages = Messages::default();
        let parts = text
            .iter()
            .flat_map(|byte| messages.more(&[*byte], request));
        assert_eq!(lines(parts.collect()), expected);
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
        let asked = |begin| {
            let asked = meter.passed().asked(begin);
            (asked.count, asked.bodies)
        };
        assert_eq!(asked("GET /b/x bytes=0-2"), (2, 6));
        assert_eq!((asked("GET "), asked("HEAD ")), ((2, 6), (0, 0)));
        meter.forget();
        assert_eq!(asked(""), (0, 0));
    }

    #[test]
    fn bodies_are_of_the_requests_that_they_answer() {
        let lines = ["HEAD /x", "GET /a", "GET /b", "GET /c", "GET /d"];
        let open = Open::new(lines.map(str::to_owned).into());
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n\
                     HTTP/1.1 206 Partial Content\r\ncontent-length: 3\r\n\r\nabc\
                     HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n\
                     HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde\
                     HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n\r\n";
        let mut parts = Messages::default().more(text, |head| answer(head, &open));
        parts.retain(|part| matches!(part, Part::Body(..)));
        let body = |line: &str, count| Part::Body(line.to_owned(), count);
        let expected = [body("GET /a", 3), body("GET /c", 5), body("GET /d", 8)];
        assert_eq!(parts, expected);
    }
}
