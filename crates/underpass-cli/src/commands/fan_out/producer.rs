//! The producer of a stream: an open descriptor, the first peer to connect, or the first program to
//! write to a FIFO.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use underpass::connect::keep_alive;
use underpass::reset_on_close;
use underpass::witness::Witness;
use underpass::{Layer, StreamSocket};
use underpass_tls::{Acceptor, TlsStream};

use crate::exit::Failure;
use crate::io::connection::{self, PeerListener};
use crate::io::files::Source;
use crate::io::listen::{self, ListeningSocket};
use crate::io::tls::{HANDSHAKE, TlsServer};
use crate::report;
use crate::server;
use crate::values::Address;

pub(super) enum Producer {
    AtHand(Source),
    /// The first peer that connects.
    Awaited(PeerListener, Option<TlsServer>),
    /// The first program that writes to the FIFO.
    Fifo(PathBuf),
}

/// A producer that is connected or open, and its name.
pub(super) struct OpenProducer {
    from: Input,
    pub(super) name: String,
    /// The witness of an underpass send at a Unix socket, which says whether its end was intended.
    pub(super) witness: Option<Witness>,
    /// Whether the producer has said that it has nothing to send.
    pub(super) meant: bool,
}

impl OpenProducer {
    /// The TLS on it, if any.
    pub(super) fn layer(&self) -> Option<&Arc<dyn Layer>> {
        match &self.from {
            Input::Socket(socket) => socket.layer(),
            Input::Source(_) | Input::Fifo(_) => None,
        }
    }

    fn new(name: String, from: Input) -> Self {
        Self {
            from,
            name,
            witness: None,
            meant: false,
        }
    }
}

enum Input {
    Source(Source),
    Socket(StreamSocket),
    Fifo(OwnedFd),
}

impl Producer {
    pub(super) fn at_hand(source: Source) -> Self {
        Self::AtHand(source)
    }

    pub(super) fn listen(address: &Address, tls: Option<TlsServer>) -> Result<Self, Failure> {
        PeerListener::bind(address)
            .map(|listener| Self::Awaited(listener, tls))
            .map_err(|error| {
                let advice = listen::advice(address, &error);
                Failure::failed(format_args!("--from {address}: {error}{advice}"))
            })
    }

    pub(super) fn fifo(path: &Path) -> Self {
        Self::Fifo(path.to_owned())
    }

    /// The name for messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::AtHand(source) => source.name(),
            Self::Awaited(listener, tls) => {
                let at = listener.address().clone();
                let at = match tls {
                    Some(tls) => at.with_tls(tls.made),
                    None => at,
                };
                format!("a producer at {at}")
            }
            Self::Fifo(path) => path.display().to_string(),
        }
    }

    /// Waits for the producer if needed. The listener is closed then, since a stream has one
    /// producer. A connection that ends without a byte does not count unless `allow_empty` is set:
    /// port scanners and health checks make such connections.
    pub(super) async fn open(self, allow_empty: bool) -> io::Result<OpenProducer> {
        let name = self.name();
        match self {
            Self::AtHand(source) => Ok(OpenProducer::new(source.name(), Input::Source(source))),
            Self::Fifo(path) => {
                let fifo = written(&path, allow_empty).await?;
                Ok(OpenProducer::new(name, Input::Fifo(fifo)))
            }
            Self::Awaited(listener, tls) => loop {
                match connected(&listener, tls.as_ref(), allow_empty).await {
                    Ok(Ok(producer)) => break Ok(producer),
                    Ok(Err(None)) => unused(&name, &"it ended"),
                    Ok(Err(Some(error))) => failed(&name, &error),
                    Err(error) if connection::is_gone(&error) => unused(&name, &error),
                    Err(error) => break Err(error),
                }
            },
        }
    }
}

/// Accepts the next connection. An inner error is one that does not count: its handshake failed, or
/// it ended without a byte (`None`).
async fn connected(
    listener: &PeerListener,
    tls: Option<&TlsServer>,
    allow_empty: bool,
) -> io::Result<Result<OpenProducer, Option<io::Error>>> {
    let (socket, says_something) = match (accept(listener).await?, tls) {
        (StreamSocket::Tcp(socket), Some(tls)) => match shake_hands(socket, tls).await {
            Ok(mut stream) => match stream.has_data().await {
                Ok(says_something) => (stream.into(), says_something),
                Err(error) if connection::is_gone(&error) => return Err(error),
                Err(error) => return Ok(Err(Some(error))),
            },
            Err(error) => return Ok(Err(Some(error))),
        },
        (socket, _) => {
            let says_something = says_something(&socket).await?;
            (socket, says_something)
        }
    };
    let witness = Witness::of(&socket)?;
    let meant = match &witness {
        Some(witness) if !says_something => witness.hear_async().await?,
        _ => false,
    };
    let name = server::peer_name(server::peer_address(&socket));
    let producer = OpenProducer {
        witness,
        meant,
        ..OpenProducer::new(name, Input::Socket(socket))
    };
    let counts = says_something || meant || allow_empty;
    Ok(counts.then_some(producer).ok_or(None))
}

async fn shake_hands(socket: TcpStream, tls: &TlsServer) -> io::Result<TlsStream> {
    let acceptor = Acceptor::new(tls.config.clone());
    let shaken = tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await;
    shaken.map_err(|_| io::ErrorKind::TimedOut)?
}

/// Opens a FIFO and waits until it has been written to.
async fn written(path: &Path, allow_empty: bool) -> io::Result<OwnedFd> {
    let open = || pipe::OpenOptions::new().open_receiver(path);
    let mut reader = open()?;
    loop {
        reader.readable().await?;
        if allow_empty || rustix::io::ioctl_fionread(&reader)? > 0 {
            return reader.into_nonblocking_fd();
        }
        unused(&path.display().to_string(), &"its writer closed it");
        // The old reader is closed after the new one is open: without any reader, what the next
        // writer has written would be lost.
        reader = open()?;
    }
}

fn unused(name: &str, why: &dyn std::fmt::Display) {
    report::notice(format_args!(
        "{name}: sent no byte ({why}); still waiting (--allow-empty accepts it as an empty stream)"
    ));
}

fn failed(name: &str, error: &io::Error) {
    report::notice(format_args!(
        "{name}: a connection failed ({error}); still waiting"
    ));
}

async fn accept(listener: &PeerListener) -> io::Result<StreamSocket> {
    let listeners = listener.sockets.iter().map(AsyncListener::of);
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let socket = poll_fn(|cx| {
        let mut accepted = listeners.iter().map(|listener| listener.poll_accept(cx));
        let first = accepted.find(Poll::is_ready);
        first.unwrap_or(Poll::Pending)
    })
    .await?;
    // Until everything was read, closing the connection resets it. So if this process is killed,
    // the producer does not believe that its data was received.
    reset_on_close(&socket)?;
    Ok(socket)
}

/// A listening socket, for this thread's runtime.
enum AsyncListener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl AsyncListener {
    fn of(socket: &ListeningSocket) -> io::Result<Self> {
        Ok(match socket.try_clone()? {
            ListeningSocket::Tcp(listener) | ListeningSocket::Tls(listener, _) => {
                Self::Tcp(TcpListener::from_std(listener)?)
            }
            ListeningSocket::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?),
        })
    }

    /// Accepts a connection. TCP keep-alive is on for it.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<StreamSocket>> {
        match self {
            Self::Tcp(listener) => listener.poll_accept(cx).map(|accepted| {
                let (socket, _) = accepted?;
                keep_alive(&socket)?;
                Ok(socket.into())
            }),
            Self::Unix(listener) => listener
                .poll_accept(cx)
                .map_ok(|(socket, _)| StreamSocket::from(socket)),
        }
    }
}

/// Waits for the first byte, and leaves it in the socket. Returns false if the connection ended
/// without one.
async fn says_something(socket: &StreamSocket) -> io::Result<bool> {
    loop {
        let peek = || connection::peek(socket);
        let peeked = match socket {
            // Whether it says something is known to its TLS.
            StreamSocket::Tls(_) => return Ok(true),
            StreamSocket::Tcp(socket) => {
                socket.readable().await?;
                socket.try_io(Interest::READABLE, peek)
            }
            StreamSocket::Unix(socket) => {
                socket.readable().await?;
                socket.try_io(Interest::READABLE, peek)
            }
        };
        match peeked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            peeked => return peeked,
        }
    }
}

impl AsFd for OpenProducer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.from {
            Input::Source(source) => source.as_fd(),
            Input::Socket(socket) => socket.as_fd(),
            Input::Fifo(reader) => reader.as_fd(),
        }
    }
}
