//! The bare loop as an HTTP server: the cost of a head and blocking `sendfile(2)` calls, and
//! nothing else.

use std::fs::File;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use memchr::memmem;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use crate::error::{Context, Error, Result};
use crate::sendfile::SENDFILE_MAX;

/// Serves each connection on a thread of its own, until it is killed.
pub(crate) fn serve(dir: &Path, addr: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(addr).context(|| format!("cannot listen on {addr}"))?;
    std::thread::scope(|scope| {
        loop {
            let (socket, _) = listener.accept().context(|| "cannot accept".into())?;
            scope.spawn(move || {
                // A connection that only checks whether the server listens, or that breaks off,
                // must not end the server.
                if let Err(error) = answer(dir, &socket) {
                    eprintln!("lab: {error}");
                }
            });
        }
    })
}

fn answer(dir: &Path, mut socket: &TcpStream) -> Result<()> {
    let setup = socket.set_nodelay(true);
    setup.context(|| "cannot set up a connection".into())?;
    let mut buffer = [0; 4096];
    let mut held = 0;
    loop {
        let got = socket.read(&mut buffer[held..]);
        let got = got.context(|| "cannot read a request".into())?;
        if got == 0 {
            return Ok(());
        }
        held += got;
        // The load never pipelines: the end of a head is the end of what was sent.
        if memmem::find(&buffer[..held], b"\r\n\r\n").is_some() {
            send_file(&dir.join(target(&buffer[..held])?), socket)?;
            held = 0;
        }
    }
}

/// The target, such as `big` in `GET /big HTTP/1.1`.
pub(super) fn target(request: &[u8]) -> Result<&str> {
    let line = request.split(|&byte| byte == b' ').nth(1);
    let path = line.and_then(|path| str::from_utf8(path).ok()?.strip_prefix('/'));
    path.ok_or_else(|| Error::new("not a request of the load's"))
}

fn send_file(path: &Path, socket: &TcpStream) -> Result<()> {
    let context = || format!("cannot send {}", path.display());
    let file = File::open(path).context(context)?;
    let mut left = file.metadata().context(context)?.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n");
    send(socket, head.as_bytes(), SendFlags::MORE).context(context)?;
    while left > 0 {
        match sendfile(socket, &file, None, left.min(SENDFILE_MAX as u64) as usize) {
            Ok(0) => return Err(Error::new(format!("{} became shorter", path.display()))),
            Ok(sent) => left -= sent as u64,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(context),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_is_the_second_word_without_its_slash() {
        assert_eq!(target(b"GET /big HTTP/1.1\r\n\r\n"), Ok("big"));
        assert!(target(b"GET big HTTP/1.1\r\n\r\n").is_err());
        assert!(target(b"\r\n\r\n").is_err());
    }
}
