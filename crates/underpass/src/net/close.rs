//! How a TCP connection ends when its socket is closed, by whomever: also by the kernel, for a
//! process that was killed.
//!
//! A close that follows the last byte in good order tells the peer that it has everything. So what
//! sends a stream has every close be a reset from the start, and takes that back only when all is
//! sent and the end is meant. A Unix socket has no reset; there both calls do nothing.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::net::sockopt;

/// From now on a close resets the connection (`SO_LINGER` of 0, socket(7)): the peer gets an error
/// instead of an end, and bytes that it has not acknowledged are lost.
///
/// # Errors
/// `socket` is no socket.
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

/// From now on a close ends the connection in good order, after all bytes, as it does for a new
/// socket.
///
/// # Errors
/// `socket` is no socket.
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
