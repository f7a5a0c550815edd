//! A bare loop as an HTTP server for many connections: one thread on epoll that knows the request and the file before it is
//! asked. Small bodies go with their head in one call from memory; large ones by `sendfile(2)` behind it, until the socket is
//! full.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use super::bare::target;
use crate::child::SENDFILE_MAX;
use crate::error::{Context, Result};

/// Up to here a copy costs less than a second call: where underpass and nginx's documentation put it, too.
const SMALL: u64 = 16 << 10;
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed.
pub(crate) fn serve(dir: &Path, addr: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(addr).context(|| format!("cannot listen on {addr}"))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context(|| "cannot poll".into())?;
    watch(&epoll, &listener, LISTENER, EventFlags::IN)?;
    let answers = answers(dir)?;
    let mut open: HashMap<u64, Connection> = HashMap::new();
    let mut events = Vec::with_capacity(64);
    loop {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| "cannot poll".into()),
        }
        for event in events.drain(..) {
            let at = event.data.u64();
            if at == LISTENER {
                let (socket, _) = listener.accept().context(|| "cannot accept".into())?;
                let connection = Connection::new(socket)?;
                let at = connection.socket.as_raw_fd() as u64;
                let edge = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
                watch(&epoll, &connection.socket, at, edge)?;
                open.insert(at, connection);
            } else if let Some(connection) = open.get_mut(&at) {
                // Whoever breaks off is done with.
                if !matches!(connection.go_on(&answers), Ok(true)) {
                    open.remove(&at);
                }
            }
        }
    }
}

fn watch(epoll: &OwnedFd, fd: impl rustix::fd::AsFd, at: u64, flags: EventFlags) -> Result<()> {
    epoll::add(epoll, fd, EventData::new_u64(at), flags).context(|| "cannot poll".into())
}

/// Head, and with it the body if it is small; or else the file.
struct Answer {
    bytes: Vec<u8>,
    file: Option<(File, u64)>,
}

/// One for each file of the directory.
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
    /// The file under way and how much of it has gone.
    sending: Option<(String, u64)>,
}

impl Connection {
    fn new(socket: TcpStream) -> Result<Self> {
        socket
            .set_nodelay(true)
            .and_then(|()| socket.set_nonblocking(true))
            .context(|| "cannot set up a connection".into())?;
        Ok(Self {
            socket,
            request: Vec::new(),
            sending: None,
        })
    }

    /// Until the socket blocks; whether it is still open.
    fn go_on(&mut self, answers: &HashMap<String, Answer>) -> std::io::Result<bool> {
        let mut buffer = [0; 4096];
        loop {
            if !self.send_file(answers)? {
                return Ok(true);
            }
            let got = match recv(&self.socket, &mut buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(false),
                Ok((_, got)) => got,
                Err(Errno::AGAIN) => return Ok(true),
                Err(errno) => return Err(errno.into()),
            };
            self.request.extend_from_slice(&buffer[..got]);
            // The load never asks ahead: a head's end is the end of what was sent.
            if memmem::find(&self.request, b"\r\n\r\n").is_some() {
                let name = target(&self.request)
                    .map_err(std::io::Error::other)?
                    .to_owned();
                self.request.clear();
                let answer = answers.get(&name).ok_or(ErrorKind::NotFound)?;
                let more = if answer.file.is_some() {
                    SendFlags::MORE
                } else {
                    SendFlags::empty()
                };
                // Nothing is under way on this connection: its buffer has room for so little.
                if send(&self.socket, &answer.bytes, more)? != answer.bytes.len() {
                    return Err(ErrorKind::WriteZero.into());
                }
                self.sending = answer.file.is_some().then_some((name, 0));
                if self.sending.is_none() && got < buffer.len() {
                    // Edge-triggered: what comes later is told.
                    return Ok(true);
                }
            }
        }
    }

    /// Whether nothing is left of it.
    fn send_file(&mut self, answers: &HashMap<String, Answer>) -> std::io::Result<bool> {
        let Some((name, sent)) = &mut self.sending else {
            return Ok(true);
        };
        let file = answers.get(name).and_then(|answer| answer.file.as_ref());
        let (file, length) = file.ok_or(ErrorKind::NotFound)?;
        while *sent < *length {
            let ask = (*length - *sent).min(SENDFILE_MAX as u64) as usize;
            match sendfile(&self.socket, file, Some(sent), ask) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        self.sending = None;
        Ok(true)
    }
}
