//! Clients: one that sees every byte, and curl.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// One connection.
pub(crate) struct Client<S = TcpStream>(BufReader<S>);

pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The head as it arrived, with the empty line.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self::on(socket)
    }

    /// A connection with a small receive buffer that does not grow.
    pub(crate) fn slow(address: SocketAddr) -> Self {
        let this = Self::connect(address);
        rustix::net::sockopt::set_socket_recv_buffer_size(this.0.get_ref(), 64 << 10).unwrap();
        this
    }
}

impl<S: Read + Write> Client<S> {
    pub(crate) fn on(socket: S) -> Self {
        Self(BufReader::new(socket))
    }

    pub(crate) fn send(&mut self, request: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(request.as_ref()).unwrap();
    }

    /// Sends a request without waiting for the response. `fields` are whole lines.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &str) {
        self.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ));
    }

    pub(crate) fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, "");
        self.answer()
    }

    /// The next response, which must have a known length.
    pub(crate) fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let len = answer.field("content-length").map(str::parse);
        answer.body = vec![0; len.map_or(0, Result::unwrap)];
        self.0.read_exact(&mut answer.body).unwrap();
        answer
    }

    /// The head of the next response, without its body.
    pub(crate) fn head(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let count = self.0.read_line(&mut head).unwrap();
            assert!(count > 0, "the connection ended in a head: {head:?}");
        }
        let status = head[9..12].parse().unwrap();
        Answer {
            status,
            head,
            body: Vec::new(),
        }
    }

    pub(crate) fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Reads everything until the connection ends, normally or by a reset.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        self.up_to(usize::MAX)
    }

    /// Reads this many bytes, or fewer if the connection ends.
    pub(crate) fn up_to(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = (&mut self.0).take(len as u64).read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        bytes
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn len(&self) -> u64 {
        self.field("content-length").unwrap().parse().unwrap()
    }
}

/// The output of curl.
pub(crate) fn curl(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("curl")
        .args(["-sS", "--fail", "--max-time", "30"])
        .args(arguments)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "curl {arguments:?}: {message}");
    output.stdout
}
