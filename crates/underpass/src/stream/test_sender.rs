//! A sender for the fault tests of relays and fan-outs: over a Unix socket, or over TCP with an
//! urgent byte in the middle (pitfall 24), which is not part of the content.

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{SendFlags, Shutdown};

use crate::fake_layer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Unix,
    UrgentTcp,
    /// With TLS in the receiving process: records go over it, and the end in one.
    Tls,
}

/// Sends content piece by piece, and then ends its side.
pub(crate) struct Sender {
    socket: File,
    content: Vec<u8>,
    pub(crate) sent: usize,
    /// Position of the urgent byte, if it is still to be sent.
    urgent: Option<usize>,
}

impl Sender {
    /// Makes a sender and the socket that receives; neither blocks.
    pub(crate) fn new(peer: Peer, content: Vec<u8>) -> (Self, OwnedFd) {
        let (near, far): (OwnedFd, OwnedFd) = match peer {
            Peer::Unix | Peer::Tls => {
                let (near, far) = UnixStream::pair().unwrap();
                (near.into(), far.into())
            }
            Peer::UrgentTcp => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                near.set_nodelay(true).unwrap();
                (near.into(), listener.accept().unwrap().0.into())
            }
        };
        for socket in [&near, &far] {
            rustix::io::ioctl_fionbio(socket, true).unwrap();
        }
        let content = match peer {
            Peer::Tls => fake_layer::sealed(&content, true),
            _ => content,
        };
        let urgent = (peer == Peer::UrgentTcp).then_some(content.len() / 2);
        let sender = Self {
            socket: near.into(),
            content,
            sent: 0,
            urgent,
        };
        (sender, far)
    }

    /// Sends at most `most` bytes, as many as the socket takes.
    pub(crate) fn push(&mut self, most: usize) {
        let all = self.content.len();
        if self.urgent == Some(self.sent)
            && rustix::net::send(&self.socket, b"!", SendFlags::OOB).is_ok()
        {
            self.urgent = None;
        }
        let until = self
            .urgent
            .unwrap_or(all)
            .min(self.sent.saturating_add(most));
        self.sent += self
            .socket
            .write(&self.content[self.sent..until])
            .unwrap_or(0);
        if self.has_sent_all() {
            let _ = rustix::net::shutdown(&self.socket, Shutdown::Write);
        }
    }

    /// Bytes of its content, or of its records, that were not sent.
    pub(crate) fn unsent(&self) -> &[u8] {
        &self.content[self.sent..]
    }

    pub(crate) fn has_sent_all(&self) -> bool {
        self.sent == self.content.len()
    }
}
