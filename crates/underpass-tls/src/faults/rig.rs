//! A connection with TLS, of which one end is ours and the other one the peer's.

use std::io::{self, IoSlice};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use underpass::Layer;

use crate::{ClientConfig, Handshake, Identity, Mode, Progress, ServerConfig, Session};

static IDENTITY: LazyLock<Identity> =
    LazyLock::new(|| Identity::self_signed(["localhost"]).unwrap());

/// For whatever may block.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which end of the handshake is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Server,
    Client,
}

/// Our end, and the peer.
pub(super) struct Link {
    pub(super) socket: TcpStream,
    pub(super) session: Arc<Session>,
    pub(super) peer: Peer,
}

/// The other end, whose records are always sealed in this process. Without a session it has no TLS.
pub(super) struct Peer {
    socket: TcpStream,
    session: Option<Session>,
    pub(super) got: Vec<u8>,
    /// How its stream ended.
    pub(super) ended: Option<io::Result<()>>,
    unsent: Vec<u8>,
    sent: usize,
    has_closed: bool,
}

/// What a receipt says of, in the order in which it is sent.
pub(super) fn content(length: usize) -> Vec<u8> {
    underpass_testing::bytes(44, length)
}

/// Two ends that do not block.
pub(super) fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let other = listener.accept().unwrap().0;
    for socket in [&one, &other] {
        socket.set_nonblocking(true).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
    (one, other)
}

/// Handshakes that begin on these sockets, ours and the peer's.
pub(super) fn handshakes(role: Role, ours: &TcpStream, peer: &TcpStream) -> [Handshake; 2] {
    let is_ours = |wanted| wanted == role;
    let server = ServerConfig::new([IDENTITY.clone()]).unwrap();
    let client = ClientConfig::pinned(IDENTITY.fingerprint()).unwrap();
    let server = server.ktls(is_ours(Role::Server));
    let client = client.ktls(is_ours(Role::Client));
    match role {
        Role::Server => [
            Handshake::server(&server, ours.as_fd()).unwrap(),
            Handshake::client(&client, "localhost", peer.as_fd()).unwrap(),
        ],
        Role::Client => [
            Handshake::client(&client, "localhost", ours.as_fd()).unwrap(),
            Handshake::server(&server, peer.as_fd()).unwrap(),
        ],
    }
}

impl Link {
    pub(super) fn new(role: Role) -> Self {
        let (ours, other) = sockets();
        let [mut near, mut far] = handshakes(role, &ours, &other);
        let (mut session, mut peer) = (None, None);
        while session.is_none() || peer.is_none() {
            for (handshake, socket, done) in [
                (&mut near, &ours, &mut session),
                (&mut far, &other, &mut peer),
            ] {
                if done.is_none()
                    && let Progress::Done(it) = handshake.step(socket.as_fd()).unwrap()
                {
                    *done = Some(it);
                }
            }
        }
        let session = Arc::new(session.unwrap());
        let required = std::env::var("UNDERPASS_TESTS_KERNEL_TLS").is_ok_and(|it| it == "1");
        assert!(is_in_kernel(&session) || !required, "{}", session.info());
        Self {
            socket: ours,
            session,
            peer: Peer::new(other, peer),
        }
    }

    pub(super) fn layer(&self) -> Arc<dyn Layer> {
        Arc::clone(&self.session) as Arc<dyn Layer>
    }
}

pub(super) fn is_in_kernel(session: &Session) -> bool {
    session.info().mode == Mode::Kernel
}

impl Peer {
    pub(super) fn new(socket: TcpStream, session: Option<Session>) -> Self {
        Self {
            socket,
            session,
            got: Vec::new(),
            ended: None,
            unsent: Vec::new(),
            sent: 0,
            has_closed: false,
        }
    }

    /// Sends this, and then the end.
    pub(super) fn sending(mut self, content: Vec<u8>) -> Self {
        self.unsent = content;
        self
    }

    /// Does what it can without waiting.
    pub(super) fn step(&mut self) {
        self.push();
        self.drain();
    }

    /// Takes all that is still to come, when nothing more is sent to it.
    pub(super) fn finish(&mut self) {
        self.socket.set_nonblocking(false).unwrap();
        self.drain();
        assert!(self.ended.is_some());
    }

    fn drain(&mut self) {
        let mut part = [0; 16 << 10];
        while self.ended.is_none() {
            match self.receive(&mut part) {
                Ok(0) => self.ended = Some(Ok(())),
                Ok(count) => self.got.extend_from_slice(&part[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.ended = Some(Err(error)),
            }
        }
    }

    fn receive(&self, out: &mut [u8]) -> io::Result<usize> {
        let socket = self.socket.as_fd();
        match &self.session {
            Some(session) => session.receive(socket, out),
            None => Ok(rustix::io::read(socket, out)?),
        }
    }

    fn push(&mut self) {
        while !self.has_closed {
            let left = &self.unsent[self.sent..];
            let socket = self.socket.as_fd();
            let pushed = match (left.is_empty(), &self.session) {
                (false, Some(session)) => session.send(socket, &[IoSlice::new(left)], false),
                (false, None) => rustix::io::write(socket, left).map_err(Into::into),
                (true, _) => self.close(socket).map(|()| {
                    self.has_closed = true;
                    0
                }),
            };
            match pushed {
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Our end is gone, as the case wants it.
                Err(_) => self.has_closed = true,
            }
        }
    }

    fn close(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(session) = &self.session {
            session.close(socket)?;
        }
        self.socket.shutdown(Shutdown::Write)
    }

    /// Whether it was told that it has everything.
    pub(super) fn has_ended_well(&self) -> bool {
        matches!(self.ended, Some(Ok(())))
    }
}
