//! A bare loop as an HTTP server for many connections: one thread on epoll that has prepared the
//! response for each file. A small body is sent with its head by one call from memory. A large one
//! follows its head by `sendfile(2)`, in turns that the connections take in round robin.
//!
//! The length of a turn, how often the loop looks for events, and the socket options can be chosen.
//! So it shows what each of them costs, without the rest of a server.

use std::collections::{HashMap, VecDeque};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;

use clap::Args;
use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send, sockopt};

use super::bare::target;
use crate::error::{Context, Result};
use crate::sendfile::SENDFILE_MAX;
use crate::{size, sys};

/// Up to this size a copy costs less than a second call. underpass and nginx's documentation have a
/// similar limit.
const SMALL: u64 = 16 << 10;
const LISTENER: u64 = u64::MAX;

/// How large files are sent.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Tuning {
    /// Bytes of one sendfile(2), which is a turn; without it, a turn goes on until the socket is
    /// full
    #[arg(long, value_parser = size::parse)]
    turn: Option<u64>,
    /// Turns between two looks at epoll
    #[arg(long, default_value_t = 64)]
    turns_a_look: usize,
    /// Set TCP_CORK around a large file
    #[arg(long)]
    cork: bool,
    /// Leave Nagle's algorithm on
    #[arg(long)]
    nagle: bool,
    /// Report a socket as writable only while it holds less than this many unsent bytes
    #[arg(long, value_parser = size::parse)]
    notsent_lowat: Option<u64>,
}

/// Serves until it is killed.
pub(crate) fn serve(dir: &Path, addr: SocketAddr, tuning: Tuning) -> Result<()> {
    let listener = TcpListener::bind(addr).context(|| format!("cannot listen on {addr}"))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context(|| "cannot poll".into())?;
    watch(&epoll, &listener, LISTENER, EventFlags::IN)?;
    let answers = answers(dir)?;
    let mut open: HashMap<u64, Connection> = HashMap::new();
    let mut events = Vec::with_capacity(64);
    // The connections that have something to do; the one that has waited longest is first.
    let mut ready: VecDeque<u64> = VecDeque::new();
    loop {
        let at_once = Timespec::default();
        let wait = (!ready.is_empty()).then_some(&at_once);
        match epoll::wait(&epoll, spare_capacity(&mut events), wait) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "cannot poll".into()),
        }
        for event in events.drain(..) {
            let at = event.data.u64();
            if at == LISTENER {
                let (socket, _) = listener.accept().context(|| "cannot accept".into())?;
                let connection = Connection::new(socket, tuning)?;
                let at = connection.socket.as_raw_fd() as u64;
                let edge = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                watch(&epoll, &connection.socket, at, edge)?;
                open.insert(at, connection);
            } else if let Some(connection) = open.get_mut(&at)
                && !std::mem::replace(&mut connection.is_ready, true)
            {
                ready.push_back(at);
            }
        }
        for _ in 0..tuning.turns_a_look.min(ready.len()) {
            let Some(at) = ready.pop_front() else { break };
            let Some(connection) = open.get_mut(&at) else {
                continue;
            };
            match connection.take_turn(&answers, tuning) {
                Ok(Turn::Over) => ready.push_back(at),
                Ok(Turn::Blocked) => connection.is_ready = false,
                // A connection that breaks off is closed.
                Ok(Turn::Closed) | Err(_) => drop(open.remove(&at)),
            }
        }
    }
}

fn watch(epoll: &OwnedFd, fd: impl rustix::fd::AsFd, at: u64, flags: EventFlags) -> Result<()> {
    epoll::add(epoll, fd, EventData::new_u64(at), flags).context(|| "cannot poll".into())
}

/// The head, with the body if that is small; otherwise the file.
struct Answer {
    bytes: Vec<u8>,
    file: Option<(File, u64)>,
}

/// One response for each file of the directory.
fn answers(dir: &Path) -> Result<HashMap<String, Answer>> {
    let answer = |path: &Path| -> std::io::Result<Answer> {
        let length = fs::metadata(path)?.len();
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        if length <= SMALL {
            bytes.extend(fs::read(path)?);
            return Ok(Answer { bytes, file: None });
        }
        let file = Some((File::open(path)?, length));
        Ok(Answer { bytes, file })
    };
    let context = || format!("cannot read {}", dir.display());
    let mut answers = HashMap::new();
    for entry in fs::read_dir(dir).context(context)? {
        let entry = entry.context(context)?;
        if entry.path().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            answers.insert(name, answer(&entry.path()).context(context)?);
        }
    }
    Ok(answers)
}

struct Connection {
    socket: TcpStream,
    request: Vec<u8>,
    /// The file that is being sent, and how much of it was sent.
    sending: Option<(String, u64)>,
    /// Whether the connection waits for its turn.
    is_ready: bool,
}

/// How a turn ended.
enum Turn {
    /// There is more to do.
    Over,
    /// epoll is edge-triggered: it says when there is more to do.
    Blocked,
    Closed,
}

impl Connection {
    fn new(socket: TcpStream, tuning: Tuning) -> Result<Self> {
        socket
            .set_nodelay(!tuning.nagle)
            .and_then(|()| socket.set_nonblocking(true))
            .context(|| "cannot set up a connection".into())?;
        if let Some(bytes) = tuning.notsent_lowat {
            sys::set_notsent_lowat(&socket, bytes as u32)
                .context(|| "cannot set TCP_NOTSENT_LOWAT".into())?;
        }
        Ok(Self {
            socket,
            request: Vec::new(),
            sending: None,
            is_ready: false,
        })
    }

    /// Sends one turn of the current file, or answers the next request.
    fn take_turn(
        &mut self,
        answers: &HashMap<String, Answer>,
        tuning: Tuning,
    ) -> std::io::Result<Turn> {
        if self.sending.is_none() {
            let turn = self.answer(answers, tuning)?;
            // The file is sent right behind its head.
            if self.sending.is_none() {
                return Ok(turn);
            }
        }
        self.send_file(answers, tuning)
    }

    fn answer(
        &mut self,
        answers: &HashMap<String, Answer>,
        tuning: Tuning,
    ) -> std::io::Result<Turn> {
        let mut buffer = [0; 4096];
        let got = match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
            Ok((_, 0)) => return Ok(Turn::Closed),
            Ok((_, got)) => got,
            Err(Errno::AGAIN) => return Ok(Turn::Blocked),
            Err(errno) => return Err(errno.into()),
        };
        self.request.extend_from_slice(&buffer[..got]);
        // The load never pipelines: the end of a head is the end of what was sent.
        if memmem::find(&self.request, b"\r\n\r\n").is_none() {
            return Ok(Turn::Over);
        }
        let name = target(&self.request)
            .map_err(std::io::Error::other)?
            .to_owned();
        self.request.clear();
        let answer = answers.get(&name).ok_or(ErrorKind::NotFound)?;
        let mut flags = SendFlags::empty();
        flags.set(SendFlags::MORE, answer.file.is_some());
        if answer.file.is_some() && tuning.cork {
            sockopt::set_tcp_cork(&self.socket, true)?;
        }
        // Nothing else is being sent on this connection, so its buffer has room for so little.
        if send(&self.socket, &answer.bytes, flags)? != answer.bytes.len() {
            return Err(ErrorKind::WriteZero.into());
        }
        self.sending = answer.file.is_some().then_some((name, 0));
        // If the buffer was not filled, it has everything that had arrived; epoll reports what
        // comes later.
        Ok(if got < buffer.len() {
            Turn::Blocked
        } else {
            Turn::Over
        })
    }

    fn send_file(
        &mut self,
        answers: &HashMap<String, Answer>,
        tuning: Tuning,
    ) -> std::io::Result<Turn> {
        let Some((name, sent)) = &mut self.sending else {
            return Ok(Turn::Over);
        };
        let file = answers.get(name).and_then(|answer| answer.file.as_ref());
        let (file, length) = file.ok_or(ErrorKind::NotFound)?;
        while *sent < *length {
            let most = tuning.turn.unwrap_or(SENDFILE_MAX as u64);
            let ask = (*length - *sent).min(most) as usize;
            match sendfile(&self.socket, file, Some(sent), ask) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) if tuning.turn.is_some() && *sent < *length => return Ok(Turn::Over),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Turn::Blocked),
                Err(errno) => return Err(errno.into()),
            }
        }
        if tuning.cork {
            sockopt::set_tcp_cork(&self.socket, false)?;
        }
        self.sending = None;
        Ok(Turn::Over)
    }
}
