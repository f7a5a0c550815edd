//! Relays that are programs of our own: a bare splice loop, and tokio's copying one.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::copy_bidirectional_with_sizes;

use crate::error::{Context, Result};

/// The largest pipe that an unprivileged process gets.
const PIPE: usize = 1 << 20;

/// Two blocking threads per connection, with nothing but splice(2) in and splice(2) out. Runs until
/// it is killed.
pub(crate) fn splice_loop(listen: SocketAddr, target: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).context(|| format!("cannot listen on {listen}"))?;
    loop {
        let (near, _) = listener.accept().context(|| "cannot accept".into())?;
        // A connection that only checks whether the relay listens, or that breaks off, must not end
        // the relay.
        if let Err(error) = join(near, target) {
            eprintln!("lab: {error}");
        }
    }
}

fn join(near: TcpStream, target: SocketAddr) -> io::Result<()> {
    let far = Arc::new(TcpStream::connect(target)?);
    let near = Arc::new(near);
    for socket in [&near, &far] {
        socket.set_nodelay(true)?;
    }
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        std::thread::spawn(move || {
            if let Err(error) = pump(&from, &to) {
                eprintln!("lab: {error}");
            }
            let _ = to.shutdown(Shutdown::Write);
        });
    }
    Ok(())
}

fn pump(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (read_end, write_end) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&write_end, PIPE)?;
    loop {
        let mut held = match splice(from, None, &write_end, None, PIPE, SpliceFlags::MOVE) {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        while held > 0 {
            match splice(&read_end, None, to, None, held, SpliceFlags::MOVE) {
                Ok(count) => held -= count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// `tokio::io::copy_bidirectional` on one thread, with buffers of `size`. Runs until it is killed.
pub(crate) fn tokio_copy(listen: SocketAddr, target: SocketAddr, size: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .context(|| "cannot start a runtime".into())?;
    let relaying = runtime.block_on(relay_all(listen, target, size));
    relaying.context(|| format!("cannot relay from {listen}"))
}

async fn relay_all(listen: SocketAddr, target: SocketAddr, size: usize) -> io::Result<()> {
    let listener = tokio::net::TcpListener::bind(listen).await?;
    loop {
        let (near, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = copy(near, target, size).await {
                eprintln!("lab: {error}");
            }
        });
    }
}

async fn copy(mut near: tokio::net::TcpStream, target: SocketAddr, size: usize) -> io::Result<()> {
    let mut far = tokio::net::TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut near, &mut far, size, size).await?;
    Ok(())
}
