//! Connections through a relay, with both ends played by the lab.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};

use crate::error::{Context, Error, Result};

/// The length of a ping-pong message, and of the greeting.
pub(crate) const MESSAGE: usize = 64;
/// A relay that passes nothing on for this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const WAIT: Timespec = Timespec {
    tv_sec: 20,
    tv_nsec: 0,
};

/// The listener that relays connect to.
pub(crate) struct Target(TcpListener);

/// One relayed connection.
pub(crate) struct Pair {
    pub(crate) client: TcpStream,
    pub(crate) target: TcpStream,
}

impl Target {
    /// Listens on a free loopback port.
    pub(crate) fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        listener.map(Self).context(|| "cannot listen".into())
    }

    pub(crate) fn addr(&self) -> Result<SocketAddr> {
        let addr = self.0.local_addr();
        addr.context(|| "cannot read the target's port".into())
    }

    /// Connects through the relay, and sends a message there and back. This is needed because a
    /// relay may connect to its target late. It also tells the connection from one that only
    /// checked whether the relay listens, and that has ended.
    pub(crate) fn connect(&self, relay: SocketAddr) -> Result<Pair> {
        let mut client =
            TcpStream::connect(relay).context(|| "cannot connect to the relay".into())?;
        set_up(&client)?;
        let greeting = greeting(&client)?;
        let sent = client.write_all(&greeting);
        sent.context(|| "cannot send to the relay".into())?;
        loop {
            let mut target = self.accept()?;
            let mut got = [0; MESSAGE];
            if target.read_exact(&mut got).is_err() {
                continue;
            }
            let pair = Pair { client, target };
            if got != greeting {
                return Err(Error::new("the relay passed on other bytes than were sent"));
            }
            pair.there_and_back(&greeting, &mut got)?;
            return Ok(pair);
        }
    }

    fn accept(&self) -> Result<TcpStream> {
        let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&WAIT));
        if ready != Ok(1) {
            return Err(Error::new("the relay does not connect to its target"));
        }
        let (target, _) = self.0.accept().context(|| "cannot accept".into())?;
        set_up(&target)?;
        Ok(target)
    }
}

impl Pair {
    /// Sends a message from the client to the target and back. `got` has the length of `message`,
    /// and equals it afterwards.
    pub(crate) fn there_and_back(&self, message: &[u8], got: &mut [u8]) -> Result<()> {
        for (from, to) in [(&self.client, &self.target), (&self.target, &self.client)] {
            pass(from, to, message, got)?;
            if got != message {
                return Err(Error::new("a message arrived as another"));
            }
        }
        Ok(())
    }
}

/// Passes a message, on one thread. It keeps sending while the other end still receives, because a
/// long message does not fit into the queues in between.
fn pass(from: &TcpStream, to: &TcpStream, message: &[u8], got: &mut [u8]) -> Result<()> {
    let (mut sent, mut received) = (0, 0);
    while received < message.len() {
        if sent < message.len() {
            sent += moved(send(from, &message[sent..], SendFlags::DONTWAIT))?.unwrap_or(0);
        }
        let flags = if sent == message.len() {
            RecvFlags::empty()
        } else {
            RecvFlags::DONTWAIT
        };
        match moved(recv(to, &mut got[received..], flags).map(|(_, count)| count))? {
            Some(0) => return Err(Error::new("the relay closed a connection")),
            Some(count) => received += count,
            None if sent == message.len() => return Err(Error::new("the relay stands still")),
            None => await_either(from, to)?,
        }
    }
    Ok(())
}

/// `None` if there was nothing to read or no room to write.
fn moved(call: rustix::io::Result<usize>) -> Result<Option<usize>> {
    match call {
        Ok(count) => Ok(Some(count)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno).context(|| "a message did not arrive".into()),
    }
}

fn await_either(from: &TcpStream, to: &TcpStream) -> Result<()> {
    let mut ends = [
        PollFd::new(from, PollFlags::OUT),
        PollFd::new(to, PollFlags::IN),
    ];
    match poll(&mut ends, Some(&WAIT)) {
        Ok(0) => Err(Error::new("the relay stands still")),
        _ => Ok(()),
    }
}

/// A greeting that no other connection has.
fn greeting(client: &TcpStream) -> Result<[u8; MESSAGE]> {
    let port = client
        .local_addr()
        .context(|| "cannot read a port".into())?;
    let mut greeting = [b'.'; MESSAGE];
    let text = port.to_string();
    greeting[..text.len()].copy_from_slice(text.as_bytes());
    Ok(greeting)
}

fn set_up(socket: &TcpStream) -> Result<()> {
    socket
        .set_nodelay(true)
        .and_then(|()| socket.set_read_timeout(Some(PATIENCE)))
        .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
        .context(|| "cannot set up a connection".into())
}
