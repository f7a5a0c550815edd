//! The producer of a stream: a thread that writes as fast as it is read from.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use super::pattern;
use crate::error::{Context, Result};

/// Bytes written at once, as by cat(1).
const BITE: usize = 128 << 10;

/// Where the producer connects.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Stdin,
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A producer that is connected and has sent nothing.
pub(super) struct Producer(Box<dyn Write + Send>);

impl Place {
    /// The address for a child of the lab: `-`, an address, or a path.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::Tcp(addr) => addr.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// The address for `underpass`.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::Tcp(addr) => format!("tcp://{addr}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl Producer {
    /// Connects to `place`. If that is standard input, `stdin` is taken.
    pub(super) fn connect(place: &Place, stdin: &mut Option<ChildStdin>) -> Result<Self> {
        let stream: Box<dyn Write + Send> = match place {
            Place::Tcp(addr) => {
                let failed = || format!("the producer cannot connect to {addr}");
                Box::new(TcpStream::connect(addr).context(failed)?)
            }
            Place::Unix(path) => Box::new(connect_unix(path)?),
            Place::Stdin => match stdin.take() {
                Some(stdin) => Box::new(stdin),
                None => Box::new(io::sink()),
            },
        };
        Ok(Self(stream))
    }

    /// Writes `size` bytes, and ends the stream.
    pub(super) fn produce(mut self, size: u64) -> Result<()> {
        let mut place = 0;
        while place < size {
            let piece = pattern::at(place);
            let most = (size - place).min(BITE as u64) as usize;
            let piece = &piece[..piece.len().min(most)];
            let written = self.0.write_all(piece);
            written.context(|| format!("the producer broke off after {place} bytes"))?;
            place += piece.len() as u64;
        }
        Ok(())
    }
}

fn connect_unix(path: &Path) -> Result<UnixStream> {
    let failed = || format!("the producer cannot connect to {}", path.display());
    UnixStream::connect(path).context(failed)
}
