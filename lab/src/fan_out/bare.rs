//! Contenders that are loops of our own: the classic one, and the kernel's best calls with nothing
//! around them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice, tee};

use crate::error::{Context, Result};
use crate::sendfile::SENDFILE_MAX;

/// The largest pipe that an unprivileged process gets.
const PIPE: usize = 1 << 20;

/// Reads into a buffer, and writes it to each subscriber in turn, waiting for each.
pub(crate) fn copy(listen: SocketAddr, source: &str, count: usize, size: usize) -> Result<()> {
    let (source, subscribers) = gather(listen, source, count)?;
    let mut source = File::from(source);
    let mut buffer = vec![0; size];
    let mut run = || -> io::Result<()> {
        loop {
            let got = source.read(&mut buffer)?;
            if got == 0 {
                return finish(&subscribers);
            }
            for mut subscriber in &subscribers {
                subscriber.write_all(&buffer[..got])?;
            }
        }
    };
    run().context(|| "cannot hand the stream out".into())
}

/// Splices into a pipe, and tees it for each subscriber except the last one, which gets the pipe's
/// bytes themselves.
pub(crate) fn tee_and_splice(listen: SocketAddr, source: &str, count: usize) -> Result<()> {
    let (source, subscribers) = gather(listen, source, count)?;
    let run = || -> io::Result<()> {
        let (kept, given) = (Pipe::new()?, Pipe::new()?);
        let Some((last, others)) = subscribers.split_last() else {
            return Ok(());
        };
        loop {
            let got = again(|| splice(&source, None, &kept.write, None, PIPE, SpliceFlags::MOVE))?;
            if got == 0 {
                return finish(&subscribers);
            }
            for subscriber in others {
                // All of the pipe's bytes fit into an empty pipe of the same size.
                again(|| tee(&kept.read, &given.write, got, SpliceFlags::empty()))?;
                given.drain(got, subscriber)?;
            }
            kept.drain(got, last)?;
        }
    };
    run().context(|| "cannot hand the stream out".into())
}

/// Sends the file to each subscriber with nothing but sendfile(2), whenever its socket takes some.
pub(crate) fn send_file(listen: SocketAddr, path: &Path, count: usize) -> Result<()> {
    let file = File::open(path).context(|| format!("cannot open {}", path.display()))?;
    let listener = TcpListener::bind(listen).context(|| format!("cannot listen on {listen}"))?;
    let run = || -> io::Result<()> {
        let mut left = Vec::new();
        for _ in 0..count {
            let socket = listener.accept()?.0;
            socket.set_nonblocking(count > 1)?;
            left.push((socket, 0));
        }
        while !left.is_empty() {
            send_to_each(&file, &mut left)?;
        }
        Ok(())
    };
    run().context(|| format!("cannot send {}", path.display()))
}

/// Makes one call for each subscriber that is ready. A subscriber that has everything is finished.
fn send_to_each(file: &File, left: &mut Vec<(TcpStream, u64)>) -> io::Result<()> {
    let mut asked: Vec<_> = left
        .iter()
        .map(|(socket, _)| PollFd::new(socket, PollFlags::OUT))
        .collect();
    again(|| poll(&mut asked, None))?;
    let ready: Vec<_> = asked
        .iter()
        .map(|asked| !asked.revents().is_empty())
        .collect();
    let mut done = Vec::new();
    for (at, ((socket, offset), ready)) in left.iter_mut().zip(ready).enumerate() {
        if !ready {
            continue;
        }
        match sendfile(&*socket, file, Some(offset), SENDFILE_MAX) {
            Ok(0) => {
                socket.set_nonblocking(false)?;
                done.push(at);
            }
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let over = done.into_iter().rev().map(|at| left.swap_remove(at).0);
    finish(&over.collect::<Vec<_>>())
}

/// Waits for this many subscribers, and then for the source: `-`, or an address or path at which it
/// connects.
fn gather(listen: SocketAddr, source: &str, count: usize) -> Result<(OwnedFd, Vec<TcpStream>)> {
    let failed = || format!("cannot listen for a producer at {source}");
    let producer: Box<dyn Fn() -> io::Result<OwnedFd>> = if source == "-" {
        let stdin = io::stdin();
        // A larger pipe needs fewer calls.
        let _ = fcntl_setpipe_size(&stdin, PIPE);
        Box::new(move || stdin.as_fd().try_clone_to_owned())
    } else if let Ok(addr) = source.parse::<SocketAddr>() {
        let listener = TcpListener::bind(addr).context(failed)?;
        Box::new(move || Ok(listener.accept()?.0.into()))
    } else {
        let listener = UnixListener::bind(source).context(failed)?;
        Box::new(move || Ok(listener.accept()?.0.into()))
    };
    let listener = TcpListener::bind(listen).context(|| format!("cannot listen on {listen}"))?;
    let accept = |_| Ok(listener.accept()?.0);
    let subscribers: io::Result<_> = (0..count).map(accept).collect();
    let subscribers = subscribers.context(|| "cannot accept".into())?;
    Ok((producer().context(failed)?, subscribers))
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
        fcntl_setpipe_size(&write, PIPE)?;
        Ok(Self { read, write })
    }

    fn drain(&self, mut held: usize, to: &TcpStream) -> io::Result<()> {
        while held > 0 {
            held -= again(|| splice(&self.read, None, to, None, held, SpliceFlags::MOVE))?;
        }
        Ok(())
    }
}

/// Waits until the subscribers have closed, and so have taken everything.
fn finish(subscribers: &[TcpStream]) -> io::Result<()> {
    let end = |subscriber: &TcpStream| subscriber.shutdown(Shutdown::Write);
    subscribers.iter().try_for_each(end)?;
    let closed = |mut subscriber: &TcpStream| subscriber.read(&mut [0; 16]).map(drop);
    subscribers.iter().try_for_each(closed)
}

fn again<T>(call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    rustix::io::retry_on_intr(call).map_err(io::Error::from)
}
