//! How a TCP connection ends when its socket is closed, including when the process is killed and
//! the kernel closes it.
//!
//! An orderly close tells the peer that it has everything. So a sender makes every close a reset
//! from the start, and takes that back only when everything is sent. A Unix socket has no reset;
//! both calls do nothing there.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// Makes a later close reset the connection (`SO_LINGER` of 0, socket(7)). The peer then gets an
/// error instead of an end, and bytes that it has not acknowledged are lost.
///
/// # Errors
/// `socket` is not a socket.
///
/// ```
/// use std::io::Read;
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let near = TcpStream::connect(listener.local_addr()?)?;
/// let (mut far, _) = listener.accept()?;
/// underpass::reset_on_close(&near)?;
/// drop(near); // or be killed
/// assert!(far.read(&mut [0]).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn reset_on_close(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(&socket, Some(Duration::ZERO))?)
}

/// Makes a later close end the connection in order, after all bytes, as for a new socket.
///
/// # Errors
/// `socket` is not a socket.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut near = TcpStream::connect(listener.local_addr()?)?;
/// let (mut far, _) = listener.accept()?;
/// underpass::reset_on_close(&near)?;
/// near.write_all(b"all of it")?;
/// underpass::close_in_order(&near)?;
/// drop(near);
/// assert_eq!(far.read_to_end(&mut Vec::new())?, 9);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn close_in_order(socket: impl AsFd) -> io::Result<()> {
    Ok(sockopt::set_socket_linger(&socket, None)?)
}
