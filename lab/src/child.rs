//! Rivals that are programs of our own. They run as separate processes, started by hidden
//! subcommands of the lab.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use rustix::io::Errno;

use crate::error::{Context, Result};
use crate::sendfile::{SENDFILE_MAX, finish, send_by_sendfile};
use crate::{fan_out, http, relay};

#[derive(Debug, Subcommand)]
pub(crate) enum Child {
    /// The bare loop that everything else is compared with
    Sendfile { file: PathBuf, addr: SocketAddr },
    /// `std::io::copy` from a file to a TCP stream
    StdSend { file: PathBuf, addr: SocketAddr },
    /// `tokio::io::copy` from a file to a TCP stream
    TokioSend { file: PathBuf, addr: SocketAddr },
    /// `tokio::io::copy_buf` through a buffer of 1 MiB
    TokioSendBuffered { file: PathBuf, addr: SocketAddr },
    /// `std::io::copy` from a file to a new file
    StdCopy { from: PathBuf, to: PathBuf },
    /// `FICLONE`, else `copy_file_range(2)` to the end
    BareCopy { from: PathBuf, to: PathBuf },
    /// The bare loop as an HTTP server, with a thread for each connection
    HttpSendfile { dir: PathBuf, addr: SocketAddr },
    /// The bare loop as an HTTP server on epoll
    HttpEpoll {
        dir: PathBuf,
        addr: SocketAddr,
        #[command(flatten)]
        tuning: http::epoll::Tuning,
    },
    /// `underpass_http`'s `ServeDir` under axum
    HttpEmbedded {
        dir: PathBuf,
        addr: SocketAddr,
        metrics: SocketAddr,
    },
    /// tower-http's `ServeDir` under axum
    TowerHttp {
        dir: PathBuf,
        addr: SocketAddr,
        /// With TLS: PEM files with a certificate and its key
        #[arg(num_args = 2, value_names = ["CERTIFICATE", "KEY"])]
        tls: Vec<PathBuf>,
    },
    /// A relay with nothing but splice(2), and two blocking threads per connection
    RelaySplice {
        listen: SocketAddr,
        target: SocketAddr,
    },
    /// `tokio::io::copy_bidirectional_with_sizes`
    RelayTokio {
        listen: SocketAddr,
        target: SocketAddr,
        size: usize,
    },
    /// A stream to this many subscribers, read into a buffer that is written to each
    FanOutCopy {
        listen: SocketAddr,
        source: String,
        count: usize,
        size: usize,
    },
    /// A stream to this many subscribers, with nothing but splice(2) and tee(2)
    FanOutTee {
        listen: SocketAddr,
        source: String,
        count: usize,
    },
    /// A file to this many subscribers, with nothing but sendfile(2)
    FanOutSendfile {
        listen: SocketAddr,
        file: PathBuf,
        count: usize,
    },
}

pub(crate) fn run(child: &Child) -> Result<()> {
    match child {
        Child::Sendfile { file, addr } => send_by_sendfile(file, &connect(*addr)?),
        Child::StdSend { file, addr } => send_by_std(file, &connect(*addr)?),
        Child::TokioSend { file, addr } => send_by_tokio(file, *addr, None),
        Child::TokioSendBuffered { file, addr } => send_by_tokio(file, *addr, Some(1 << 20)),
        Child::StdCopy { from, to } => copy_by_std(from, to),
        Child::BareCopy { from, to } => copy_bare(from, to),
        Child::HttpSendfile { dir, addr } => http::bare::serve(dir, *addr),
        Child::HttpEpoll { dir, addr, tuning } => http::epoll::serve(dir, *addr, *tuning),
        Child::HttpEmbedded { dir, addr, metrics } => http::embedded::serve(dir, *addr, *metrics),
        Child::TowerHttp { dir, addr, tls } => http::tower::serve(dir, *addr, tls),
        Child::RelaySplice { listen, target } => relay::bare::splice_loop(*listen, *target),
        Child::RelayTokio {
            listen,
            target,
            size,
        } => relay::bare::tokio_copy(*listen, *target, *size),
        Child::FanOutCopy {
            listen,
            source,
            count,
            size,
        } => fan_out::bare::copy(*listen, source, *count, *size),
        Child::FanOutTee {
            listen,
            source,
            count,
        } => fan_out::bare::tee_and_splice(*listen, source, *count),
        Child::FanOutSendfile {
            listen,
            file,
            count,
        } => fan_out::bare::send_file(*listen, file, *count),
    }
}

fn send_by_std(path: &Path, mut socket: &TcpStream) -> Result<()> {
    io::copy(&mut open(path)?, &mut socket)
        .context(|| format!("cannot send {}", path.display()))?;
    finish(socket)
}

/// Sends as users of tokio would write it, on one thread of the runtime; files are read on tokio's
/// blocking threads.
fn send_by_tokio(path: &Path, addr: SocketAddr, buffer: Option<usize>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context(|| "cannot start a runtime".into())?;
    let sent = runtime.block_on(async {
        let mut file = tokio::fs::File::open(path).await?;
        let mut socket = tokio::net::TcpStream::connect(addr).await?;
        match buffer {
            None => tokio::io::copy(&mut file, &mut socket).await?,
            Some(size) => {
                let mut file = tokio::io::BufReader::with_capacity(size, file);
                tokio::io::copy_buf(&mut file, &mut socket).await?
            }
        };
        let socket = socket.into_std()?;
        socket.set_nonblocking(false)?;
        Ok::<_, io::Error>(socket)
    });
    finish(&sent.context(|| format!("cannot send {}", path.display()))?)
}

fn copy_bare(from: &Path, to: &Path) -> Result<()> {
    let sink = File::create_new(to).context(|| format!("cannot make {}", to.display()))?;
    let source = open(from)?;
    if rustix::fs::ioctl_ficlone(&sink, &source).is_ok() {
        return Ok(());
    }
    loop {
        match rustix::fs::copy_file_range(&source, None, &sink, None, SENDFILE_MAX) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| format!("cannot copy {}", from.display())),
        }
    }
}

fn copy_by_std(from: &Path, to: &Path) -> Result<()> {
    let mut sink = File::create_new(to).context(|| format!("cannot make {}", to.display()))?;
    io::copy(&mut open(from)?, &mut sink).context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

fn open(path: &Path) -> Result<File> {
    File::open(path).context(|| format!("cannot open {}", path.display()))
}

fn connect(addr: SocketAddr) -> Result<TcpStream> {
    TcpStream::connect(addr).context(|| format!("cannot connect to {addr}"))
}
