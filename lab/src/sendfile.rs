//! The bare loop of sendfile(2) on a blocking socket. Everything that sends is compared with it.

use std::fs::File;
use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use rustix::fs::sendfile;
use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// The most bytes that one sendfile(2) moves. Asking for this leaves the count to the kernel.
pub(crate) const SENDFILE_MAX: usize = 0x7fff_f000;

/// Sends the whole file with nothing but `sendfile(2)` on a blocking socket, then waits for the
/// peer to close.
pub(crate) fn send_by_sendfile(path: &Path, socket: &TcpStream) -> Result<()> {
    let file = File::open(path).context(|| format!("cannot open {}", path.display()))?;
    loop {
        match sendfile(socket, &file, None, SENDFILE_MAX) {
            Ok(0) => return finish(socket),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).context(|| format!("cannot send {}", path.display())),
        }
    }
}

/// Ends the sending side, and waits until the peer has closed.
pub(crate) fn finish(mut socket: &TcpStream) -> Result<()> {
    socket
        .shutdown(Shutdown::Write)
        .context(|| "cannot end the stream".into())?;
    match socket
        .read(&mut [0; 16])
        .context(|| "cannot wait for the peer's end".into())?
    {
        0 => Ok(()),
        _ => Err(Error::new("the sink sent bytes back")),
    }
}
