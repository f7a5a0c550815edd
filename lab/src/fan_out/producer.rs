//! Where the stream comes from: a thread that writes it as fast as it is taken.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ChildStdin;

use super::pattern;
use crate::error::{Context, Result};

/// What is written at once, as cat(1) does.
const BITE: usize = 128 << 10;

/// Where it is found.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Stdin,
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One that is connected and has said nothing.
pub(super) struct Producer(Box<dyn Write + Send>);

impl Place {
    /// As a child of the lab is told it: `-`, an address, or a path.
    pub(super) fn plain(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::Tcp(addr) => addr.to_string(),
            Self::Unix(path) => path.display().to_string(),
        }
    }

    /// As `underpass` is told it.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Stdin => "-".to_owned(),
            Self::Tcp(addr) => format!("tcp://{addr}"),
            Self::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

impl Producer {
    /// Where it is to be standard input, that is taken.
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

    /// Writes `size` bytes, and ends.
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
